import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import pleura
from pleura.dataset.preprocessing import Preprocessing, preprocess_image, resample_probability
from pleura.engine.engine import DEFAULT_MODEL, Engine
from pleura.errors import DataError, RunError
from pleura.formats.image_files import read_image_file
from pleura.intensity.mapping import IntensityMapping
from pleura.network.build import build_network
from pleura.network.tiling import SegmentationNetwork
from pleura.training.export import ExportOptions, export
from pleura.training.inference_module import InferenceModule, area_matrix, lanczos_matrix
from pleura.training.initial_weights import load_initial_weights
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import Run, open_run
from pleura.training.train import train

SAMPLE = Path(__file__).parents[1] / "data" / "sample"

SIZES = [(512, 128), (512, 192), (500, 128), (300, 192), (90, 128), (128, 128)]


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_area_matrix_averages_as_opencv_does(size, to):
    row = np.random.default_rng(0).random((1, size), np.float32)
    interpolation = cv2.INTER_AREA if to <= size else cv2.INTER_LINEAR
    expected = cv2.resize(row, (to, 1), interpolation=interpolation)[0]
    found = area_matrix(to, size) @ torch.from_numpy(row[0])
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_lanczos_matrix_weighs_as_opencv_does(size, to):
    row = np.random.default_rng(0).random((1, size), np.float32)
    expected = cv2.resize(row, (to, 1), interpolation=cv2.INTER_LANCZOS4)[0]
    found = lanczos_matrix(to, size) @ torch.from_numpy(row[0])
    np.testing.assert_allclose(found, expected, atol=2e-3)


class Contrast(SegmentationNetwork):
    """A network that shows whatever it is given."""

    margin, multiple = 0, 1

    def forward(self, x):
        return 8 * x - 3


@pytest.mark.parametrize("scaling", ["window", "max", "minmax"])
@pytest.mark.parametrize("interpolation", ["area", "lanczos"])
@pytest.mark.parametrize("masks", ["area", "nearest"])
def test_graph_is_the_way_of_the_predictor(scaling, interpolation, masks):
    preprocessing = Preprocessing(
        scaling=scaling,
        window=(-1000, 400),
        size=(64, 96),
        image_interpolation=interpolation,
        mask_interpolation=masks,
    )
    network = Contrast()
    rng = np.random.default_rng(1)
    hu = cv2.GaussianBlur(rng.normal(-400, 8000, (160, 200)), (0, 0), 4).astype(np.int16)
    with torch.inference_mode():
        found = InferenceModule(network, preprocessing)(torch.from_numpy(hu[None]))[0].numpy()
        prepared = torch.from_numpy(preprocess_image(hu, preprocessing)[None, None])
        logits = network(prepared)[0, 0]
    expected = resample_probability(torch.sigmoid(logits).numpy(), hu.shape, preprocessing)
    assert np.ptp(expected) > 0.05
    assert np.abs(found / 255 - expected).max() < 0.01


def test_graph_of_a_network_for_other_values_takes_hu():
    preprocessing = Preprocessing(scaling="window", window=(-800, 500), size=(32, 32))
    hu = np.random.default_rng(2).integers(-1000, 400, (1, 64, 64), np.int16) // 10 * 10
    stored = torch.from_numpy((hu * 0.8 + 50).astype(np.int16))
    with torch.inference_mode():
        plain = InferenceModule(Contrast(), preprocessing)(stored)
        module = InferenceModule(Contrast(), preprocessing, IntensityMapping(0.8, 50))
        mapped = module(torch.from_numpy(hu))
    assert torch.equal(plain, mapped)
    assert plain.float().std() > 10


@pytest.mark.parametrize(
    ("units", "line"),
    [
        (
            {"kind": "scaled HU", "scale": 0.8165, "offset": 0.0, "formula": "HU times 0.8165"},
            0.8165,
        ),
        ({"kind": "HU", "scale": 1.0, "offset": 0.0, "formula": "HU"}, 1),
        ({"kind": "unknown", "scale": None, "offset": None, "formula": "unknown"}, 1),
    ],
)
def test_exported_model_takes_hu(small_run, model, tmp_path, units, line):
    changed = Run(small_run.folder, small_run.recipe, {**small_run.record, "units": units})
    export(changed, tmp_path / "a.onnx")
    hu = read_image_file(sorted((SAMPLE / "images").iterdir())[10])[None].astype(np.int16)
    stored = np.rint(hu * line).astype(np.int16)
    expected = Engine(model, precision="fp32").probability(stored)
    found = Engine(tmp_path / "a.onnx", precision="fp32").probability(hu)
    off = np.abs(found.astype(int) - expected)  # of the rounded values, up to half a unit
    assert off.max() <= 8
    assert off.mean() < 0.3
    assert found.max() > 200


@pytest.fixture(scope="module")
def eight_bit(small_run, sample, made_once):
    return made_once(
        "int8.onnx", lambda path: export(small_run, path, ExportOptions(sample.images))
    )


def test_mirror_averages_a_slice_and_its_mirror_image():
    class Ramp(Contrast):
        """Adds the column, so that the prediction depends on the side."""

        def forward(self, x):
            return super().forward(x) + torch.linspace(-2, 2, x.shape[-1])

    preprocessing = Preprocessing(
        scaling="window", window=(0, 100), size=(16, 16), image_interpolation="area"
    )
    hu = torch.from_numpy(np.random.default_rng(3).integers(0, 100, (2, 16, 16), np.int16))
    plain = InferenceModule(Ramp(), preprocessing)
    expected = (plain(hu).float() + plain(hu.flip(2)).flip(2).float()) / 2
    found = InferenceModule(Ramp(), preprocessing, mirror=True)(hu).float()
    assert (found - expected).abs().max() <= 1
    assert (found - plain(hu).float()).abs().max() > 20


def test_probability_above_1_by_rounding_does_not_wrap_around(monkeypatch):
    """Resampling weights that are rounded to bfloat16 may sum to more than 1."""

    monkeypatch.setattr(
        "pleura.training.inference_module.area_matrix", lambda *args: 1.004 * area_matrix(*args)
    )
    preprocessing = Preprocessing(scaling="window", size=(8, 8), image_interpolation="lanczos")
    hu = torch.full((1, 12, 12), 30_000, dtype=torch.int16)
    found = InferenceModule(Contrast(), preprocessing)(hu)
    assert (found == 255).all()


def test_an_8_bit_model_finds_the_same_lungs_from_a_smaller_file(model, eight_bit, sample):
    engines = [Engine(path, 1) for path in (model, eight_bit)]
    assert eight_bit.stat().st_size < model.stat().st_size
    differ = total = 0
    for path in sorted(sample.images.iterdir()):
        hu = read_image_file(path)[None].astype(np.int16)
        full, small = (engine.probability(hu) >= engine.threshold_level for engine in engines)
        differ, total = differ + int((full != small).sum()), total + int(full.sum())
    assert 0 < differ < 0.02 * total


def test_an_8_bit_model_can_be_gone_on_from(small_run, eight_bit):
    networks = [build_network(small_run.recipe.network).eval() for _ in range(2)]
    load_initial_weights(networks[0], small_run.folder)
    load_initial_weights(networks[1], eight_bit)
    x = torch.from_numpy(np.random.default_rng(0).random((2, 1, 64, 64), np.float32))
    with torch.inference_mode():
        full, small = (torch.sigmoid(network(x)) for network in networks)
    assert 0 < (full - small).abs().mean() < 0.01
    assert full.std() > 0.05


def test_a_model_file_names_no_path_of_the_machine_that_wrote_it(model, eight_bit):
    for path in (model, eight_bit, DEFAULT_MODEL):
        content = path.read_bytes()
        assert b".py" not in content
        assert str(Path(pleura.__file__).parent).encode() not in content


def test_separable_convolutions_come_back_from_their_file(sample, tiny, tmp_path):
    network = {"architecture": "default", "separable": True, "full_resolution_convs": 1}
    values = tiny.model_dump(mode="json")
    values["network"] |= network
    values["training"] |= {"epochs": 15}
    recipe = build_recipe(values, "test")
    run = train(sample.images, sample.masks, tmp_path / "run", recipe)
    export(run, tmp_path / "full.onnx")
    export(run, tmp_path / "small.onnx", ExportOptions(sample.images))
    networks = [build_network(run.recipe.network).eval() for _ in range(3)]
    groups = {m.groups for m in networks[0].modules() if isinstance(m, torch.nn.Conv2d)}
    assert groups == {1, 4, 8, 16}
    for network, start in zip(networks, ("run", "full.onnx", "small.onnx"), strict=True):
        load_initial_weights(network, tmp_path / start)
    x = torch.from_numpy(np.random.default_rng(0).random((2, 1, 32, 32), np.float32))
    with torch.inference_mode():
        exact, full, small = (torch.sigmoid(network(x)) for network in networks)
    assert exact.std() > 0.05
    assert (exact - full).abs().max() < 0.01
    assert (exact - small).abs().mean() < 0.02


@pytest.fixture(scope="module")
def other_run(sample, small_run, made_once):
    values = small_run.recipe.model_dump(mode="json")
    values["training"] |= {"epochs": 2, "seed": 5}
    values["split"] = {"method": "file", "file": str(sample.split)}
    values["network"]["channels"] = [4, 8, 12]
    recipe = build_recipe(values, "test")
    return open_run(
        made_once("other", lambda folder: train(sample.images, sample.masks, folder, recipe))
    )


@pytest.fixture(scope="module")
def both(small_run, other_run, made_once):
    """A model file of two runs."""
    return made_once(
        "both.onnx", lambda path: export([small_run, other_run], path, ExportOptions(name="both"))
    )


def test_several_runs_give_the_mean_of_their_probabilities(
    model, other_run, both, tmp_path, sample
):
    written = export(other_run.folder, tmp_path / "other.onnx")
    one, two, both = (
        Engine(path, precision="fp32") for path in (model, tmp_path / "other.onnx", both)
    )
    assert written == two.metadata
    assert both.metadata.name == "both"
    weights = {engine.metadata.weights_sha256 for engine in (one, two, both)}
    assert len(weights) == 3
    assert both.metadata.data_fingerprint == one.metadata.data_fingerprint
    hu = read_image_file(sorted(sample.images.iterdir())[10])[None].astype(np.int16)
    said = [engine.probability(hu).astype(int) for engine in (one, two, both)]
    assert np.abs(said[0] - said[1]).mean() > 5
    assert np.abs((said[0] + said[1]) / 2 - said[2]).max() <= 1


def test_of_several_runs_the_first_is_gone_on_from(small_run, other_run, both, tmp_path, sample):
    small = tmp_path / "small.onnx"
    export([small_run, other_run], small, ExportOptions(sample.images))
    for path in (both, small):
        networks = [build_network(small_run.recipe.network).eval() for _ in range(2)]
        load_initial_weights(networks[0], small_run.folder)
        load_initial_weights(networks[1], path)
        x = torch.from_numpy(np.random.default_rng(0).random((2, 1, 64, 64), np.float32))
        with torch.inference_mode():
            first, found = (torch.sigmoid(network(x)) for network in networks)
        assert (first - found).abs().mean() < 0.01
        assert first.std() > 0.05


def test_runs_that_see_images_differently_are_not_put_together(small_run, tmp_path):
    changed = small_run.recipe.model_copy(
        update={
            "preprocessing": small_run.recipe.preprocessing.model_copy(update={"size": (64, 32)})
        }
    )
    other = Run(small_run.folder, changed, small_run.record)
    with pytest.raises(RunError, match="preprocessing or the intensity units differ"):
        export([small_run, other], tmp_path / "a.onnx")
    units = {"kind": "grey", "grey_limits": [0, 255]}
    grey = Run(small_run.folder, small_run.recipe, {**small_run.record, "units": units})
    with pytest.raises(RunError, match="preprocessing or the intensity units differ"):
        export([small_run, grey], tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network_are_not_exported(small_run, tmp_path):
    network = small_run.recipe.network.model_copy(update={"channels": (4, 8, 12)})
    recipe = small_run.recipe.model_copy(update={"network": network})
    with pytest.raises(RunError, match="weights do not fit the network of the run"):
        export(Run(small_run.folder, recipe, small_run.record), tmp_path / "a.onnx")


def test_8_bits_need_the_images_of_the_training(small_run, tmp_path, sample):
    (tmp_path / "images").mkdir()
    for path in sorted(sample.images.iterdir())[:2]:
        shutil.copy(path, tmp_path / "images" / path.name)
    with pytest.raises(DataError, match="lists 58 unknown image"):
        export(small_run, tmp_path / "a.onnx", ExportOptions(tmp_path / "images"))
    assert not (tmp_path / "a.onnx").exists()
