"""The models that ship, on the volume that ships: they learned from that patient, at full size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pleura
from pleura.engine.engine import DEFAULT_MODEL, Engine, model_path
from pleura.engine.model_file import SHIPPED_MODELS, read_metadata
from pleura.errors import PleuraError
from pleura.formats.image_files import read_image_file
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


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@pytest.mark.parametrize("size", [(300, 300), (384, 384), (401, 437), (480, 640)])
def test_bfloat16_gives_the_same_mask_at_any_size(sample, name, size):
    image = Image.fromarray(read_image_file(sample.images / "LCTSC-201_058.tif").astype(np.float32))
    hu = np.rint(image.resize(size[::-1], Image.Resampling.BILINEAR)).astype(np.int16)[None]
    masks = [Engine(model_path(name), 1, p).probability(hu) > 127 for p in ("fp32", "bf16")]
    assert masks[0].mean() > 0.05
    assert (masks[0] != masks[1]).sum() < 0.005 * masks[0].sum()


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_output_of_the_graph_is_clipped_before_conversion_to_8_bits(name):
    onnx = pytest.importorskip("onnx")
    nodes = onnx.load(model_path(name)).graph.node
    by_output = {output: node for node in nodes for output in node.output}
    cast = by_output["probability"]
    assert (cast.op_type, by_output[cast.input[0]].op_type) == ("Cast", "Clip")


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
