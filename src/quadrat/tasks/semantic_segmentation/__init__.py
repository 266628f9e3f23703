"""The task semantic segmentation: a class for every pixel."""
