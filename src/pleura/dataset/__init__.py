"""Image-mask pairs on disk: pairing, checks, splits, preprocessing, augmentation."""
