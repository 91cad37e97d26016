"""Masks in another orientation than their images."""

import shutil

import numpy as np
import pytest

from pleura.dataset.mask_orientation import (
    ORIENTATIONS,
    find_misoriented,
    measure_orientation_fits,
)
from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.check import check

STORED = {
    "a horizontal flip": np.fliplr,
    "a vertical flip": np.flipud,
    "a rotation by 180 degrees": lambda mask: np.rot90(mask, 2),
    "a transposition": np.transpose,
    "a clockwise rotation by 90 degrees": np.rot90,
    "a counter-clockwise rotation by 90 degrees": lambda mask: np.rot90(mask, -1),
    "a transposition about the other diagonal": lambda mask: np.rot90(mask, 2).T,
}
"""How masks are stored that fit after the change."""


@pytest.fixture(scope="module")
def slices(sample):
    """The images and masks of the sample with lung."""
    pairs = [read_pair(pair) for pair in find_pairs(sample.images, sample.masks)]
    return [(image, mask) for image, mask in pairs if mask.any()]


def misoriented(pairs):
    fits = [measure_orientation_fits(image, mask) for image, mask in pairs]
    return {ORIENTATIONS[i][0]: found for i, found in find_misoriented(fits)}


@pytest.mark.parametrize("words", STORED)
def test_every_orientation_is_found_and_its_expression_restores_the_mask(slices, words):
    changed = [(image, STORED[words](mask)) for image, mask in slices]
    assert misoriented(changed) == {words: list(range(len(slices)))}
    expression = dict(ORIENTATIONS)[words]
    for (_, stored), (_, mask) in zip(changed, slices, strict=True):
        assert np.array_equal(eval(expression, {"mask": stored}), mask)  # noqa: S307


@pytest.mark.parametrize(
    "change",
    [
        lambda image, mask: (image, mask),
        lambda image, mask: (np.clip((image + 1350) / 6, 0, 255).astype(np.uint8), mask),
        lambda image, mask: (-image.astype(np.float64), mask),
        lambda image, mask: (image, 1 - mask),
        lambda image, mask: (image[20:], mask[20:]),
        lambda image, mask: (image[::-1], mask[::-1]),
        lambda image, mask: (image, np.roll(mask, 40, 1)),
        lambda image, _: (image, np.tri(*image.shape, dtype=np.uint8)),
    ],
    ids=["stored", "window", "inverted", "outside", "crop", "both", "shifted", "unrelated"],
)
def test_no_other_orientation_is_reported(slices, change):
    assert misoriented(change(*pair) for pair in slices) == {}


def test_orientations_of_another_shape_do_not_fit(slices):
    image, mask = slices[20]
    fits = measure_orientation_fits(image[20:], mask[20:])
    assert (fits[4:] == 0).all()
    assert fits[0] > 0.9
    assert (np.abs(measure_orientation_fits(image, mask)[1:]) > 0).all()


def test_inverted_images_with_flipped_masks_are_found(slices):
    changed = [(1000 - image.astype(np.int32), mask[::-1]) for image, mask in slices]
    assert misoriented(changed) == {"a vertical flip": list(range(len(slices)))}


def copy_pairs(sample, folder, flipped):
    """Copy every second pair as 8-bit PNG; flip this number of masks with lung."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for pair in find_pairs(sample.images, sample.masks)[::2]:
        image, mask = read_image_file(pair.image), read_image_file(pair.mask)
        if mask.any() and flipped:
            mask, flipped = mask[::-1], flipped - 1
        window = np.clip((image + 1350) / 6, 0, 255).astype(np.uint8)
        write_image_file(folder / "images" / pair.image.with_suffix(".png").name, window)
        write_image_file(folder / "masks" / pair.mask.with_suffix(".png").name, mask)
    return check(folder / "images", folder / "masks")


def test_check_reports_masks_that_are_upside_down(sample, tmp_path):
    report = copy_pairs(sample, tmp_path, flipped=1000)
    (finding,) = [one for one in report.findings if one.topic == "orientation"]
    n = report.pairs - report.lung_fraction.empty
    assert finding.severity == "error"
    assert finding.message == f"{n} masks fit their images better after a vertical flip"
    assert len(finding.files) == n
    assert finding.hint == (
        "save masks and images in the same orientation, for example with mask[::-1] in NumPy"
    )
    assert not report.fit_to_train


def test_a_few_flipped_masks_are_a_warning(sample, tmp_path):
    report = copy_pairs(sample, tmp_path, flipped=1)
    (finding,) = [one for one in report.findings if one.topic == "orientation"]
    assert finding.severity == "warning"
    assert finding.message == "1 mask fits its image better after a vertical flip"
    assert report.fit_to_train


def test_flipped_masks_are_no_suspected_label_errors(sample, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(sample.masks, masks)
    for path in masks.iterdir():
        write_image_file(path, read_image_file(path)[::-1])
    report = check(sample.images, masks)
    assert not report.fit_to_train
    assert report.label_errors == ()


def test_flipped_masks_of_volumes_are_found(sample, tmp_path):
    import nibabel

    for name, file in (("images", "ct.nii.gz"), ("masks", "lungs.nii.gz")):
        (tmp_path / name).mkdir()
        stored = nibabel.load(sample.folder / "volume" / file)
        voxels = np.asarray(stored.dataobj)[:, :, 20:40:4]
        if name == "masks":
            voxels = voxels[::-1]
        image = nibabel.Nifti1Image(voxels, stored.affine)
        nibabel.save(image, tmp_path / name / "chest.nii.gz")
    report = check(tmp_path / "images", tmp_path / "masks")
    (finding,) = [one for one in report.findings if one.severity == "error"]
    assert "better after a horizontal flip" in finding.message
    assert [path.name for path in finding.files] == ["chest.nii.gz"]
    assert finding.hint == "save masks and images in the same orientation"
