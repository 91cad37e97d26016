"""Cascades: training, evaluation and export of networks for the inside of the lungs."""

import json
import shutil

import numpy as np
import pytest
from commands import pleura as run_pleura
from PIL import Image

import pleura
from pleura.dataset.pairs import Pair
from pleura.engine.engine import model_path
from pleura.engine.model_file import read_lung_model, read_metadata
from pleura.errors import DataError, RecipeError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.segmentation.lung_region import find_lungs
from pleura.training.check import CheckOptions, check
from pleura.training.evaluation import evaluate
from pleura.training.export import ExportOptions, export
from pleura.training.lungs import LUNGS_FILE, lungs_of_run, open_lungs
from pleura.training.predict import predict
from pleura.training.predictor import Predictor
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import open_run
from pleura.training.train import train

EMPTY = {"LCTSC-101_013.tif", "LCTSC-201_015.tif"}
"""Training images without lung."""


def draw_abdomen(seed):
    """Return an ellipse of soft tissue in air, in HU."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    body = (y / 0.6) ** 2 + (x / 0.9) ** 2 < 1
    fat = (y / 0.5) ** 2 + (x / 0.8) ** 2 > 1
    noise = np.random.default_rng(seed).normal(0, 15, body.shape)
    return (np.where(body, np.where(fat, -100, 50), -1000) + noise).astype(np.int16)


@pytest.fixture(scope="module")
def folders(sample, tmp_path_factory):
    """Return slices of the sample with the label 7 on dense tissue of the lungs."""
    root = tmp_path_factory.mktemp("cascade")
    images, masks = root / "images", root / "masks"
    for path in sorted((sample.folder / "images").iterdir())[::3]:
        hu = read_image_file(path)
        lung = read_image_file(sample.folder / "masks" / path.name) > 0
        write_image_file(images / path.name, hu)
        write_image_file(masks / path.name, (7 * (lung & (hu > -750))).astype(np.uint8))
    return images, masks


@pytest.fixture(scope="module")
def recipe(small_settings):
    overrides = [
        "data.labels={7: dense}",
        "data.lungs={margin: 4, label: 1}",
        "preprocessing.size=[48, 48]",
        "network.channels=[8, 16]",
        "training.epochs=3",
        "training.threads=1",
        "training.precision=fp32",
        "split.method=sorted",
        "evaluation.tune_threshold=true",
    ]
    return load_recipe("quick", overrides)


@pytest.fixture(scope="module")
def run(folders, recipe, tmp_path_factory):
    with pytest.warns(pleura.errors.DataWarning, match=r"no lungs are found: LCTSC-101_013\.tif, "):
        return train(*folders, tmp_path_factory.mktemp("runs") / "cascade", recipe)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "cascade.onnx"
    export(run, path)
    return path


def test_training_crops_images_to_the_lungs(run, folders):
    lungs = lungs_of_run(run)
    paths = sorted(folders[0].iterdir())
    for path in paths:
        image = read_image_file(path)
        found = find_lungs(lungs.engine, pleura.read(path))[0]
        region = lungs.region(Pair(path.name, path, path), image.shape)
        assert (region is None) == (not found.any())
        if region is None:
            continue
        rows, columns = region.box
        assert not found[:, : columns.start].any()
        assert not found[rows.stop :].any()
        cut = region.cut(image)
        assert (cut[~region.inside] == run.recipe.preprocessing.window[0]).all()
        assert (cut[region.inside] == image[region.box][region.inside]).all()
        assert not region.paste(np.ones(cut.shape), image.shape)[found == 0].all()
        assert region.paste(np.ones(cut.shape), image.shape)[found].all()


def test_images_without_lung_are_not_trained_on(run, folders):
    split = run.split([path.name for path in folders[0].iterdir()])
    assert split.training
    assert not EMPTY & set(split.training)


def test_run_folder_contains_the_model_of_the_lungs(run):
    assert (run.folder / LUNGS_FILE).read_bytes() == model_path("default").read_bytes()
    assert run.record["lung_model"]["name"] == read_metadata(model_path("default")).name


def test_exported_model_segments_as_the_run_predicts(run, model, folders, tmp_path):
    predict(run, folders[0], tmp_path)
    differing = pixels = 0
    with pleura.Segmenter(model, precision="fp32") as segmenter:
        for path in sorted(folders[0].iterdir()):
            labels = segmenter.segment(path, warn=False).labels[0]
            assert set(np.unique(labels)) <= {0, 1, 7}
            predicted = read_image_file(tmp_path / path.name)
            differing += int(((labels == 7) != (predicted == 7)).sum())
            pixels += int((predicted == 7).sum())
    assert pixels > 100
    assert differing <= 0.02 * pixels


def test_onnx_runtime_agrees(model, sample):
    pytest.importorskip("onnxruntime")
    path = sample.folder / "volume" / "ct.nii.gz"
    first = pleura.Segmenter(model, precision="fp32")(path, warn=False)
    second = pleura.Segmenter(model, runtime="onnxruntime")(path, warn=False)
    assert (first.labels != second.labels).mean() < 1e-4
    assert [label.name for label in first.classes] == ["dense", "lung"]


def test_lungs_of_a_scan_are_those_of_the_shipped_model(model, sample):
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz")
    inside = pleura.Segmenter(model)(scan, warn=False).labels > 0
    lungs = pleura.Segmenter(sides=False)(scan, warn=False).labels > 0
    assert (inside & lungs).sum() == lungs.sum()
    assert inside.sum() < 1.5 * lungs.sum()


def test_probability_is_zero_outside_the_lungs(model, sample):
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz")
    result = pleura.Segmenter(model).segment(scan, keep_probability=True, warn=False)
    assert result.probability.shape == (65, 1, 128, 128)
    assert not result.probability[:, 0, :4].any()
    assert result.probability.any()


def test_progress_counts_both_stages(model, sample):
    calls = []
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz")
    pleura.Segmenter(model).segment(scan, lambda *call: calls.append(call), warn=False)
    assert calls[-1] == (130, 130)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_lesions_outside_the_lungs_are_missed(run, folders, tmp_path):
    masks = tmp_path / "masks"
    for path in folders[1].iterdir():
        mask = read_image_file(path).copy()
        mask[:3] = 7  # in front of the patient
        write_image_file(masks / path.name, mask)
    before = evaluate(run, *folders, subset="all", output=tmp_path / "before")
    after = evaluate(run, folders[0], masks, subset="all", output=tmp_path / "after")
    first = {score.case: score.metrics for score in before.scores if score.region == "dense"}
    for score in after.scores:
        dice = first.get(score.case, {}).get("dice", np.nan)
        if score.region == "dense" and dice > 0:
            assert score.metrics["dice"] < dice


def test_metadata(model):
    metadata = read_metadata(model)
    assert metadata.format == 4
    assert metadata.lungs.label == 1
    assert metadata.lungs.background == -1000
    assert metadata.summary()["lungs"]["margin"] == 4
    assert read_lung_model(model) == model_path("default").read_bytes()


def test_several_runs_need_the_same_lungs(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    export([run, other], tmp_path / "both.onnx")
    shutil.copyfile(model_path("accurate"), other / LUNGS_FILE)
    with pytest.raises(RunError, match="the lungs differ"):
        export([run, other], tmp_path / "both.onnx")


def test_export_for_grey_values_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="takes HU, but the images have grey values"):
        export(run, tmp_path / "grey.onnx", ExportOptions(input="grey"))


def test_grey_images_get_the_greyscale_model(folders, recipe, tmp_path):
    grey = tmp_path / "grey"
    grey.mkdir()
    for path in list(folders[0].iterdir())[:3]:
        values = np.clip((read_image_file(path) + 1000) / 1400 * 255, 0, 255)
        Image.fromarray(values.astype(np.uint8)).save(grey / f"{path.stem}.png")
    pairs = [Pair(path.name, path, path) for path in grey.iterdir()]
    assert open_lungs(recipe, pairs).model == model_path("greyscale")
    file = f"data.lungs.model={model_path('default')}"
    with pytest.raises(DataError, match="takes HU, but the images have grey values"):
        open_lungs(override_recipe(recipe, [file]), pairs)


def test_cascade_or_missing_file_is_no_model_of_the_lungs(model, folders, recipe, tmp_path):
    pairs = [Pair(path.name, path, path) for path in folders[0].iterdir()]
    for path, text in ((model, "is a cascade"), (tmp_path / "none.onnx", "no such model file")):
        with pytest.raises(pleura.errors.ModelError, match=text):
            open_lungs(override_recipe(recipe, [f"data.lungs.model={path}"]), pairs)


def test_data_without_lungs(folders, recipe, tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for i in range(6):
        write_image_file(images / f"{i}.tif", draw_abdomen(i))
        write_image_file(masks / f"{i}.tif", np.full((128, 128), 7 * (i % 2), np.uint8))
    with pytest.raises(DataError, match="no lungs are found in any training image"):
        train(images, masks, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["data.lungs={}"], "requires labels"),
        (["data.labels={1: a}", "data.lungs={crop: false, mask: false}"], "both false"),
        (["data.labels={1: a}", "data.lungs={label: 1}"], "among the labels"),
    ],
)
def test_invalid_recipes(overrides, text):
    with pytest.raises(RecipeError, match=text):
        load_recipe("quick", overrides)


def test_arrays_are_refused(run, folders):
    with pytest.raises(RunError, match="not arrays"):
        Predictor(run).probability(np.zeros((64, 64), np.int16))


def test_run_without_its_model_of_the_lungs(run, folders, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / LUNGS_FILE).unlink()
    with pytest.raises(RunError, match="the model of the lungs cannot be used"):
        evaluate(open_run(folder), *folders)


def test_own_model_of_the_lungs_is_copied(folders, recipe, tmp_path):
    own = tmp_path / "own.onnx"
    shutil.copyfile(model_path("accurate"), own)
    changed = override_recipe(recipe, [f"data.lungs.model={own}", "training.epochs=1"])
    with pytest.warns(pleura.errors.DataWarning):
        run = train(*folders, tmp_path / "run", changed)
    own.unlink()
    assert (run.folder / LUNGS_FILE).read_bytes() == model_path("accurate").read_bytes()
    assert str(tmp_path) not in (run.folder / "recipe.yaml").read_text().replace(
        str(run.folder), ""
    )
    metadata = export(run, tmp_path / "model.onnx")
    assert str(tmp_path) not in json.dumps(dict(metadata.recipe))


def test_check_reports_labels_outside_the_lungs(folders, recipe, tmp_path):
    masks = tmp_path / "masks"
    for path in folders[1].iterdir():
        mask = read_image_file(path).copy()
        mask[:12] = 7  # in front of the patient
        write_image_file(masks / path.name, mask)
    for folder, severity in ((folders[1], "note"), (masks, "warning")):
        report = check(folders[0], folder, CheckOptions(recipe=recipe))
        found = {one.severity: one for one in report.findings if "outside the lungs" in one.message}
        assert list(found) == [severity]
        texts = [one.message for one in report.findings]
        assert any(text.endswith("of 20 without lung") for text in texts)


def test_check_reports_units_that_do_not_fit(folders, recipe):
    model = f"data.lungs.model={model_path('greyscale')}"
    report = check(*folders, CheckOptions(recipe=override_recipe(recipe, [model])))
    assert not report.fit_to_train
    assert any("takes grey values, but the images have HU" in f.message for f in report.findings)


def test_info_shows_both_stages(model):
    output = run_pleura("info", model).stdout
    assert "stage 1  lungs by" in output
    assert "crop and mask with a margin of 4 mm" in output
    assert "stage 2  dense, from HU" in output
