"""Small drawn slices with masks, for trainings that take less than a second."""

import numpy as np

from pleura.formats.image_files import write_image_file

SETTINGS = (
    "preprocessing.size=[32, 32]",
    "network.channels=[4, 8]",
    "augmentation=null",
    "training.epochs=2",
    "training.batch_size=4",
    "training.precision=fp32",
    "training.threads=1",
    "split.patient_pattern=^(p.)_",
)
"""Of recipe `quick`."""


def draw(seed, value=1):
    """Return a 32x32 slice in HU and its mask, in which a lung has the value."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] + rng.uniform(-2, 2, (2, 1, 1))
    mask = ((y - 16) / 10) ** 2 + ((x - 16) / 6) ** 2 < 1
    hu = np.where(mask, -850, 40) + rng.normal(0, 20, mask.shape)
    return hu.astype(np.int16), mask * np.uint8(value)


def write_pairs(root, patients, slices):
    """Write slices of patients p0, p1 and so on; return the folders of images and masks."""
    for i in range(patients * slices):
        for folder, array in zip(("images", "masks"), draw(i, 255), strict=True):
            (root / folder).mkdir(exist_ok=True)
            write_image_file(root / folder / f"p{i // slices}_{i}.tif", array)
    return root / "images", root / "masks"
