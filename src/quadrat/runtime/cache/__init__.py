"""Remembered hashes and manifests, by which a stage redoes only the scenes that changed."""
