"""Spatial cross-validation: the stages on blocks of the ground of train and validation scenes."""
