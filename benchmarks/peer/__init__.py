"""What runs in the environment of Raster Vision, and what both sides share."""
