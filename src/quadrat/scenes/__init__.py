"""Scenes: an image, labels and an area of interest on one grid; the catalog that lists them."""
