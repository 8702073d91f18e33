"""Pairs in batches of tensors: the generator of `training.augmentation`, for a GPU or any other device."""
