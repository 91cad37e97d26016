"""Folders and zips of DICOM slices as images of a data set."""

import re
import shutil

import numpy as np
import pytest
from commands import pleura
from dicom_files import write_series

from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_pairs
from pleura.dataset.scan_folders import patient_group
from pleura.dataset.volumes import read_scan
from pleura.errors import DataError
from pleura.formats.read import read
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes

AFFINE = affine_from_axes((0, 0, 0), ((0, 0, 5), (0, 2, 0), (2, 0, 0)))
SUFFIXES = (".seg.nrrd", ".dcm", ".rtstruct.dcm", ".nii.gz")


def draw(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((5, 32, 32), np.uint8)
    labels[:, 6:26, 4:13], labels[:, 8:24, 19 : 26 + seed % 3] = 1, 2
    hu = np.where(labels > 0, -850, 40) + rng.normal(0, 20, labels.shape)
    return hu.astype(np.int16), labels


@pytest.fixture
def folders(tmp_path):
    """Four scans of three patients, with masks of four kinds."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    masks.mkdir()
    for i, suffix in enumerate(SUFFIXES):
        patient = f"Doe{max(i, 1)}^Jane"
        hu, labels = draw(i)
        name = f"case-{i}"
        write_series(
            images / name, hu, AFFINE, series=str(i), PatientID=f"id{max(i, 1)}",
            PatientName=patient, StudyInstanceUID=f"1.2.{i}", FrameOfReferenceUID=f"1.3.{i}",
        )  # fmt: skip
        scan = read(images / name)
        Mask(labels, scan).write(masks / f"{name}{suffix}")
    return images, masks


def test_slices_of_folders_are_pairs(folders):
    pairs = find_pairs(*folders)
    assert len(pairs) == 20
    assert pairs[7].name == "case-1#002"
    reader = PairReader()
    for pair in pairs:
        hu, labels = draw(int(pair.name[5]))
        image, mask = reader.read(pair)
        np.testing.assert_array_equal(image, hu[pair.index])
        np.testing.assert_array_equal(mask, labels[pair.index] > 0)


def test_scans_of_a_patient_are_one_group_without_the_name(folders):
    groups = {pair.file_name: pair.group for pair in find_pairs(*folders)}
    assert groups["case-0"] == groups["case-1"]
    assert len(set(groups.values())) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", group) for group in groups.values())
    assert patient_group(read_scan(folders[0] / "case-2", "hu")) == groups["case-2"]


def test_names_of_patients_are_hashed(folders):
    images, masks = folders
    (images / "case-2").rename(images / "jane_doe2")
    (masks / "case-2.rtstruct.dcm").rename(masks / "jane_doe2.dcm")
    names = {pair.file_name for pair in find_pairs(images, masks)}
    assert names >= {"case-0", "case-1", "case-3"}
    assert not any("doe" in name for name in names)


def test_masks_are_matched_by_their_series(folders):
    images, masks = folders
    (masks / "case-1.dcm").rename(masks / "first.dcm")
    (masks / "case-2.rtstruct.dcm").rename(masks / "second.dcm")
    by_name = {pair.file_name: pair.mask.name for pair in find_pairs(images, masks)}
    assert by_name["case-1"] == "first.dcm"
    assert by_name["case-2"] == "second.dcm"
    (masks / "case-0.seg.nrrd").rename(masks / "other.seg.nrrd")  # refers to no series
    with pytest.raises(DataError, match="1 file without mask: case-0"):
        find_pairs(images, masks)


def test_zips_are_scans(folders):
    images, masks = folders
    shutil.make_archive(str(images / "case-0"), "zip", images / "case-0")
    shutil.rmtree(images / "case-0")
    pairs = find_pairs(images, masks)
    assert pairs[0].image.name == "case-0.zip"
    np.testing.assert_array_equal(PairReader().read(pairs[0])[0], draw(0)[0][0])


@pytest.mark.slow
def test_check_and_cross_validate(folders, tmp_path, no_figures):
    checked = pleura("check", *folders, "-q").stdout
    assert "20 (20 readable)" in checked
    (folders[0] / "case-2").rename(folders[0] / "doe2_jane")
    (folders[1] / "case-2.rtstruct.dcm").rename(folders[1] / "a.dcm")
    settings = ("preprocessing.size=[16,16]", "network.channels=[4,8]", "training.epochs=1",
                "training.batch_size=4", "training.threads=1", "split.method=shuffled")  # fmt: skip
    words = [word for value in settings for word in ("--set", value)]
    folds = tmp_path / "folds"
    pleura("cross-validate", *folders, "-r", "quick", *words, "--folds", "3", "-o", folds, "-q")
    masks = {path.name for path in (folds / "masks").iterdir()}
    assert masks > {f"case-{i}.nii.gz" for i in (0, 1, 3)}
    assert len(masks) == 4
    written = [path for path in folds.rglob("*") if path.is_file()]
    names = re.compile(rb"jane|doe2", re.IGNORECASE)
    assert not [path for path in written if names.search(path.name.encode())]
    assert not [path for path in written if names.search(path.read_bytes())]
