"""Greyscale images and the shipped models."""

import numpy as np
import pytest

import pleura
from pleura.engine.engine import Engine
from pleura.evaluation.metrics import dice
from pleura.formats.image_files import read_image_file


@pytest.fixture(scope="module")
def segmenter():
    with pleura.Segmenter(threads=1) as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def hu(sample):
    return read_image_file(sample.images / "LCTSC-201_058.tif").astype(np.float32)


@pytest.fixture(scope="module")
def reference(sample):
    return read_image_file(sample.masks / "LCTSC-201_058.tif") > 0


def windowed(hu, level, width):
    return np.rint(np.clip((hu - level) / width + 0.5, 0, 1) * 255).astype(np.uint8)


WINDOWS = [(-600, 1500), (40, 400), (0, 1000), (500, 2000), (1024, 4096), (-1000, 4000)]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_lungs_are_found_in_any_window(segmenter, hu, reference, window, inverted):
    grey = windowed(hu, *window)
    found = segmenter.segment(pleura.from_array(255 - grey if inverted else grey), warn=False)
    assert found.model.endswith("greyscale")
    assert dice(reference, found.labels[0] > 0) > 0.9


def test_values_from_0_to_1_get_the_mask_of_8_bits(segmenter, hu):
    grey = windowed(hu, -600, 1500)
    masks = [
        segmenter.segment(pleura.from_array(image), warn=False).labels
        for image in (grey, grey.astype(np.float32) / 255)
    ]
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)


def test_all_names_of_shipped_models_share_the_greyscale_model(hu):
    grey = pleura.from_array(windowed(hu, -600, 1500))
    for model in ("default", "accurate"):
        with pleura.Segmenter(model, threads=1) as segmenter:
            engine = segmenter.engine_for(grey)
            assert engine.metadata.name == "pleura-5-greyscale"
            assert segmenter.engine_for(grey) is engine
            assert segmenter.engine_for(pleura.from_array(hu, units="hu")) is segmenter.engine


def test_closing_releases_every_model(hu, monkeypatch):
    released = []
    monkeypatch.setattr(Engine, "release", lambda engine: released.append(engine.metadata.name))
    with pleura.Segmenter(threads=1, dense="include") as segmenter:
        segmenter.engine_for(pleura.from_array(windowed(hu, -600, 1500)))
    assert released == ["pleura-5", "pleura-5-greyscale", "pleura-5-dense"]


@pytest.mark.parametrize(
    ("window", "model"), [((-600, 1500), "pleura-5"), ((40, 400), "pleura-5-greyscale")]
)
def test_a_stated_window_with_lung_is_segmented_as_hu(segmenter, hu, reference, window, model):
    scan = pleura.from_array(windowed(hu, *window), window=window)
    found = segmenter.segment(scan, warn=False)
    assert found.model == model
    assert [flag.name for flag in found.flags] == ["orientation"]
    assert dice(reference, found.labels[0] > 0) > 0.9


def test_a_report_states_the_model_that_was_used(segmenter, hu, tmp_path):
    from PIL import Image

    Image.fromarray(windowed(hu, -600, 1500)).save(tmp_path / "slice.png")
    report = pleura.segment_file(tmp_path / "slice.png", tmp_path / "mask.png")
    assert report.versions["model"].startswith("pleura-5-greyscale")
    decision = next(d for d in report.decisions if d["topic"] == "units")
    assert "grey values" in decision["reason"]
    assert not decision["warning"]
