import cv2
import numpy as np
import pytest

from pleura.dataset.label_errors import (
    find_disagreement,
    find_label_errors,
    find_mask_problems,
    is_upside_down,
)
from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.formats.image_files import read_image_file
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.training.check import check


@pytest.fixture(scope="module")
def slice_(sample):
    hu = read_image_file(sample.images / "LCTSC-201_058.tif").astype(np.int16)
    return hu, (read_image_file(sample.masks / "LCTSC-201_058.tif") > 0).astype(np.uint8)


def words(hu, mask):
    return " ".join(reason for _, reason in find_mask_problems(hu, mask))


def test_masks_of_experts_are_no_suspected_label_errors(sample):
    assert find_label_errors(find_pairs(sample.images, sample.masks), HU) == ([], [])


def test_air_around_the_patient_is_no_lung(slice_):
    hu, mask = slice_
    spoilt = mask.copy()
    spoilt[:20] = 1
    assert "air around the patient" in words(hu, spoilt)


def test_soft_tissue_is_no_lung(slice_):
    hu, mask = slice_
    spoilt = mask.copy()
    spoilt[(hu > 0) & (hu < 80)] = 1
    assert "density of soft tissue" in words(hu, spoilt)


def test_a_lung_that_is_left_out_is_seen(slice_):
    hu, mask = slice_
    spoilt = mask.copy()
    spoilt[:, 128:] = 0
    assert "is not in the mask" in words(hu, spoilt)
    assert "is not in the mask" in words(hu, np.zeros_like(mask))


def test_a_mask_beside_its_lung_is_seen(slice_):
    hu, mask = slice_
    assert "the mask is shifted from the lung by" in words(hu, np.roll(mask, 5, 1))


def test_holes_with_lung_in_them_and_a_ragged_border_are_seen(slice_):
    hu, mask = slice_
    large, inside = (
        cv2.resize(one, (512, 512), interpolation=cv2.INTER_NEAREST)[96:416, 96:416]
        for one in (hu, mask)
    )
    rows, columns = np.mgrid[: inside.shape[0], : inside.shape[1]]
    whole = cv2.erode(inside, np.ones((25, 25)))
    spoilt = inside.copy()
    spoilt[(whole > 0) & (rows % 40 < 10) & (columns % 40 < 10)] = 0
    assert "holes with aerated lung" in words(large, spoilt)
    border = (cv2.dilate(inside, np.ones((9, 9))) > 0) & (rows % 6 < 3) & (columns % 6 < 3)
    assert "ragged border" in words(large, np.maximum(inside, border.astype(np.uint8)))


def test_most_slices_upside_down_are_told_and_none_that_is_not(sample):
    pairs = [read_pair(pair) for pair in find_pairs(sample.images, sample.masks)]
    shown = [(hu, mask) for hu, mask in pairs if mask.mean() > 0.02]
    turned = [is_upside_down(hu[::-1].copy(), mask[::-1].copy()) for hu, mask in shown]
    assert np.mean(turned) > 0.4
    assert not any(is_upside_down(hu, mask) for hu, mask in shown)


def test_disagreement_with_a_model_counts_pixels(slice_):
    _, mask = slice_
    sure = np.where(mask, 255, 0).astype(np.uint8)
    assert find_disagreement(sure, mask) == []
    spoilt = mask.copy()
    spoilt[:, 128:] = 0
    ((weight, reason),) = find_disagreement(sure, spoilt)
    assert weight > 1
    missing = int((mask > 0)[:, 128:].sum())
    assert f"{missing} pixels of lung are missing, 0 pixels of the mask are not lung" in reason


def test_suspects_are_ranked_and_stand_in_the_check(sample, tmp_path):
    import shutil

    from pleura.formats.image_files import write_image_file

    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in sorted((sample.folder / kind).glob("LCTSC-201_0[4-7]*")):
            shutil.copy(path, tmp_path / kind)
    name = "LCTSC-201_058.tif"
    spoilt = read_image_file(tmp_path / "masks" / name)
    spoilt[:30] = 255
    write_image_file(tmp_path / "masks" / name, spoilt)
    report = check(tmp_path / "images", tmp_path / "masks")
    assert [suspect.name for suspect in report.label_errors] == [name]
    assert any("suspected label error" in finding.message for finding in report.findings)
    assert report.to_dict()["label_errors"][0]["mask"].endswith(name)


def test_stored_values_are_taken_to_hu_first(slice_, sample, tmp_path):
    from pleura.dataset.pairs import Pair
    from pleura.formats.image_files import write_image_file

    hu, _ = slice_
    write_image_file(tmp_path / "a.tif", (hu + 1024).astype(np.uint16))
    pair = Pair("a", tmp_path / "a.tif", sample.masks / "LCTSC-201_058.tif")
    assert find_label_errors([pair], IntensityMapping(1, 1024)) == ([], [])


@pytest.mark.slow
def test_the_wrong_references_of_the_public_set_are_found_and_no_other(data):
    pairs = find_pairs(data / "kmader" / "2d_images", data / "kmader" / "2d_masks")
    found = [
        suspect.name[:7] for suspect in find_label_errors(pairs, IntensityMapping(0.8165, 0))[0]
    ]
    assert sorted(found) == ["ID_0052", "ID_0079", "ID_0134", "ID_0181", "ID_0254"]
