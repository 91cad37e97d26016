import nibabel as nib
import numpy as np
import pytest
from viewer_page import launched


def oblique(sign):
    """Return an affine rotated by 20 degrees about z, left-handed if ``sign`` is 1."""
    angle = np.deg2rad(20)
    affine = np.eye(4)
    affine[:3, :3] = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    ) @ np.diag([0.8, -0.9 * sign, 2.5])
    affine[:3, 3] = 11, -7, 40
    return affine


@pytest.fixture(params=["oblique, flipped", "oblique", "straight"])
def pair(request, tmp_path):
    """Return the files of a small scan and of a mask of two boxes."""
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


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def varied(pair):
    """The pair with random HU, and lungs of different sizes and heights."""
    random = np.random.default_rng(1)
    scan, mask = (nib.load(path) for path in pair)
    hu = random.integers(-1024, 120, scan.shape).astype(np.int16)
    labels = np.asarray(mask.dataobj).copy()
    labels[8:12, :, 1] = labels[22:32, :, 4] = 0
    nib.save(nib.Nifti1Image(hu, scan.affine), pair[0])
    nib.save(nib.Nifti1Image(labels, mask.affine), pair[1])
    return pair
