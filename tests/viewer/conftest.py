import nibabel as nib
import numpy as np
import pytest


def oblique(sign):
    """An affine turned by 20 degrees about z, left-handed if ``sign`` is 1."""
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:3, :3] = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    ) @ np.diag([0.8, -0.9 * sign, 2.5])
    affine[:3, 3] = 11, -7, 40
    return affine


@pytest.fixture(params=["oblique, flipped", "oblique", "straight"])
def pair(request, tmp_path):
    """A small scan on a grid of its own, and a mask of two boxes on it."""
    affine = {
        "oblique, flipped": oblique(1),
        "oblique": oblique(-1),
        "straight": np.diag([-0.8, 0.9, -2.5, 1]),
    }[request.param]
    hu = np.full((40, 30, 6), -1000, np.int16)
    hu[5:35, 5:25] = 40
    labels = np.zeros(hu.shape, np.uint8)
    labels[8:18, 8:20, 1:5], labels[22:32, 8:20, 1:5] = 1, 2
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "lungs.nii.gz")
    return tmp_path / "ct.nii.gz", tmp_path / "lungs.nii.gz"
