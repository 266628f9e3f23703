"""Cached hashes and manifests, with which a stage redoes only changed scenes."""
