"""Outputs of eval: tables of scores, and pictures of image, labels, prediction and errors."""
