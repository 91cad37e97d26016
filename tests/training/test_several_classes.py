"""Training, prediction, evaluation and export with several classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pleura
from pleura.dataset.data_recipe import DataRecipe
from pleura.engine.classes import choose_classes
from pleura.engine.engine import Engine
from pleura.engine.model_file import read_metadata
from pleura.errors import DataError, ModelError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.network.build import build_network
from pleura.network.ensemble import Ensemble, class_probabilities
from pleura.network.recipe import NetworkRecipe
from pleura.network.tiling import predict_whole
from pleura.scan.labels import Label
from pleura.segmentation.classes import clean_classes, find_class_flags
from pleura.training.class_dice import ClassDice
from pleura.training.evaluation import evaluate
from pleura.training.export import ExportOptions, export
from pleura.training.loss import class_dice_loss, class_weights, recipe_loss
from pleura.training.predict import predict
from pleura.training.predictor import Predictor
from pleura.training.recipe import LossRecipe
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import open_run
from pleura.training.threshold import CANDIDATES, best_class_thresholds
from pleura.training.train import train

LABELS = "{1: right lung, 2: left lung, 9: {name: lesion, code: [SCT, '52988006', Lesion]}}"
VALUES = {0, 1, 2, 9}


def draw(seed):
    """Return an image in HU and its labels: two lungs of different shape, and a lesion."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] + rng.uniform(-3, 3, (2, 1, 1))
    right = ((y - 32) / 20) ** 2 + ((x - 18) / 10) ** 2 < 1
    left = ((y - 32) / 16) ** 2 + ((x - 46) / 9) ** 2 < 1
    lesion = (right | left) & (((y - 36) / 9) ** 2 + ((x - rng.choice([18, 46])) / 7) ** 2 < 1)
    labels = np.where(lesion, 9, np.where(right, 1, np.where(left, 2, 0))).astype(np.uint8)
    hu = np.choose(np.searchsorted([0, 1, 2, 9], labels), [40, -850, -850, -300])
    return (hu + rng.normal(0, 20, hu.shape)).astype(np.int16), labels


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled")
    for i in range(24):
        image, labels = draw(i)
        for name, array in (("images", image), ("masks", labels)):
            (root / name).mkdir(exist_ok=True)
            write_image_file(root / name / f"{i:02d}.tif", array)
    return root / "images", root / "masks"


@pytest.fixture(scope="module")
def recipe(small_settings):
    overrides = [
        f"data.labels={LABELS}",
        "preprocessing.size=[32, 32]",
        "preprocessing.window=[-1000, 200]",
        "network.channels=[8, 16, 32]",
        "augmentation.shift=0.03",
        "training.epochs=20",
        "schedule.learning_rate=0.02",
        "training.threads=1",
        "training.precision=fp32",
        "training.batch_size=4",
        "split.method=sorted",
        "evaluation.additional_size=[16, 16]",
    ]
    return load_recipe("quick", overrides)


@pytest.fixture(scope="module")
def run(folders, recipe, tmp_path_factory):
    return train(*folders, tmp_path_factory.mktemp("runs") / "three", recipe)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "three.onnx"
    export(run, path)
    return path


def test_the_history_has_the_dice_of_each_class(run):
    last = run.history()[-1]
    names = ("right lung", "left lung", "lesion")
    assert list(last)[-3:] == [f"validation_dice_{name}" for name in names]
    assert min(last[f"validation_dice_{name}"] for name in names) > 0.5
    assert last["validation_accuracy"] > 0.9


def test_a_resumed_training_reaches_the_same_weights(run, recipe, folders, tmp_path):
    stop_after = 7

    class Stopped(Exception):  # noqa: N818
        pass

    steps = []

    def on_step(step):
        steps.append(step)
        if len(steps) == stop_after:
            raise Stopped

    short = override_recipe(recipe, ["training.epochs=3"])
    whole = train(*folders, tmp_path / "whole", short)
    with pytest.raises(Stopped):
        train(*folders, tmp_path / "a", short, callbacks=pleura.TrainingCallbacks(on_step=on_step))
    resumed = pleura.resume(*folders, tmp_path / "a")
    first, second = (torch.load(r.weights, weights_only=True)["network"] for r in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_predictions_have_the_values_of_the_recipe(run, folders, tmp_path):
    results = predict(run, folders[0], tmp_path, pleura.PredictionOptions(overlay=True))
    assert len(results) == 24
    assert all(result.error is None for result in results)
    masks = [read_image_file(tmp_path / f"{i:02d}.tif") for i in range(24)]
    assert {int(v) for v in np.unique(masks)} == VALUES
    agreement = [(m == read_image_file(folders[1] / f"{i:02d}.tif")) for i, m in enumerate(masks)]
    assert np.mean(agreement) > 0.93


def test_an_evaluation_has_the_scores_of_each_class(run, folders):
    result = evaluate(run, *folders, subset="all")
    assert result.regions == ["all labels", "right lung", "left lung", "lesion"]
    assert result.main_region == "all labels"
    assert len(result.scores) == 4 * 24
    predictor = Predictor(run)
    image, labels = (read_image_file(folder / "05.tif") for folder in folders)
    mask = predictor.mask(predictor.probability(image))
    for index, (name, value) in enumerate({"right lung": 1, "left lung": 2, "lesion": 9}.items()):
        (score,) = (s for s in result.scores if s.region == name and s.case == "05.tif")
        found, expected = mask == index + 1, labels == value
        dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert score.metrics["dice"] == pytest.approx(dice)
        assert score.reference_volume == expected.sum()
        assert result.class_histograms[name]["05.tif"].lung.sum() == expected.sum()
        assert len(result.threshold_curve(name)) == 19
    content = json.loads((run.folder / "evaluation-all" / "evaluation.json").read_text())
    assert content["classes"]["lesion"]["threshold"] == 0.5
    assert set(content["grids"]) == {"network", "native", "16x16"}
    native = content["grids"]["native"]["0.5"]
    assert native["classes"]["lesion"]["cases"]["05.tif"]["dice"] == pytest.approx(dice)
    with (run.folder / "evaluation-all" / "cases.csv").open() as file:
        assert len(file.readlines()) == 1 + 4 * 24
    assert [row[0] for row in result.grid_rows()][:2] == [
        "network, all labels",
        "network, right lung",
    ]
    assert "lesion" in result._repr_html_()


def test_the_model_file_has_the_labels_and_computes_the_run(run, model, folders):
    metadata = read_metadata(model)
    assert metadata.format == 3
    assert metadata.labels == ("right lung", "left lung", "lesion")
    assert [label.value for label in metadata.classes] == [1, 2, 9]
    assert metadata.classes[2].code == ("SCT", "52988006", "Lesion")
    image = read_image_file(folders[0] / "03.tif")
    expected = Predictor(run).probability(image)
    for runtime in ("openvino", "onnxruntime"):
        engine = Engine(model, 1, precision="fp32", runtime=runtime)
        found = engine.probability(np.stack([image] * 3))
        assert found.shape == (3, 3, 64, 64)
        assert np.abs(found[1] / 255 - expected).max() < 0.02


def test_mirror_averaging_exchanges_right_and_left(run, model, folders, tmp_path):
    export(run, tmp_path / "mirror.onnx", ExportOptions(mirror=True))
    image = read_image_file(folders[0] / "03.tif")
    plain, averaged = (
        Engine(path, 1, precision="fp32").probability(values[None])[0].astype(float)
        for path, values in ((model, image), (tmp_path / "mirror.onnx", image))
    )
    mirrored = (
        Engine(model, 1, precision="fp32")
        .probability(np.ascontiguousarray(image[None, :, ::-1]))[0]
        .astype(float)
    )
    expected = (plain + mirrored[[1, 0, 2]][..., ::-1]) / 2
    # The grid of the network and that of the image are aligned at their first pixels or edges.
    assert np.abs(averaged - expected).mean() < 3


def test_mirror_averaging_needs_counterparts(run, tmp_path):
    labels = DataRecipe(labels={1: "right lung", 2: "b", 9: "lesion"})
    augmentation = run.recipe.augmentation.model_copy(update={"flip": False})
    recipe = run.recipe.model_copy(update={"data": labels, "augmentation": augmentation})
    other = pleura.Run(run.folder, recipe, run.record)
    with pytest.raises(RunError, match=r"cannot average mirror images: .*'right lung'"):
        export(other, tmp_path / "a.onnx", ExportOptions(mirror=True))
    with pytest.raises(RunError, match="the labels differ"):
        export([run, other], tmp_path / "a.onnx")


@pytest.mark.slow
def test_an_ensemble_has_the_mean_probability(run, folders, tmp_path):
    export([run, run], tmp_path / "two.onnx")
    export(run, tmp_path / "one.onnx")
    image = read_image_file(folders[0] / "03.tif")[None]
    two, one = (
        Engine(tmp_path / f"{name}.onnx", 1, precision="fp32").probability(image).astype(int)
        for name in ("two", "one")
    )
    assert np.abs(two - one).max() <= 1


def test_a_segmentation_has_the_labels(model, folders, tmp_path):
    image, labels = (read_image_file(folder / "02.tif") for folder in folders)
    volume = np.stack([image] * 4)
    with pleura.Segmenter(model) as segmenter:
        result = segmenter.segment(volume, keep_probability=True, warn=False)
    assert result.regions == {"right lung": 1, "left lung": 2, "lesion": 9}
    assert {int(v) for v in np.unique(result.labels)} == VALUES
    assert (result.labels == labels).mean() > 0.93
    assert result.probability.shape == (4, 3, 64, 64)
    assert result.to_dict()["voxels"]["lesion"] == (result.labels == 9).sum()
    assert not {flag.name for flag in result.flags} & {"asymmetric", "low_confidence", "volume"}
    assert result.preview_image().shape[2] == 3
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.tif", "a.npy"):
        result.write(tmp_path / name)
        again = pleura.read(tmp_path / name, units="hu").values()
        np.testing.assert_array_equal(np.sort(again.ravel()), np.sort(result.labels.ravel()))
    measured = pleura.measure(result.scan, result)
    assert [region.region for region in measured.regions] == list(result.regions)


def test_thresholds_of_a_segmenter_apply_to_each_class(model, folders):
    image = read_image_file(folders[0] / "02.tif")
    low, high = (
        pleura.Segmenter(model, threshold=threshold).segment(image, warn=False).labels
        for threshold in (0.05, 0.95)
    )
    assert np.count_nonzero(low) > np.count_nonzero(high)


def test_lung_only_options_are_refused(model):
    with pytest.raises(ModelError, match="lungs only"):
        pleura.Segmenter(model, dense="include")


def test_an_empty_mask_is_flagged():
    scan = pleura.from_array(np.zeros((3, 20, 20), np.int16), units="hu")
    labels = np.zeros(scan.geometry.shape, np.uint8)
    assert "nothing_found" in {flag.name for flag in find_class_flags(labels, scan)}
    labels[0, 0, 0] = 3
    assert "nothing_found" not in {flag.name for flag in find_class_flags(labels, scan)}


def test_cleaning_is_off_unless_the_label_requests_it():
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[:, 5:35, 5:35] = 4
    labels[1, 15, 15] = 0  # a hole
    labels[1, 20, 20] = 6  # another class
    labels[1, 0, 0] = 4  # a small component
    hu = np.zeros((3, 10, 10), np.int16)
    kept = clean_classes(labels.copy(), hu, [Label(4, "a"), Label(6, "b")])
    np.testing.assert_array_equal(kept, labels)
    cleaned = clean_classes(labels.copy(), hu, [Label(4, "a", clean=True), Label(6, "b")])
    assert cleaned[1, 15, 15] == 4
    assert cleaned[1, 20, 20] == 6
    assert cleaned[1, 0, 0] == 0


def test_a_class_that_no_training_image_has_is_an_error(folders, recipe, tmp_path):
    more = override_recipe(recipe, ["data.labels.20=pleural effusion"])
    with pytest.raises(DataError, match=r"no training image has the label 20 \(pleural effusion\)"):
        train(*folders, tmp_path / "run", more)
    assert not (tmp_path / "run").exists()


def test_a_value_that_the_recipe_does_not_name_stops_the_training(folders, recipe, tmp_path):
    fewer = override_recipe(recipe, ["data.labels={1: right lung, 2: left lung}"])
    with pytest.raises(DataError, match="the value 9, which no label has"):
        train(*folders, tmp_path / "run", fewer)
    assert not (tmp_path / "run").exists()


class Tiny(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 1)
        )

    def forward(self, images):
        return self.layers(images)


def test_own_network_loss_and_augmentation(folders, recipe, tmp_path):
    seen = []

    def augmentation(image, mask, rng):
        seen.append(mask.dtype)
        return image + rng.normal(0, 0.01, image.shape).astype(np.float32), mask

    short = override_recipe(recipe, ["training.epochs=1"])
    network = Tiny(4)
    own = train(
        *folders,
        tmp_path / "own",
        short,
        network=network,
        loss=nn.CrossEntropyLoss(),
        augmentation=augmentation,
    )
    assert set(seen) == {np.dtype(np.uint8)}
    opened = open_run(own.folder, network)
    export(opened, tmp_path / "own.onnx")
    image = read_image_file(folders[0] / "03.tif")
    probability = Engine(tmp_path / "own.onnx", 1, precision="fp32").probability(image[None])[0]
    assert np.abs(probability / 255 - Predictor(opened).probability(image)).max() < 0.02
    with pytest.raises(RunError, match=r"to \(2, 1, 32, 32\)") as raised:
        train(*folders, tmp_path / "bad", short, network=Tiny(1))
    assert "(2, 4, 32, 32)" in raised.value.hint

    def interpolated(image, mask, rng):
        return image, mask * 0.5

    with pytest.raises(DataError, match="returns labels of type float64"):
        train(*folders, tmp_path / "bad", short, augmentation=interpolated)


@pytest.mark.parametrize("architecture", ["exercise", "unet2015", "default"])
def test_each_architecture_has_one_output_per_class(architecture):
    torch.manual_seed(0)
    network = build_network(NetworkRecipe(architecture=architecture, channels=(4, 8, 8)), 4).eval()
    images = torch.rand(2, 1, 36, 44)
    logits = predict_whole(network, images, tile=16)
    assert logits.shape == (2, 4, 36, 44)
    whole = predict_whole(network, images)
    torch.testing.assert_close(logits, whole, atol=1e-4, rtol=1e-4)
    both = Ensemble([network, network])(images)
    torch.testing.assert_close(
        class_probabilities(both), class_probabilities(whole), atol=1e-4, rtol=1e-3
    )


def test_losses_of_several_classes():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    plain = recipe_loss(logits, targets, LossRecipe(), None)
    torch.testing.assert_close(plain, F.cross_entropy(logits, targets))
    recipe = LossRecipe(class_weights={"b": 3.0})
    weights = class_weights(recipe, ["a", "b"])
    assert weights.tolist() == [1, 1, 3]
    weighted = recipe_loss(logits, targets, recipe, weights)
    each = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(weighted, (each * torch.tensor([1.0, 1, 3])[targets]).mean())
    assert class_weights(LossRecipe(), ["a"]) is None
    probability = logits.softmax(1)
    losses = []
    for i in (1, 2):
        inside = (targets == i).float()
        overlap = 2 * (probability[:, i] * inside).sum() + 1
        losses.append(1 - overlap / ((probability[:, i] ** 2).sum() + inside.sum() + 1))
    torch.testing.assert_close(class_dice_loss(logits, targets), torch.stack(losses).mean())
    both = LossRecipe(cross_entropy=0.5, dice=2)
    torch.testing.assert_close(
        recipe_loss(logits, targets, both, None), 0.5 * plain + 2 * torch.stack(losses).mean()
    )


def test_dice_over_batches():
    dice = ClassDice(["a", "b", "c"])
    targets = torch.tensor([[[0, 1, 1, 2]]])
    found = torch.tensor([[[0, 1, 2, 2]]])
    logits = F.one_hot(found, 4).movedim(3, 1).float()
    dice.add(logits, targets)
    dice.add(logits, targets)
    row = dice.row()
    assert row["validation_dice_a"] == pytest.approx(2 / 3)
    assert row["validation_dice_b"] == pytest.approx(2 / 3)
    assert np.isnan(row["validation_dice_c"])


def test_thresholds_of_classes_are_tuned_on_validation_images(run, folders):
    predictor = Predictor(run)
    cases = []
    for i in range(3):
        image, labels = (read_image_file(folder / f"{i:02d}.tif") for folder in folders)
        mask = np.searchsorted([0, 1, 2, 9], labels).astype(np.uint8)
        probability = predictor.probability(image)
        probability[2] *= 0.4  # the lesion is found too rarely
        cases.append((probability, mask))
    chosen = best_class_thresholds(cases, run.classes)
    assert chosen["lesion"] < 0.5
    assert set(chosen) == {"right lung", "left lung", "lesion"}

    # As many images of one candidate, by definition.
    def mean_iou(threshold):
        labels = [replace(label, threshold=0.5) for label in run.classes]
        labels[2] = replace(labels[2], threshold=threshold)
        found = [choose_classes(probability, labels) for probability, _ in cases]
        return np.mean(
            [
                np.nanmean(
                    [
                        pleura.iou(mask == k, f == k)
                        for f, (_, mask) in zip(found, cases, strict=True)
                    ]
                )
                for k in (1, 2, 3)
            ]
        )

    assert mean_iou(chosen["lesion"]) == pytest.approx(max(map(mean_iou, CANDIDATES)))


def test_tuned_thresholds_are_used(folders, recipe, tmp_path):
    short = override_recipe(recipe, ["training.epochs=2", "evaluation.tune_threshold=true"])
    tuned = train(*folders, tmp_path / "tuned", short)
    thresholds = tuned.record["thresholds"]
    assert set(thresholds) == {"right lung", "left lung", "lesion"}
    assert {label.name: label.threshold for label in tuned.classes} == thresholds
    assert "threshold" not in tuned.record


def test_a_check_counts_the_images_of_each_label(folders, recipe, tmp_path):
    report = pleura.check(*folders, pleura.CheckOptions(recipe=recipe))
    assert report.fit_to_train
    assert [(label.value, label.name) for label in report.labels] == [
        (1, "right lung"),
        (2, "left lung"),
        (9, "lesion"),
    ]
    masks = [read_image_file(path) for path in sorted(folders[1].iterdir())]
    for label in report.labels:
        fractions = [(mask == label.value).mean() for mask in masks if (mask == label.value).any()]
        assert label.images == len(fractions)
        assert label.median_fraction == pytest.approx(np.median(fractions))
        assert sum(label.subsets.values()) == label.images
        assert label.subsets["training"] == sum(
            (mask == label.value).any() for mask in masks[: int(24 * 0.6)]
        )
    assert report.to_dict()["labels"][2]["name"] == "lesion"
    assert "9 lesion" in report._repr_html_()
    with pytest.raises(DataError, match="only masks of lungs can be compared"):
        pleura.check(*folders, pleura.CheckOptions(model="default", recipe=recipe))


def test_a_check_finds_labels_that_are_missing_or_unknown(folders, recipe, tmp_path):
    more = override_recipe(recipe, ["data.labels.20=pleural effusion"])
    report = pleura.check(*folders, pleura.CheckOptions(recipe=more))
    messages = {finding.message: finding.severity for finding in report.findings}
    assert messages["no mask has the label 20 (pleural effusion)"] == "error"
    fewer = override_recipe(recipe, ["data.labels={1: right lung, 2: left lung}"])
    report = pleura.check(*folders, pleura.CheckOptions(recipe=fewer))
    (error,) = (finding for finding in report.findings if finding.severity == "error")
    assert "the value 9, which no label has" in error.message
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(12):
        image, labels = draw(i)
        write_image_file(tmp_path / "images" / f"{i:02d}.tif", image)
        labels[labels == 9] = 9 if i < 5 else 1
        write_image_file(tmp_path / "masks" / f"{i:02d}.tif", labels)
    report = pleura.check(
        tmp_path / "images", tmp_path / "masks", pleura.CheckOptions(recipe=recipe)
    )
    messages = {finding.message: finding.severity for finding in report.findings}
    assert messages["no test image has the label 9 (lesion); 5 images in all"] == "warning"


def test_models_of_several_classes_are_refused_where_lungs_are_required(
    model, run, folders, tmp_path
):
    with pytest.raises(ModelError, match="the model has several classes"):
        pleura.check(*folders, pleura.CheckOptions(model=model))
    outputs = pleura.OutputFiles(tmp_path / "a.nii.gz", probability=tmp_path / "p.nii.gz")
    options = pleura.SegmentationOptions(model=model)
    with pytest.raises(DataError, match="the probability of one class"):
        pleura.segment_file(folders[0] / "02.tif", outputs, options)
    assert not list(tmp_path.iterdir())
    for source in (model, run.folder):
        with pytest.raises(RunError, match="the model has several classes"):
            pleura.fine_tune_on_corrections(
                tmp_path, tmp_path / "run", pleura.FineTuningOptions(model=source)
            )
