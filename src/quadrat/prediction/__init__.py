"""Prediction of whole scenes: the sliding window, the files that it writes, and how they are read back."""
