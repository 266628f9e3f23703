"""YAML, JSON and npy files, read within bounds and checked against typed sections."""
