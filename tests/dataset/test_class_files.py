"""Masks with one file per class."""

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from pleura.dataset.checks import check_folders
from pleura.dataset.data_recipe import DataRecipe
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_pairs
from pleura.dataset.sources import Source, collect_pairs
from pleura.errors import DataError
from pleura.formats.image_files import write_image_file
from pleura.formats.read import read
from pleura.formats.write import write_labels
from pleura.scan.labels import LabelMap

DATA = DataRecipe(
    labels={4: {"name": "lesion", "masks": "lesions"}, 2: {"name": "lung", "masks": "lungs"}}
)


def layers(i):
    """Return a lung, and a lesion of which a part is outside the lung."""
    lung, lesion = np.zeros((2, 16, 20), np.uint8)
    lung[4:12, 3:13], lesion[6 + i : 9 + i, 10:15] = 255, 7
    return {"lungs": lung, "lesions": lesion}


@pytest.fixture
def folders(tmp_path):
    for i in range(2):
        noise = np.random.default_rng(i).integers(-900, 100, (16, 20)).astype(np.int16)
        for folder, array in {"images": noise, **layers(i)}.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image_file(tmp_path / folder / f"{i}.tif", array)
    return tmp_path / "images", tmp_path


def test_the_higher_value_has_priority(folders):
    pairs = find_pairs(*folders, DATA.class_masks)
    reader = PairReader(DATA.classes)
    for i, pair in enumerate(pairs):
        lung, lesion = layers(i).values()
        expected = np.where(lesion > 0, 2, lung > 0)  # indices in the order of values
        np.testing.assert_array_equal(reader.read(pair)[1], expected)
        assert reader.count_overlap(pair) == 9
        assert [path.parent.name for path in pair.masks] == ["lungs", "lesions"]


def test_a_missing_file_of_a_class_is_an_error_with_its_name(folders):
    (folders[1] / "lesions" / "1.tif").unlink()
    with pytest.raises(DataError, match=r"1 file without mask of the class 'lesion': 1\.tif"):
        find_pairs(*folders, DATA.class_masks)
    report = check_folders(*folders, data=DATA)
    assert [f.message for f in report.findings if f.severity == "error"] == [
        "1 file without mask of the class 'lesion'"
    ]
    assert report.pairs == 1


def test_masks_of_different_size_are_an_error(folders):
    write_image_file(folders[1] / "lesions" / "0.tif", np.zeros((16, 21), np.uint8))
    pair = find_pairs(*folders, DATA.class_masks)[0]
    with pytest.raises(DataError, match="two masks differ in size: 16x20 and 16x21") as raised:
        PairReader(DATA.classes).read(pair)
    assert raised.value.where is not None
    assert raised.value.where.endswith("0.tif")


def test_check_counts_the_pixels_in_several_classes(folders):
    report = check_folders(*folders, data=DATA)
    assert [(one.name, one.images) for one in report.labels] == [("lung", 2), ("lesion", 2)]
    notes = [f.message for f in report.findings if f.topic == "labels"]
    assert notes == [
        "18 pixels of 2 images in the masks of several classes; the class with the highest value "
        "has priority"
    ]


def test_the_training_data_are_those_of_label_maps(folders):
    (folders[1] / "maps").mkdir()
    for i in range(2):
        lung, lesion = layers(i).values()
        values = np.where(lesion > 0, 4, np.where(lung > 0, 2, 0)).astype(np.uint8)
        write_image_file(folders[1] / "maps" / f"{i}.png", values)
    prepared = [
        preprocess_pairs(pairs, Preprocessing(size=(16, 16)), labels=DATA.classes)
        for pairs in (
            find_pairs(*folders, DATA.class_masks),
            find_pairs(folders[0], folders[1] / "maps"),
        )
    ]
    assert prepared[0].fingerprint == prepared[1].fingerprint
    np.testing.assert_array_equal(prepared[0].masks, prepared[1].masks)
    assert set(np.unique(prepared[0].masks)) == {0, 1, 2}


def test_one_volume_per_class(folders):
    root = folders[1]
    (root / "patient").mkdir()
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    hu = np.random.default_rng(0).integers(-900, 100, (20, 16, 2)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, affine), root / "patient" / "ct.nii.gz")
    for name in ("lungs", "lesions"):
        volume = np.stack([layers(i)[name].T for i in range(2)], 2)
        nib.save(nib.Nifti1Image(volume, affine), root / "patient" / f"{name}.nii.gz")
    data = DataRecipe(
        sources=[Source(images="*/ct.nii.gz", masks="*")],
        labels={
            1: {"name": "lung", "masks": "lungs.nii.gz"},
            2: {"name": "lesion", "masks": "lesions.nii.gz"},
        },
    )
    pairs = collect_pairs(root, None, data.sources, data.class_masks)
    reader = PairReader(data.classes)
    assert [pair.name for pair in pairs] == ["patient#000", "patient#001"]
    for i, pair in enumerate(pairs):
        lung, lesion = layers(i).values()
        expected = np.where(lesion > 0, 2, lung > 0)
        np.testing.assert_array_equal(reader.read(pair)[1], expected)
        assert reader.count_overlap(pair) == 9
    (root / "patient" / "lesions.nii.gz").unlink()
    with pytest.raises(DataError, match="the image has no mask of the class 'lesion'"):
        collect_pairs(root, None, data.sources, data.class_masks)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz"])
def test_structures_of_a_volume_overlap(tmp_path, suffix):
    hu = np.random.default_rng(0).integers(-900, 100, (20, 16, 2)).astype(np.int16)
    (tmp_path / "images").mkdir()
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(hu, affine), tmp_path / "images" / "a.nii.gz")
    scan = read(tmp_path / "images" / "a.nii.gz")
    data = DataRecipe(labels={2: "lung", 4: "lesion"}, overlap=True)
    bits = np.stack([(m["lungs"] > 0) + 2 * (m["lesions"] > 0) for m in map(layers, range(2))])
    stored, classes = bits.astype(np.uint16), data.classes
    if suffix == ".nii.gz":  # a label map, in which the lesion replaces the lung
        bits[bits == 3] = 2
        stored, classes = (2 * bits).astype(np.uint8), ()
    (tmp_path / "masks").mkdir()
    mask = LabelMap(stored, scan, False, classes=classes)
    write_labels(tmp_path / "masks" / f"a{suffix}", mask)
    reader = PairReader(data.classes)
    for i, pair in enumerate(find_pairs(tmp_path / "images", tmp_path / "masks")):
        found = reader.read(pair)[1]
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, bits[i])


def test_volumes_of_classes_on_different_grids_are_an_error(tmp_path):
    for name, spacing in (("images", 3.0), ("lungs", 3.0), ("lesions", 2.0)):
        (tmp_path / name).mkdir()
        array = np.random.default_rng(0).integers(-900, 100, (20, 16, 2)).astype(np.int16)
        if name != "images":
            array = (array > 0).astype(np.int16)
        image = nib.Nifti1Image(array, np.diag([-1.0, -1.0, spacing, 1.0]))
        nib.save(image, tmp_path / name / "a.nii.gz")
    pair = find_pairs(tmp_path / "images", tmp_path, DATA.class_masks)[0]
    with pytest.raises(DataError, match="two masks have different grids"):
        PairReader(DATA.classes).read(pair)


@pytest.mark.parametrize("path", ["", "/masks", "../masks", "a/../../b", "C:\\masks", "a\nb"])
def test_masks_of_classes_are_below_the_folder_of_the_masks(path):
    with pytest.raises(ValidationError, match="masks: must be a path below"):
        DataRecipe(labels={1: {"name": "lung", "masks": path}})


def test_all_labels_have_a_folder_or_none():
    with pytest.raises(ValidationError, match="all labels must have the key 'masks', or none"):
        DataRecipe(labels={1: {"name": "lung", "masks": "lungs"}, 2: "lesion"})
