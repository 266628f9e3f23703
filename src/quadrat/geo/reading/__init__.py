"""Reading bands onto one grid, window by window: single files, mosaics, and images on other grids."""
