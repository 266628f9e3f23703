"""Vector files on a grid: reading, filtering by field, widths of lines and points, burning into windows."""
