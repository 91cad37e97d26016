import nibabel as nib
import numpy as np
import pytest

from pleura.cohort.batch import segment_cohort


@pytest.fixture(scope="session")
def results(sample, tmp_path_factory):
    """Four parts of a scan, segmented; in three, a corner of both lungs is cut from two slices."""
    folder = tmp_path_factory.mktemp("cohort")
    whole = nib.load(sample.folder / "volume" / "ct.nii.gz")
    for i, start in enumerate((15, 25, 35, 45)):
        (folder / "scans").mkdir(exist_ok=True)
        nib.save(whole.slicer[:, :, start : start + 10], folder / "scans" / f"part{i}.nii.gz")
    rows = segment_cohort(folder / "scans", folder / "out")
    assert [row.status for row in rows] == ["done"] * 4
    for i in range(3):
        mask = nib.load(folder / "out" / f"part{i}_lungs.nii.gz")
        labels = np.asarray(mask.dataobj).copy()
        labels[:, 64:, 4:6] = 0
        target = folder / "out" / f"part{i}_lungs.corrected.nii.gz"
        nib.save(nib.Nifti1Image(labels, mask.affine), target)
    return folder / "out"
