"""Image-mask pairs on disk: pairing, checks, splits, preparation, augmentation."""
