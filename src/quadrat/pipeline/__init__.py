"""The stages: one function each, one module each, and the paths of what they read and write."""
