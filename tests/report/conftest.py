import shutil

import nibabel as nib
import numpy as np
import pytest

from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions
from pleura.evaluation.compare import compare
from pleura.formats.image_files import read_image_file, write_image_file

COMPARED = [f"LCTSC-201_{n:03d}" for n in (33, 45, 58, 70)]


@pytest.fixture(scope="session")
def compared(sample, tmp_path_factory):
    """Return predictions that are references shifted by 0, 2, 4 and 6 pixels, and their scores."""
    folder = tmp_path_factory.mktemp("compared")
    for i, name in enumerate(COMPARED):
        mask = read_image_file(sample.masks / f"{name}.tif")
        write_image_file(folder / "found" / f"{name}_lungs.png", np.roll(mask, 2 * i, 1))
        write_image_file(folder / "wanted" / f"{name}.png", mask)
    masks = folder / "found", folder / "wanted"
    return masks, compare(*masks)


@pytest.fixture(scope="session")
def cohort(sample, tmp_path_factory):
    """Return a folder of results: two volumes, two slices, and a file that cannot be read."""
    scans, results = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("results")
    for name in ("LCTSC-201_058.tif", "LCTSC-201_009.tif"):
        shutil.copy(sample.images / name, scans)
    shutil.copy(sample.folder / "volume" / "ct.nii.gz", scans / "volume.nii.gz")
    volume = nib.load(scans / "volume.nii.gz")
    nib.save(volume.slicer[:, :, ::2], scans / "thick.nii.gz")
    (scans / "bad.nrrd").write_bytes(b"NRRD0005\nno header")
    segment_cohort(scans, results, outputs=OutputOptions(preview=True, measure=True))
    return results
