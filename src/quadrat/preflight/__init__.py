"""Checks of scenes before training: surveys, counts of labels, errors and warnings."""
