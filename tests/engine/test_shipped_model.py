"""The models that ship, on the volume that ships: they learned from that patient, at full size."""

from pathlib import Path

import numpy as np
import pytest

import pleura
from pleura.engine.engine import DEFAULT_MODEL, model_path
from pleura.engine.model_file import SHIPPED_MODELS, read_metadata
from pleura.errors import PleuraError
from pleura.formats.read import read


@pytest.fixture(scope="module")
def volume(sample):
    return read(sample.folder / "volume" / "ct.nii.gz")


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_it_says_what_it_is(name):
    record = read_metadata(model_path(name))
    assert record.name.startswith("pleura-")
    assert record.name.endswith("accurate") == (name == "accurate")
    assert record.licence
    assert "LCTSC" in record.data
    assert model_path(name).stat().st_size < 8 << 20


def test_a_name_is_a_model_that_comes_with_pleura_and_all_else_a_file(tmp_path, monkeypatch):
    assert model_path(None) == model_path("default") == model_path(Path("default")) == DEFAULT_MODEL
    monkeypatch.chdir(tmp_path)
    Path("accurate").mkdir()
    assert model_path("accurate").parent == DEFAULT_MODEL.parent
    assert model_path("./accurate.onnx") == Path("accurate.onnx")


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_it_finds_each_lung_of_the_shipped_volume(volume, sample, name):
    reference = read(sample.folder / "volume" / "lungs.nii.gz", units="hu").hu()
    labels = pleura.segment(volume, name).labels
    for side in (1, 2):
        both = ((labels == side) & (reference == side)).sum()
        assert 2 * both / ((labels == side).sum() + (reference == side).sum()) > 0.93


def test_nothing_is_flagged_there(volume):
    with pleura.Segmenter() as segmenter:
        result = segmenter.segment(volume)
    assert result.flags == ()
    assert {"read", "inference", "postprocessing"} <= result.seconds.keys()


def test_a_prone_and_a_turned_scan_give_the_same_lungs(volume):
    """Upside down as an image, with an affine of that orientation, and without."""
    expected = pleura.segment(volume).labels
    canonical = volume.geometry.to_canonical().apply(volume.hu())
    upside = pleura.from_array(np.ascontiguousarray(canonical[:, ::-1]), units="hu")
    found = pleura.segment(upside).labels > 0
    again = volume.geometry.to_canonical().apply(expected)[:, ::-1] > 0
    assert 2 * (found & again).sum() / (found.sum() + again.sum()) > 0.93


def test_an_array_is_a_scan_too(volume):
    order = volume.geometry.to_canonical()
    array = order.apply(volume.hu())
    labels = pleura.segment(np.ascontiguousarray(array)).labels
    expected = order.apply(pleura.segment(volume).labels)
    assert (
        2 * ((labels > 0) & (expected > 0)).sum() / ((labels > 0).sum() + (expected > 0).sum())
        > 0.95
    )
    with pytest.raises(PleuraError, match="a list is not a scan"):
        pleura.segment([1, 2])
