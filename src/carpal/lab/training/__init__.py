"""Recipes, augmentation, the loop, checkpoints."""
