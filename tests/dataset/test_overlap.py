import numpy as np
import pytest
from PIL import Image

from pleura.dataset.overlap import near_duplicate_warning, resolve_duplicates
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.dataset.subsets import Split
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.scan.labels import Label

NAMES = ("a.tif", "b.tif", "c.tif", "d.tif")
SPLIT = Split(("a.tif", "b.tif"), ("c.tif",), ("d.tif",))
TEN = Preprocessing(size=(16, 16), scaling="window")


@pytest.fixture
def folders(sample, tmp_path):
    """Four slices that differ; tests replace some by copies of ``a.tif``."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    chosen = ("LCTSC-101_053.tif", "LCTSC-101_099.tif", "LCTSC-201_045.tif", "LCTSC-202_059.tif")
    for name, source in zip(NAMES, chosen, strict=True):
        write_image_file(tmp_path / "images" / name, read_image_file(sample.images / source))
        write_image_file(tmp_path / "masks" / name, read_image_file(sample.masks / source))
    return tmp_path / "images", tmp_path / "masks"


def kept(folders, split=SPLIT, **recipe):
    pairs = find_pairs(*folders)
    return resolve_duplicates(pairs, preprocess_pairs(pairs, TEN), split, SplitRecipe(**recipe))


def replace(folders, name, change):
    """Put ``a.tif`` in place of an image, changed, as another format."""
    image = change(read_image_file(folders[0] / "a.tif"))
    (folders[0] / name).unlink()
    np.save((folders[0] / name).with_suffix(".npy"), image)


def test_subsets_without_a_common_image_stay_as_they_are(folders):
    assert kept(folders) == SPLIT


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: image.astype(np.float32),
        lambda image: image[:, ::-1],
        np.rot90,
        lambda image: image[::-1].T,
    ],
)
@pytest.mark.parametrize("name", ["c", "d"])
def test_copy_in_another_subset_is_refused(folders, name, change):
    replace(folders, f"{name}.tif", change)
    values = {"training": ("a.tif", "b.tif"), "validation": ("c.tif",), "test": ("d.tif",)}
    values = {
        k: tuple(n.replace(f"{name}.tif", f"{name}.npy") for n in v) for k, v in values.items()
    }
    with pytest.raises(
        DataError, match=rf"(?s)same pixels: a\.tif \(training\) and {name}\.npy.*exclude"
    ):
        kept(folders, Split(**values))
    without = kept(folders, Split(**values), duplicates="exclude")
    assert without.training == ("b.tif",)
    assert without.test == values["test"]


def test_copies_in_one_subset_do_no_harm(folders):
    replace(folders, "b.tif", lambda image: image)
    split = Split(("a.tif", "b.npy"), ("c.tif",), ("d.tif",))
    assert kept(folders, split) == split


def test_other_pixels_with_the_same_values_are_no_copy(folders):
    replace(folders, "d.tif", lambda image: np.roll(image, 5, axis=0))
    split = Split(("a.tif", "b.tif"), ("c.tif",), ("d.npy",))
    assert kept(folders, split) == split


def test_name_in_two_subsets_is_refused(folders):
    with pytest.raises(DataError, match=r"two subsets of the split: a\.tif"):
        kept(folders, Split(("a.tif", "b.tif"), ("c.tif",), ("a.tif", "d.tif")))


def test_leaving_out_all_copies_may_not_empty_a_subset(folders):
    for name in ("a.tif", "b.tif"):
        picture = read_image_file(folders[0] / "d.tif")
        Image.fromarray(picture).save(folders[0] / name)
    with pytest.raises(DataError, match="the training subset of the split is empty"):
        kept(folders, duplicates="exclude")


def test_nearly_equal_images_in_different_subsets_are_named(folders):
    pairs = find_pairs(*folders)
    assert near_duplicate_warning(preprocess_pairs(pairs, TEN), SPLIT) is None
    noise = np.random.default_rng(0).integers(-20, 20, (256, 256))
    replace(folders, "d.tif", lambda image: image + noise)
    pairs = find_pairs(*folders)
    split = Split(("a.tif", "b.tif"), ("c.tif",), ("d.npy",))
    assert "a.tif (training) and d.npy (test)" in near_duplicate_warning(
        preprocess_pairs(pairs, TEN), split
    )


@pytest.mark.parametrize("overlap", [False, True])
def test_copies_are_found_whatever_their_masks_of_several_labels_are(folders, overlap):
    """Three labels in every mask, as one label map or, of labels that may overlap, as bits."""
    labels = tuple(Label(i, f"label {i}", overlap=overlap) for i in (1, 2, 7))
    replace(folders, "d.tif", lambda image: image[:, ::-1])
    for i, path in enumerate(sorted(folders[1].iterdir())):
        values = np.resize(np.repeat([0, 1, 2, 7], 4 + i), (256, 256))
        write_image_file(path, values.astype(np.uint8))
    pairs, split = find_pairs(*folders), Split(("a.tif", "b.tif"), ("c.tif",), ("d.npy",))
    prepared = preprocess_pairs(pairs, TEN, labels=labels)
    assert set(np.unique(prepared.masks)) == ({0, 1, 2, 4} if overlap else {0, 1, 2, 3})
    with pytest.raises(DataError, match=r"same pixels: a\.tif \(training\) and d\.npy \(test\)"):
        resolve_duplicates(pairs, prepared, split, SplitRecipe())
    recipe = SplitRecipe(duplicates="exclude")
    assert resolve_duplicates(pairs, prepared, split, recipe).training == ("b.tif",)
