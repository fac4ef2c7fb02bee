"""From a prepared store to weights: configuration, augmentation, the loop, checkpoints."""
