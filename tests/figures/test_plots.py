import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.path import Path
from PIL import Image

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import Pair
from pleura.errors import DataError
from pleura.figures.cases import BANDS, ChosenCase, choose_cases
from pleura.figures.curves import curves_figure
from pleura.figures.overlay import grey_range, overlay
from pleura.figures.palette import PREDICTION, REFERENCE, TRAINING, VALIDATION, rgb
from pleura.figures.plots import (
    CaseImages,
    PairImages,
    cases_figure,
    contact_sheet,
    pairs_figure,
    save_figure,
)

TUMOUR = "LCTSC-201_078.tif"  # its mask has a hole
NO_LUNG = "LCTSC-201_009.tif"


@pytest.fixture(scope="module")
def read(sample):
    return lambda name: read_pair(Pair(name, sample.images / name, sample.masks / name))


def contours(axis):
    return {
        to_hex(each.get_edgecolor()[0]): each.get_paths()[0]
        for each in axis.collections
        if isinstance(each, ContourSet)
    }


def pixels_inside(path, shape):
    """By the even-odd rule, so that a contour within a contour is a hole."""
    points = np.argwhere(np.ones(shape))[:, ::-1]
    polygons = [Path(each).contains_points(points) for each in path.to_polygons()]
    return np.logical_xor.reduce(polygons).reshape(shape)


# Which cases are looked at again


def in_band(score, band):
    return band[0] <= score < band[1] or (score == band[1] == 1)


def test_each_band_shows_its_middle_case_and_the_last_place_the_worst():
    scores = {"a": 0.3, "b": 0.86, "c": 0.87, "d": 0.89, "e": 0.9, "f": 0.95, "g": 0.97, "h": 1.0}
    chosen = choose_cases(scores)
    assert [case.name for case in chosen] == ["c", "e", "g", "a"]
    assert chosen[0].note == "median of 3 in [0.85, 0.9)"
    assert chosen[1].note == "the only one in [0.9, 0.95)"
    assert chosen[3] == ChosenCase("a", 0.3, "worst", "the worst of 8")


def test_empty_band_is_said_and_filled_by_the_nearest_free_case():
    chosen = choose_cases({"low": 0.5, "near": 0.84, "in": 0.92, "top": 0.99})
    assert [case.name for case in chosen] == ["near", "in", "top", "low"]
    assert chosen[0].note == "no image in [0.85, 0.9); this is the nearest"


def test_empty_band_does_not_take_the_only_case_of_another_band():
    chosen = choose_cases({"far": 0.2, "only": 0.91, "top": 0.96})
    assert [case.name for case in chosen] == ["far", "only", "top"]


def test_all_empty_bands_are_told_of_even_when_cases_run_out():
    chosen = choose_cases({"one": 0.99})
    assert [case.name for case in chosen] == ["one", "one", "one"]
    assert [case.note.startswith("no image in") for case in chosen] == [True, True, False]


def test_case_without_iou_is_left_out():
    assert choose_cases({"empty": math.nan}) == []


@given(st.lists(st.sampled_from([0.0, 0.4, 0.84, 0.85, 0.899, 0.9, 0.94, 0.95, 0.99, 1.0])))
def test_choice_fills_the_places_and_repeats_none_while_there_are_cases(values):
    scores = {f"{i}": value for i, value in enumerate(values)}
    chosen = choose_cases(scores)
    names = [case.name for case in chosen]
    assert all(scores[case.name] == case.iou for case in chosen)
    if len(scores) >= 4:
        assert len(set(names)) == len(names) == 4
    for case, band in zip(chosen, BANDS, strict=False):
        exists = any(in_band(value, band) for value in values)
        assert in_band(case.iou, band) == exists
        assert case.note.startswith("no image") != exists


# Overlay


@pytest.mark.parametrize("edge", [False, True])
def test_overlay_colours_mask_pixels_next_to_the_outside_and_nothing_else(read, edge):
    image, mask = read(TUMOUR)
    if edge:
        mask = mask.copy()
        mask[:9, :40] = 1
    picture = overlay(image, mask, (-1000, 500))
    around = np.pad(mask, 1)
    neighbours = [around[2:, 1:-1], around[:-2, 1:-1], around[1:-1, 2:], around[1:-1, :-2]]
    contour = (mask == 1) & (np.min(neighbours, axis=0) == 0)
    grey = np.rint(np.clip((image + 1000.0) / 1500, 0, 1) * 255)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[~contour], np.repeat(grey[~contour, None], 3, axis=1))
    assert (picture[contour] == rgb(PREDICTION)).all()


def test_overlay_of_an_empty_mask_is_the_grey_picture(read):
    picture = overlay(*read(NO_LUNG), colour=REFERENCE)
    assert (picture[..., 0] == picture[..., 2]).all()


def test_grey_range_is_blind_to_padding_outside_the_scanners_circle(read):
    image, _ = read(TUMOUR)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    padded = np.where(x**2 + y**2 > 1, -3024, image)
    assert grey_range(padded) == grey_range(image)
    low, high = grey_range(image)
    assert low == -1000
    assert 100 < high < 500


@pytest.mark.parametrize("shape", [(1, 5), (2, 2), (64, 64)])
def test_constant_image_has_a_grey_range(shape):
    low, high = grey_range(np.full(shape, 7))
    assert low < high


# Figures


def test_curves_have_labelled_axes_and_the_colours_of_the_palette():
    keys = ("loss", "validation_loss", "accuracy", "validation_accuracy", "learning_rate")
    history = [{"epoch": i, **dict.fromkeys(keys, 0.5 / i)} for i in (1, 2, 3)]
    loss, accuracy, rate = curves_figure(history).axes
    assert [axis.get_title(loc="left") for axis in (loss, accuracy, rate)] == [
        "Loss",
        "Accuracy (fraction of pixels)",
        "Learning rate",
    ]
    assert {axis.get_xlabel() for axis in (loss, accuracy, rate)} == {"Epoch"}
    for axis in (loss, accuracy):
        assert [line.get_color() for line in axis.lines] == [TRAINING, VALIDATION]
        assert not axis.spines["top"].get_visible()


def test_pairs_figure_outlines_the_mask_before_and_after_augmentation(read):
    image, mask = read(TUMOUR)
    row = PairImages(TUMOUR, image, mask, image[:, ::-1], mask[:, ::-1])
    axes = pairs_figure([row, row]).axes
    assert len(axes) == 8
    assert axes[0].get_ylabel() == TUMOUR
    assert [bool(contours(axis)) for axis in axes] == [False, True] * 4
    for axis, outlined in ((axes[1], mask), (axes[3], mask[:, ::-1])):
        inside = pixels_inside(contours(axis)[REFERENCE], mask.shape)
        np.testing.assert_array_equal(inside, outlined == 1)
    assert {axis.images[0].get_clim() for axis in axes} == {grey_range(image)}
    assert {axis.get_xlim() for axis in axes} == {(-0.5, 255.5)}


def test_cases_figure_draws_both_contours_and_crops_around_them(read):
    image, mask = read(TUMOUR)
    prediction = np.roll(mask, 9, axis=1)
    case = ChosenCase(TUMOUR, 0.8512, "[0.85, 0.9)", "the only one in [0.85, 0.9)")
    figure = cases_figure([CaseImages(case, image, mask, prediction)])
    whole, enlarged = figure.axes
    assert whole.get_title() == f"{TUMOUR}\nIoU 0.851\nthe only one in [0.85, 0.9)"
    assert not contours(whole)
    for colour, drawn in ((REFERENCE, mask), (PREDICTION, prediction)):
        inside = pixels_inside(contours(enlarged)[colour], mask.shape)
        np.testing.assert_array_equal(inside, drawn == 1)
    ys, xs = np.nonzero(mask | prediction)
    (left, right), (bottom, top) = enlarged.get_xlim(), enlarged.get_ylim()
    assert -0.5 <= left < xs.min() < xs.max() < right <= 255.5
    assert -0.5 <= top < ys.min() < ys.max() < bottom <= 255.5
    assert right - left < 0.7 * 256
    assert [text.get_text() for text in figure.legends[0].texts] == ["reference", "prediction"]


def test_cases_figure_says_that_masks_are_empty(read, tmp_path):
    image, mask = read(NO_LUNG)
    case = ChosenCase("x" * 80, 0.0, "worst", "the worst of 20")
    figure = cases_figure([CaseImages(case, image, mask, mask)])
    name, _, *note = figure.axes[0].get_title().split("\n")
    assert len(name) < 40
    assert " ".join(note) == "the worst of 20; reference empty; prediction empty"
    save_figure(figure, tmp_path / "cases.png", dpi=40)


def test_contact_sheet_shows_every_picture_and_hides_spare_panels(read):
    pictures = [overlay(*read(TUMOUR))] * 4
    axes = contact_sheet(pictures, list("abcd"), columns=3).axes
    assert [axis.get_title() for axis in axes if axis.get_visible()] == list("abcd")
    assert len(axes) == 6


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_saved_figure_names_neither_software_nor_date(suffix, tmp_path, read):
    path = tmp_path / "new" / f"figure{suffix}"
    save_figure(contact_sheet([read(TUMOUR)[0]], ["slice"]), path, dpi=50)
    content = path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for word in (b"Software", b"Creator", b"Producer", b"CreationDate", b"dc:date"):
        assert word not in content
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.info.keys() <= {"dpi"}


def test_unknown_suffix_is_refused_with_those_that_work(tmp_path):
    with pytest.raises(DataError, match=r"\.png, \.pdf, \.svg"):
        save_figure(contact_sheet([np.eye(4)], ["x"]), tmp_path / "figure.docx")


def test_figures_leave_matplotlibs_global_state_alone():
    script = "import sys, pleura.figures.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_previews_and_overlays_need_no_matplotlib_and_figures_name_the_extra():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import pleura.segmentation.segmenter, pleura.figures.overlay, pleura.figures.cases\n"
        "import pleura.report.comparison, pleura.measurement.measure, pleura.evaluation.compare\n"
        "from pleura.errors import PleuraError\n"
        "try: import pleura.figures.plots\n"
        "except PleuraError as error: sys.exit('pleura[plot]' not in error.hint)\n"
        "sys.exit(2)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
