"""Chips: windows of pixels with their targets, stored in few large files and read back by training."""
