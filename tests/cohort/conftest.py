import shutil

import numpy as np
import pytest
from dicom_files import write_series

from pleura.cohort.options import SegmentationOptions
from pleura.formats.image_files import read_image_file
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((-128, -128, 40), ((0, 0, 12.0), (0, 2.0, 0), (2.0, 0, 0)))


@pytest.fixture
def options(model):
    return SegmentationOptions(str(model), precision="fp32")


@pytest.fixture
def cohort(sample, tmp_path):
    """A DICOM series, two images and a file that is broken, in folders."""
    folder = tmp_path / "cohort"
    names = [f"LCTSC-201_{n:03d}.tif" for n in (49, 54, 58)]
    hu = np.stack([read_image_file(sample.images / name) for name in names]).astype(np.int16)
    write_series(folder / "a" / "ct", hu, AXIAL)
    (folder / "b").mkdir()
    for name in names[:2]:
        shutil.copy(sample.images / name, folder / "b")
    (folder / "b" / "bad.nrrd").write_bytes(b"NRRD0005\nno header")
    return folder
