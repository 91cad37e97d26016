import csv
import re
import subprocess
import sys

import numpy as np
import pytest

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe, split_names
from pleura.dataset.subsets import read_split

PATTERN = r"^(LCTSC-\d+)_"


@pytest.fixture(scope="module")
def pairs(sample):
    return find_pairs(sample.images, sample.masks)


@pytest.fixture(scope="module")
def slices(pairs):
    return {pair.name: read_pair(pair) for pair in pairs}


def patient_key(name):
    return re.match(PATTERN, name).group(1)


def test_sample_is_twenty_slices_of_each_of_three_patients(pairs):
    patients = [patient_key(pair.name) for pair in pairs]
    assert {p: patients.count(p) for p in patients} == {
        "LCTSC-101": 20,
        "LCTSC-201": 20,
        "LCTSC-202": 20,
    }


def test_images_are_hounsfield_units(slices):
    for image, mask in slices.values():
        assert image.shape == mask.shape == (256, 256)
        assert image.dtype == np.int16
        assert image.min() == -1000  # air, where the source clips
        assert (image < -950).mean() > 0.5  # around the patient
    images, masks = (np.stack(each) for each in zip(*slices.values(), strict=True))
    fat, muscle = (images[(images > low) & (images < low + 150)] for low in (-175, -25))
    assert -110 < np.median(fat) < -90
    assert 30 < np.median(muscle) < 60
    assert -850 < np.median(images[masks == 1]) < -750


def test_three_slices_of_each_patient_are_without_lung(slices):
    empty = [patient_key(name) for name, (_, mask) in slices.items() if not mask.any()]
    assert sorted(empty) == sorted(["LCTSC-101", "LCTSC-201", "LCTSC-202"] * 3)


def test_patients_lie_on_their_back_with_the_left_side_on_the_right(slices):
    """The left lung is smaller because of the heart, and the couch lies under the patient."""
    for patient in ("LCTSC-101", "LCTSC-201", "LCTSC-202"):
        masks = np.stack([m for n, (_, m) in slices.items() if patient_key(n) == patient])
        images = np.stack([i for n, (i, _) in slices.items() if patient_key(n) == patient])
        assert masks[..., :128].sum() > masks[..., 128:].sum()
        matter = (images > -700).any(axis=0)
        assert matter[215:].sum() > 2 * matter[:41].sum()


def test_split_names_every_image_once_and_keeps_the_test_patient_apart(sample, pairs):
    names = [pair.name for pair in pairs]
    split = read_split(sample.split, names)
    assert sorted(split.training + split.validation + split.test) == names
    seen = {patient_key(name) for name in split.training + split.validation}
    assert seen.isdisjoint(patient_key(name) for name in split.test)
    assert (len(split.training), len(split.validation), len(split.test)) == (32, 8, 20)


def test_patients_table_groups_the_sample_as_the_name_pattern_does(sample, pairs):
    names = [pair.name for pair in pairs]
    thirds = SplitRecipe(
        method="grouped", training_fraction=0.4, validation_fraction=0.3, patient_pattern=PATTERN
    )
    table = thirds.model_copy(
        update={"patient_pattern": None, "patient_file": sample.folder / "patients.csv"}
    )
    assert split_names(names, table) == split_names(names, thirds)


def test_patients_table_tells_slice_and_lung_of_every_image(sample, slices):
    with (sample.folder / "patients.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(slices)
    for name, row in rows.items():
        assert name == f"{row['patient']}_{int(row['slice']):03d}.tif"
        assert float(row["lung_fraction"]) == pytest.approx(slices[name][1].mean(), abs=1e-6)
        assert (row["spacing_mm"], row["thickness_mm"]) == ("1.953125", "3.0")


def test_sample_is_small_and_credits_its_source(sample):
    assert sum(p.stat().st_size for p in sample.folder.rglob("*")) < 5e6
    readme = (sample.folder / "README.md").read_text()
    for credit in ("10.7937/K9/TCIA.2017.3R3FVZ08", "10.1002/mp.13141", "licenses/by/3.0"):
        assert credit in readme


def test_sample_reads_without_imagecodecs(sample):
    script = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "import pathlib, tifffile\n"
        "for path in pathlib.Path(sys.argv[1]).rglob('*.tif'): tifffile.imread(path)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(sample.folder)], check=True)


@pytest.mark.parametrize("patient", ["101", "201", "202"])
def test_slices_are_what_the_source_says(patient, data, slices):
    nibabel = pytest.importorskip("nibabel", reason="reads the NIfTI source of the sample")
    folder = data / "lctsc" / f"LCTSC-Test-S1-{patient}"
    if not folder.is_dir():
        pytest.skip(f"needs the source of the sample in {folder}")
    scan, lungs = (nibabel.load(folder / f"{n}.nii.gz") for n in ("ct", "lungs"))
    assert nibabel.aff2axcodes(scan.affine) == ("L", "P", "S")
    hu, inside = np.asarray(scan.dataobj), np.asarray(lungs.dataobj) > 0
    corners = [(i, j) for i in (0, 1) for j in (0, 1)]
    for name, (image, mask) in slices.items():
        if patient_key(name) == f"LCTSC-{patient}":
            k = int(name[-7:-4])
            total = sum(hu[i::2, j::2, k].T.astype(np.int32) for i, j in corners)
            np.testing.assert_array_equal(image, np.rint(total / 4))
            area = sum(inside[i::2, j::2, k].T.astype(np.int32) for i, j in corners)
            np.testing.assert_array_equal(mask, area >= 2)
