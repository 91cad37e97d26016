"""Masks of several classes: reading, resampling, augmentation."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import write_series
from PIL import Image
from pydantic import ValidationError

from pleura.dataset.augmentation import Augmentation, augment
from pleura.dataset.data_recipe import DataRecipe, describe_mirroring, mirror_table
from pleura.dataset.images_2d import read_mask_2d
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_label_map
from pleura.errors import DataError, RecipeError
from pleura.formats.image_files import write_image_file
from pleura.formats.read import read
from pleura.formats.write import write_labels
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes
from pleura.training.recipe_loading import build_recipe, load_recipe

LABELS = {1: "right lung", 2: "left lung", 7: "lesion"}
CLASSES = DataRecipe(labels=LABELS).classes


@pytest.fixture
def values():
    mask = np.zeros((24, 32), np.uint8)
    mask[4:20, 3:13], mask[4:20, 19:29], mask[8:11, 5:9] = 1, 2, 7
    return mask


@pytest.fixture
def indices(values):
    return np.where(values == 7, 3, values).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_values_become_class_indices(tmp_path, values, indices, suffix):
    path = tmp_path / f"a{suffix}"
    write_image_file(path, values)
    np.testing.assert_array_equal(read_mask_2d(path, CLASSES), indices)


def test_indices_of_a_coloured_palette_are_labels(tmp_path, values, indices):
    image = Image.fromarray(values, "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, *[9, 9, 9] * 4, 0, 0, 255])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask_2d(tmp_path / "a.png", CLASSES), indices)


def test_values_that_the_recipe_does_not_name_are_one_error(tmp_path, values):
    path = tmp_path / "a.png"
    values[0, :3] = 4, 5, 5
    write_image_file(path, values)
    with pytest.raises(DataError) as raised:
        read_mask_2d(path, CLASSES)
    assert raised.value.where == str(path)
    assert "the values 4, 5, which no label has" in raised.value.message
    assert "1 right lung, 2 left lung, 7 lesion" in raised.value.message
    assert "data.labels" in raised.value.hint


def test_fractions_are_not_labels(tmp_path, values):
    np.save(tmp_path / "a.npy", values * np.float32(0.5))
    with pytest.raises(DataError, match=r"fractional values, from 0 to 3.5"):
        read_mask_2d(tmp_path / "a.npy", CLASSES)
    np.save(tmp_path / "a.npy", values.astype(np.float32))  # whole numbers in floating point
    assert read_mask_2d(tmp_path / "a.npy", CLASSES).max() == 3


def test_slices_of_a_volume_have_class_indices(tmp_path, values, indices):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    hu = np.stack([np.where(values > 0, -800, 40)] * 3, 2).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # axes (row, column, slice) of the array below
    for folder, array in (("images", hu), ("masks", np.stack([values] * 3, 2))):
        nib.save(nib.Nifti1Image(array.swapaxes(0, 1), affine), tmp_path / folder / "a.nii.gz")
    pairs = find_pairs(tmp_path / "images", tmp_path / "masks")
    image, mask = PairReader(CLASSES).read(pairs[1])
    np.testing.assert_array_equal(mask, indices)
    assert (image[mask > 0] == -800).all()
    wrong = np.stack([np.where(values == 7, 9, values)] * 3, 2).astype(np.uint8)
    nib.save(nib.Nifti1Image(wrong.swapaxes(0, 1), affine), tmp_path / "masks" / "a.nii.gz")
    with pytest.raises(DataError, match="the value 9, which no label has"):
        PairReader(CLASSES).read(pairs[1])


@pytest.mark.parametrize("interpolation", ["area", "nearest"])
def test_resampled_label_maps_contain_labels_of_most_of_each_pixel(indices, interpolation):
    large = indices.repeat(4, 0).repeat(4, 1)
    preprocessing = Preprocessing(size=(24, 32), mask_interpolation=interpolation)
    found = preprocess_label_map(large, preprocessing, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, indices)


def test_area_does_not_shift_a_label_map(indices):
    large = np.zeros((96, 128), np.uint8)
    large[2:, 2:] = indices.repeat(4, 0).repeat(4, 1)[:-2, :-2]  # half a pixel of the grid
    by_area, by_corner = (
        preprocess_label_map(large, Preprocessing(size=(24, 32), mask_interpolation=method), 3)
        for method in ("area", "nearest")
    )
    assert (by_area == indices).mean() > (by_corner == indices).mean()


def flipped_pairs(indices, data, n=40):
    augmentation = Augmentation(shift=0, rotation=0, zoom=(1, 1), flip=True)
    image = np.linspace(0, 1, indices.size, dtype=np.float32).reshape(indices.shape)
    rng = np.random.default_rng(0)
    table = mirror_table(data)
    return image, [augment(image, indices, augmentation, rng, table) for _ in range(n)]


def test_a_flip_exchanges_right_and_left(indices):
    image, pairs = flipped_pairs(indices, DataRecipe(labels=LABELS))
    mirrored = np.array([0, 2, 1, 3], np.uint8)[indices[:, ::-1]]
    seen = set()
    for found_image, found in pairs:
        flipped = np.allclose(found_image, image[:, ::-1], atol=1e-6)
        seen.add(flipped)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, mirrored if flipped else indices)
        # The right lung stays on the side of the image where the right of a patient is.
        assert np.nonzero(found == 1)[1].mean() < np.nonzero(found == 2)[1].mean()
    assert seen == {False, True}


def test_a_flip_keeps_labels_without_side(indices):
    labels = {1: "a", 2: {"name": "b", "mirrored": 2}, 3: "c"}
    image, pairs = flipped_pairs(indices, DataRecipe(labels=labels))
    for found_image, found in pairs:
        flipped = np.allclose(found_image, image[:, ::-1], atol=1e-6)
        np.testing.assert_array_equal(found, indices[:, ::-1] if flipped else indices)


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (["right lung", "left lung", "lesion"], (0, 2, 1, 3)),
        (["LungR", "LungL"], (0, 2, 1)),
        (["Lung_L", "heart", "Lung_R"], (0, 3, 2, 1)),
        (["RUL", "LUL"], (0, 2, 1)),
        (["leftlung", "rightlung"], (0, 2, 1)),
        (["upper lobe of right lung", "Upper lobe of left lung"], (0, 2, 1)),
        (["lung", "lesion", "cluster", "lobe"], (0, 1, 2, 3, 4)),
    ],
)
def test_names_determine_the_counterpart(names, table):
    data = DataRecipe(labels=dict(enumerate(names, 1)))
    assert mirror_table(data) == table
    text = describe_mirroring(table, data.classes)
    assert ("exchange" in text) == (table != tuple(range(len(table))))


def test_a_key_determines_the_counterpart():
    labels = {1: {"name": "A", "mirrored": 4}, 4: {"name": "B", "mirrored": 1}, 5: "RML"}
    with pytest.raises(ValueError, match="'RML' has no counterpart"):
        mirror_table(DataRecipe(labels=labels))
    labels[5] = {"name": "RML", "mirrored": 5}
    assert mirror_table(DataRecipe(labels=labels)) == (0, 2, 1, 3)
    labels[4] = "B"
    with pytest.raises(ValueError, match="contradict each other"):
        mirror_table(DataRecipe(labels=labels))


def test_a_recipe_with_flips_and_one_side_is_refused():
    labels = "data.labels={1: right lung, 2: lesion}"
    with pytest.raises(RecipeError, match="'right lung' has no counterpart"):
        load_recipe("quick", [labels])  # quick flips
    assert load_recipe("quick", [labels, "augmentation.flip=false"]).mirrored == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.labels={0: a}", "data.labels.0 must be at least 1"),
        ("data.labels={256: a}", "data.labels.256 must be at most 255"),
        ("data.labels={1: a, 2: A}", "two labels have the same name"),
        ("data.labels={1: background}", "are not names of labels"),
        ("data.labels={1: {name: a, mirrored: 3}}", "mirrored: 3 is not a label"),
        ("data.labels={1: {name: a, code: [SCT, '1', '']}}", "three texts"),
        ("data.labels={1: {name: a, colour: red}}", "unknown key 'data.labels.1.colour'"),
        ("loss.class_weights={lesion: 2}", "requires data.labels"),
    ],
)
def test_labels_that_are_not_possible(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("exercise", [override])


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("exercise", "loss.border_weights=true", "border_weights is for one class"),
        ("default", "name=x", "simulation is for lungs only"),
        ("exercise", "loss.class_weights={b: 2}", "'b' is not the name of a label"),
    ],
)
def test_what_is_for_lungs_only_is_refused(recipe, override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, ["data.labels={1: a}", override])


def test_a_list_is_short_for_sources():
    source = {"images": "a", "masks": "b"}
    short = build_recipe({"name": "x", "data": [source]}, "x")
    assert short == build_recipe({"name": "x", "data": {"sources": [source]}}, "x")
    assert build_recipe(short.model_dump(mode="json"), "x") == short
    labelled = load_recipe("exercise", ["data.labels={2: b, 1: a}"])
    assert build_recipe(labelled.model_dump(mode="json"), "x") == labelled
    assert [label.value for label in labelled.data.classes] == [1, 2]


def test_labels_have_no_other_keys():
    with pytest.raises(ValidationError):
        DataRecipe(labels={1: {"name": "a", "x": 1}})


@pytest.fixture
def structures(tmp_path):
    """Write a volume, and an RT Structure Set of both lungs and a lesion inside the right one."""
    affine = affine_from_axes((-12, 7, 30), ((0, 0, 2.5), (0, 0.75, 0), (0.7, 0, 0)))
    hu = np.random.default_rng(0).integers(-900, 100, (4, 24, 32), np.int16)
    write_series(tmp_path / "series", hu, affine)
    scan = read(tmp_path / "series", units="hu")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    nib.save(scan.to_nibabel(), tmp_path / "images" / "a.nii.gz")
    lesion = np.zeros(hu.shape, np.uint8)
    lesion[1:3, 8:11, 5:9] = 1
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[1:3, 4:20, 3:13], lungs[1:3, 4:20, 19:29] = 1, 2
    write_labels(tmp_path / "lesion.rtstruct.dcm", Mask(lesion, scan, sides=False))
    write_labels(tmp_path / "lungs.rtstruct.dcm", Mask(lungs, scan))
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    other = pydicom.dcmread(tmp_path / "lesion.rtstruct.dcm")
    other.StructureSetROISequence[0].ROINumber = other.ROIContourSequence[0].ReferencedROINumber = 3
    other.StructureSetROISequence[0].ROIName = "Lesion"
    dataset.StructureSetROISequence.append(other.StructureSetROISequence[0])
    dataset.ROIContourSequence.append(other.ROIContourSequence[0])
    dataset.save_as(tmp_path / "masks" / "a.dcm")
    return tmp_path, np.where(lesion, 3, lungs)


def test_structures_become_the_classes_with_their_names(structures):
    folder, expected = structures
    reader = PairReader(CLASSES)
    pairs = find_pairs(folder / "images", folder / "masks")
    found = np.stack([reader.read(pair)[1] for pair in pairs])
    np.testing.assert_array_equal(found, expected)


def test_structures_of_other_names_are_one_error(structures):
    folder, _ = structures
    (pair, *_) = find_pairs(folder / "images", folder / "masks")
    with pytest.raises(DataError, match=r"no structure with the name of a label \(GTV\)") as raised:
        PairReader(DataRecipe(labels={1: "GTV"}).classes).read(pair)
    assert "Lung_R, Lung_L, Lesion" in raised.value.hint
