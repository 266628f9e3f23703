"""The random forest on single pixels: a model kind of its own, and the baseline of most tasks."""
