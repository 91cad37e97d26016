"""Peak memory of a segmentation in a new process."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

CODE = """
import re, sys
from pathlib import Path
from pleura.cli import cli
cli.main(["segment", *sys.argv[1:]], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc of Linux")
@pytest.mark.parametrize(("slices", "megabytes"), [(150, 400), (600, 600), (1200, 900)])
def test_peak_memory(slices, megabytes, sample, tmp_path):
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    values = np.asarray(image.dataobj).astype(np.int16)
    values = values[:, :, np.arange(slices) * values.shape[2] // slices]
    affine = image.affine @ np.diag([0.25, 0.25, image.shape[2] / slices, 1])
    enlarged = nib.Nifti1Image(values.repeat(4, 0).repeat(4, 1), affine)  # 512x512
    nib.save(enlarged, tmp_path / "ct.nii.gz")
    arguments = [str(tmp_path / "ct.nii.gz"), "-o", str(tmp_path / "lungs.nii.gz"), "-q"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True
    )
    assert nib.load(tmp_path / "lungs.nii.gz").shape == (512, 512, slices)
    peak = int(done.stdout.split()[-1]) / 1024
    assert peak < megabytes
