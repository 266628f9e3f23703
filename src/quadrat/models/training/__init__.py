"""How networks are trained: the loop, batches, augmentation, checkpoints and live metrics."""
