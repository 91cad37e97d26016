"""Models for greyscale images: from training on PNG files to masks, without HU."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from commands import pleura as run_command

import pleura
from pleura.corrections.fine_tuning import FineTuningOptions, fine_tune_on_corrections
from pleura.dataset.check_report import describe_model_input
from pleura.dataset.preprocessing import Preprocessing, preprocess_image
from pleura.engine import model_file
from pleura.engine.engine import Engine
from pleura.errors import ModelError, RunError, ScanError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.formats.images import from_array
from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.grey import to_grey
from pleura.network.tiling import SegmentationNetwork
from pleura.training.data import load_data
from pleura.training.export import ExportOptions, export
from pleura.training.graph_input import graph_input
from pleura.training.inference_module import InferenceModule
from pleura.training.predictor import Predictor
from pleura.training.run import Run

WINDOW = -1024, 600


def with_units(run, **units):
    return Run(run.folder, run.recipe, {**run.record, "units": units})


def with_preprocessing(run, **changes):
    preprocessing = run.recipe.preprocessing.model_copy(update=changes)
    recipe = run.recipe.model_copy(update={"preprocessing": preprocessing})
    return Run(run.folder, recipe, run.record)


@pytest.fixture(scope="module")
def segmenter(grey_model):
    with pleura.Segmenter(grey_model, precision="fp32") as segmenter:
        yield segmenter


def test_a_png_gets_the_mask_that_the_run_predicts(grey_run, grey_images, segmenter):
    assert segmenter.engine.metadata.input == "grey"
    predictor = Predictor(grey_run)
    differing = lung = 0
    for path in sorted(grey_images.iterdir())[::6]:
        found = segmenter.segment(path, keep_probability=True, warn=False)
        expected = predictor.probability(read_image_file(path))
        assert np.abs(found.probability[0] / 255 - expected).max() < 0.02
        predicted = expected >= grey_run.threshold
        differing += (predicted != (found.probability[0] >= segmenter.threshold_level)).sum()
        lung += predicted.sum()
    assert differing < 0.005 * lung
    assert lung > 20_000


def test_the_masks_are_those_of_lungs(grey_images, sample, segmenter):
    found = segmenter(grey_images / "LCTSC-201_058.png", warn=False)
    reference = read_image_file(sample.masks / "LCTSC-201_058.tif") > 0
    mask = found.labels[0] > 0
    assert min((found.labels == side).sum() for side in (1, 2)) > 1000
    assert (mask & reference).sum() / (mask | reference).sum() > 0.8
    (units,) = (d for d in found.decisions if d.topic == "units")
    assert units.reason.startswith("the model takes the stored grey values; ")
    assert "units" not in {flag.name for flag in found.flags}


def test_an_inverted_image_gets_the_same_mask(grey_images, segmenter):
    grey = read_image_file(grey_images / "LCTSC-201_058.png")
    same, inverted = (segmenter(from_array(x), warn=False) for x in (grey, 255 - grey))
    assert (same.labels > 0).sum() > 1000
    np.testing.assert_array_equal(inverted.labels, same.labels)
    assert "units" in {flag.name for flag in inverted.flags}


def test_a_stack_in_another_orientation_gets_the_same_masks(grey_images, segmenter):
    names = [f"LCTSC-201_{n:03d}.png" for n in (41, 49, 54, 58, 62, 70, 74, 78, 82)]
    stack = np.stack([read_image_file(grey_images / name) for name in names])
    upright = segmenter(from_array(stack, (3, 1, 1), orientation="SPL"), warn=False).labels
    assert (upright > 0).sum() > 10_000
    for orientation, reorder in (
        ("IPL", lambda x: x[::-1]),
        ("PSL", lambda x: x.transpose(1, 0, 2)),
    ):
        spacing = (3, 1, 1) if orientation == "IPL" else (1, 3, 1)
        scan = from_array(reorder(stack), spacing, orientation=orientation)
        np.testing.assert_array_equal(segmenter(scan, warn=False).labels, reorder(upright))


def test_a_scan_in_hu_is_refused(sample, segmenter):
    path = sample.folder / "volume" / "ct.nii.gz"
    with pytest.raises(ScanError, match="in HU, but the model grey takes grey values") as raised:
        segmenter(path)
    assert raised.value.where == str(path)
    assert "PNG" in raised.value.hint


def test_runtimes_agree(grey_model, grey_images):
    grey = read_image_file(grey_images / "LCTSC-201_058.png")[None].astype(np.int16)
    openvino, onnxruntime = (
        Engine(grey_model, 1, "fp32", runtime).probability(grey).astype(int)
        for runtime in ("openvino", "onnxruntime")
    )
    assert openvino.max() > 200
    assert np.abs(openvino - onnxruntime).max() <= 1


def test_a_reader_of_format_1_refuses_the_file(grey_model, model, monkeypatch):
    assert model_file.read_metadata(model).format == 1
    assert model_file.read_metadata(grey_model).format == 2
    monkeypatch.setattr(model_file, "OVERLAP_FORMAT", 1)
    model_file.read_metadata(model)
    with pytest.raises(ModelError, match="format 2; this version of pleura reads up to 1"):
        model_file.read_metadata(grey_model)


@pytest.mark.parametrize("scaling", ["max", "minmax", "window"])
@pytest.mark.parametrize("limits", [(0, 255), (255, 0), (0, 1), (-1, 1), (0, 65535)])
def test_the_graph_computes_the_values_of_the_training_images(grey_run, scaling, limits):
    """Of 8 bits, inverted, from 0 to 1, from -1 to 1, of 16 bits."""

    class Contrast(SegmentationNetwork):
        margin, multiple = 0, 1

        def forward(self, x):
            return 8 * x - 3

    low, high = limits
    rng = np.random.default_rng(0)
    grey = rng.integers(5, 200, (64, 64), np.int16)
    stored = (grey / 255 * (high - low) + low).astype(np.float32)
    graph = graph_input(with_units(grey_run, kind="grey", grey_limits=list(limits)))
    np.testing.assert_array_equal(graph.values(stored), grey)
    preprocessing = Preprocessing(
        scaling=scaling, window=tuple(sorted(limits)), size=(64, 64), mask_interpolation="area"
    )
    network = Contrast()
    with torch.inference_mode():
        module = InferenceModule(network, preprocessing, graph.mapping)
        found = module(torch.from_numpy(grey[None]))[0].numpy()
        prepared = preprocess_image(stored, preprocessing)
        expected = torch.sigmoid(network(torch.from_numpy(prepared))).numpy()
    assert np.ptp(expected) > 0.5
    assert np.abs(found / 255 - expected).max() < 0.004


@pytest.mark.parametrize(
    ("change", "limits"),
    [
        (lambda grey: grey, (0, 255)),
        (lambda grey: 255 - grey, (255, 0)),
        (lambda grey: (grey / 255).astype(np.float32), (0, 1)),
    ],
)
def test_a_run_records_black_and_white(grey_run, grey_images, sample, tmp_path, change, limits):
    for path in grey_images.iterdir():
        write_image_file(tmp_path / "a" / f"{path.stem}.tif", change(read_image_file(path)))
    units = load_data(tmp_path / "a", sample.masks, grey_run.recipe).units
    assert units["kind"] == "grey"
    assert units["grey_limits"] == limits


def test_a_run_in_hu_becomes_a_model_for_its_window(small_run, sample, tmp_path):
    run = with_preprocessing(small_run, scaling="window", window=WINDOW)
    metadata = export(run, tmp_path / "grey.onnx", ExportOptions(input="grey"))
    export(run, tmp_path / "hu.onnx")
    assert (metadata.format, metadata.input, metadata.window) == (2, "grey", WINDOW)
    path = sample.folder / "volume" / "ct.nii.gz"
    expected = pleura.Segmenter(tmp_path / "hu.onnx", precision="fp32")(path, warn=False)
    with pleura.Segmenter(tmp_path / "grey.onnx", precision="fp32") as segmenter:
        assert segmenter.engine.metadata == metadata
        found = segmenter(path, warn=False)
        rendered = segmenter(from_array(to_grey(found.scan.hu(), *WINDOW)), warn=False)
    differing = ((expected.labels > 0) != (found.labels > 0)).sum()
    assert 0 < differing < 0.01 * (expected.labels > 0).sum()
    assert "HU from -1024 to 600" in str([*map(str, found.decisions)])
    assert ((rendered.labels > 0) != (found.labels > 0)).sum() < 0.01 * (found.labels > 0).sum()


def test_the_window_of_a_run_in_scaled_hu_is_in_hu(small_run):
    run = with_preprocessing(
        with_units(small_run, kind="scaled HU", scale=0.5, offset=100.0, formula="HU times 0.5"),
        scaling="window",
        window=(-400, 300),
    )
    graph = graph_input(run, "grey")
    assert graph.window == (-1000, 400)
    np.testing.assert_array_equal(graph.values(np.array([-500, -400, 300, 900])), [0, 0, 255, 255])


def test_an_8_bit_model_for_grey_images(grey_run, grey_images, grey_model, tmp_path):
    export(grey_run, tmp_path / "small.onnx", ExportOptions(grey_images))
    grey = read_image_file(grey_images / "LCTSC-201_058.png")[None].astype(np.int16)
    full, small = (Engine(path, 1) for path in (grey_model, tmp_path / "small.onnx"))
    lung = full.probability(grey) >= full.threshold_level
    assert (lung != (small.probability(grey) >= small.threshold_level)).sum() < 0.05 * lung.sum()


@pytest.mark.parametrize(
    ("units", "requested", "says"),
    [
        ({"kind": "grey", "grey_limits": [0, 255]}, "HU", "cannot be computed from HU"),
        ({"kind": "grey"}, None, "does not record the range"),
        ({"kind": "mixed"}, None, "trained on mixed values"),
        ({"kind": "wrapped HU"}, "grey", "trained on wrapped HU values"),
        ({"kind": "HU", "scale": 1, "offset": 0, "formula": "HU"}, "grey", "scaling 'minmax'"),
    ],
)
def test_runs_without_such_a_model(grey_run, tmp_path, units, requested, says):
    with pytest.raises(RunError, match=says):
        export(with_units(grey_run, **units), tmp_path / "a.onnx", ExportOptions(input=requested))
    assert not list(tmp_path.iterdir())


def test_invalid_metadata_is_refused(grey_model):
    metadata = model_file.read_metadata(grey_model)
    for change in ({"input": "HU"}, {"format": 1}, {"window": (5.0, 5.0)}, {"window": (0.0, "a")}):
        with pytest.raises(ModelError, match="invalid model metadata"):
            dataclasses.replace(metadata, **change)
    hu = dataclasses.replace(metadata, input="HU", format=1)
    assert "input" not in hu.to_dict()
    with pytest.raises(ModelError, match="window"):
        dataclasses.replace(hu, window=(0.0, 1.0))


def test_a_cohort_of_images_and_a_scan_in_hu(grey_images, grey_model, sample, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(grey_images / "LCTSC-201_058.png", tmp_path / "in")
    shutil.copy(sample.folder / "volume" / "ct.nii.gz", tmp_path / "in")
    options = pleura.SegmentationOptions(model=grey_model)
    rows = pleura.segment_cohort(tmp_path / "in", tmp_path / "out", options)
    assert {row.status for row in rows} == {"done", "failed"}
    (failed,) = (row for row in rows if row.status == "failed")
    assert "takes grey values of an unknown window" in str(failed.error)
    text = pleura.methods_paragraph(tmp_path / "out")
    assert "1 was segmented" in text or "1 were segmented" in text
    assert "converted to HU" not in text


def test_check_and_training_state_the_input_of_the_model(grey_run, grey_images, sample):
    text = "8-bit grey values: the exported model will segment 8-bit images, not scans in HU"
    assert grey_run.record["warnings"][-1] == text
    report = pleura.check(grey_images, sample.masks, pleura.CheckOptions(folds=3))
    assert report.units.grey_limits == (0, 255)
    assert text in report._repr_html_()
    assert "no mask was compared" in report.findings[-1].message
    assert describe_model_input(UnitsEstimate("HU", "")).endswith("segment scans in HU")
    assert "cannot be exported" in describe_model_input(UnitsEstimate("mixed", ""))


def test_masks_are_compared_in_hu_only(grey_model, sample):
    with pytest.raises(ModelError, match="masks are compared in HU"):
        pleura.check(sample.images, sample.masks, pleura.CheckOptions(model=grey_model))


@pytest.mark.parametrize("fixture", ["grey_model", "grey_run"])
def test_corrections_need_a_model_for_hu(fixture, request, tmp_path):
    model = request.getfixturevalue(fixture)
    model = getattr(model, "folder", model)
    options = FineTuningOptions(model=model)
    with pytest.raises(RunError, match="corrected scans are in HU"):
        fine_tune_on_corrections(tmp_path, tmp_path / "run", options)


def test_export_prints_the_input(grey_run, tmp_path):
    result = run_command("export", grey_run.folder, "-o", tmp_path / "a.onnx", "--input", "GREY")
    assert "input grey" in result.stdout
