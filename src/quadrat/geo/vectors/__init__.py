"""Vector files on a grid: reading, filtering by fields, widths of lines and points, burning into windows."""
