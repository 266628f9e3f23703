"""How fast quadrat is, beside what the hardware allows and beside Raster Vision, on the same data in one run."""
