"""Blocks of predictions and pictures: computed once, kept on disk."""
