"""Training, prediction, evaluation, export and segmentation of classes that overlap."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dicom_files import write_series
from pydantic import ValidationError

import pleura
from pleura.cohort.single import segment_file
from pleura.dataset.data_recipe import DataRecipe, mirror_bits
from pleura.engine.classes import choose_classes
from pleura.engine.engine import Engine
from pleura.engine.model_file import read_metadata
from pleura.errors import DataError, ModelError, RunError
from pleura.evaluation.compare import compare
from pleura.evaluation.model import evaluate_model
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.masks.classes import read_classes
from pleura.network.build import build_network
from pleura.scan.geometry import affine_from_axes
from pleura.scan.labels import Label
from pleura.segmentation.classes import clean_classes
from pleura.training.class_dice import ClassDice
from pleura.training.evaluation import evaluate
from pleura.training.export import ExportOptions, export
from pleura.training.initial_weights import load_initial_weights
from pleura.training.loss import class_dice_loss, recipe_loss
from pleura.training.predict import predict
from pleura.training.predictor import Predictor
from pleura.training.preview import preview
from pleura.training.recipe import LossRecipe
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import open_run
from pleura.training.state import trained_network
from pleura.training.train import train

LABELS = (
    "{1: {name: lungs, masks: lungs}, 4: {name: lesion, masks: lesions, code: [SCT, '52988006', "
    "Lesion]}, 2: {name: right lung, masks: right, mirrored: 3}, 3: {name: left lung, masks: left, "
    "mirrored: 2}}"
)
NAMES = ("lungs", "right lung", "left lung", "lesion")
FOLDERS = ("lungs", "right", "left", "lesions")


def draw(seed):
    """Return an image in HU and the masks of both lungs, each lung and a lesion in one of them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] + rng.uniform(-3, 3, (2, 1, 1))
    right = ((y - 32) / 20) ** 2 + ((x - 18) / 10) ** 2 < 1
    left = ((y - 32) / 16) ** 2 + ((x - 46) / 9) ** 2 < 1
    lesion = (right | left) & (((y - 36) / 9) ** 2 + ((x - rng.choice([18, 46])) / 7) ** 2 < 1)
    hu = np.where(lesion, -300, np.where(right | left, -850, 40)) + rng.normal(0, 20, y.shape)
    return hu.astype(np.int16), (right | left, right, left, lesion)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("overlapping")
    for i in range(24):
        image, masks = draw(i)
        for name, array in zip(("images", *FOLDERS), (image, *masks), strict=True):
            (root / name).mkdir(exist_ok=True)
            stored = array if name == "images" else array.astype(np.uint8) * 255
            write_image_file(root / name / f"{i:02d}.tif", stored)
    return root / "images", root


@pytest.fixture(scope="module")
def recipe(small_settings):
    overrides = [
        f"data.labels={LABELS}",
        "data.overlap=true",
        "preprocessing.size=[32, 32]",
        "preprocessing.window=[-1000, 200]",
        "network.channels=[8, 16, 32]",
        "augmentation.shift=0.03",
        "augmentation.flip=true",
        "training.epochs=14",
        "schedule.learning_rate=0.02",
        "training.threads=1",
        "training.precision=fp32",
        "training.batch_size=4",
        "split.method=sorted",
        "evaluation.additional_size=[16, 16]",
        "evaluation.tune_threshold=true",
        "loss.dice=1",
        "loss.class_weights={lesion: 2}",
    ]
    return load_recipe("quick", overrides)


@pytest.fixture(scope="module")
def run(folders, recipe, tmp_path_factory):
    return train(*folders, tmp_path_factory.mktemp("runs") / "four", recipe)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "four.onnx"
    export(run, path, ExportOptions(mirror=True))
    return path


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A DICOM series of the drawn images."""
    folder = tmp_path_factory.mktemp("series") / "ct"
    hu = np.stack([draw(i)[0] for i in range(20, 24)])
    write_series(folder, hu, affine_from_axes([-20, -20, 0], ([0, 0, 3], [0, 0.8, 0], [0.8, 0, 0])))
    return folder


def mean_dice(comparison, region):
    return np.mean([s.metrics["dice"] for s in comparison.scores if s.region == region])


def test_validation_and_evaluation_score_each_class(run, folders, tmp_path):
    last = run.history()[-1]
    assert min(last[f"validation_dice_{name}"] for name in NAMES) > 0.5
    assert [label.name for label in run.classes] == list(NAMES)
    evaluation = evaluate(run, *folders, output=tmp_path / "out")
    found = {region: mean_dice(evaluation, region) for region in ("all labels", *NAMES)}
    assert min(found.values()) > 0.5
    assert set(evaluation.class_histograms) == set(NAMES)
    (score,) = [s for s in evaluation.scores if s.case == "23.tif" and s.region == "lungs"]
    assert score.reference_volume == np.count_nonzero(draw(23)[1][0])


def test_probabilities_are_those_of_the_graph_and_independent(run, model, tmp_path):
    image = draw(23)[0]
    maps = Predictor(run).probability(image)
    assert maps.shape == (4, 64, 64)
    assert maps.sum(0).max() > 1.5  # lungs, right lung and lesion
    export(run, tmp_path / "plain.onnx")
    found = Engine(tmp_path / "plain.onnx").probability(image[None])[0]
    assert np.abs(found / 255 - maps).max() < 0.02
    # A flip exchanges the right and the left lung.
    both = Engine(model).probability(np.stack([image, image[:, ::-1]]))
    exchanged = both[1, [0, 2, 1, 3]][..., ::-1]
    assert np.abs(both[0].astype(int) - exchanged).max() <= 2


def test_the_model_file_has_format_6(model, run):
    metadata = read_metadata(model)
    assert (metadata.format, metadata.output) == (6, "sigmoid")
    assert metadata.classes == run.classes
    assert all(label.overlap for label in metadata.classes)
    with pytest.raises(ModelError, match=r"output|formats"):
        replace(metadata, output="softmax")


@pytest.mark.parametrize("suffix", [".dcm", ".seg.nrrd", ".rtstruct.dcm"])
def test_overlap_survives_from_training_to_the_file(model, series, tmp_path, suffix):
    with pleura.Segmenter(model) as segmenter:
        result = segmenter.segment(series, keep_probability=True, warn=False)
    assert result.labels.dtype == np.uint16
    both = result.inside(result.regions["lungs"]) & result.inside(result.regions["lesion"])
    assert both.any()
    thresholds = [label.threshold for label in result.classes]
    for i, threshold in enumerate(thresholds):
        layer = result.probability[:, i] >= threshold * 255
        np.testing.assert_array_equal(result.inside(1 << i), layer)
    path = tmp_path / f"mask{suffix}"
    result.write(path)
    found = read_classes(path, result.classes, result.geometry, result.origin)
    np.testing.assert_array_equal(found.labels, result.labels)
    assert result.to_dict()["voxels"] == {
        name: np.count_nonzero(result.inside(label)) for name, label in result.regions.items()
    }


def test_segment_writes_one_file_per_class(model, series, tmp_path):
    options = pleura.SegmentationOptions(model=model)
    report = segment_file(series, pleura.OutputFiles(tmp_path / "ct.nii.gz", measure=True), options)
    names = {"ct_lungs.nii.gz", "ct_right_lung.nii.gz", "ct_left_lung.nii.gz", "ct_lesion.nii.gz"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(name in report.mask for name in names)
    assert {row["region"] for row in report.measurements["regions"]} == set(NAMES)
    stored = np.asarray(nib.load(tmp_path / "ct_lesion.nii.gz").dataobj)
    assert set(np.unique(stored)) == {0, 1}
    assert np.count_nonzero(stored) == report.voxels["lesion"]
    with pytest.raises(DataError, match="already exists"):
        segment_file(series, tmp_path / "ct.nii.gz", options)


def test_a_cohort_needs_a_format_with_structures(model, series, tmp_path):
    options = pleura.SegmentationOptions(model=model)
    out = tmp_path / "out"
    (result,) = pleura.segment_cohort(series.parent, out, options)
    assert "--format seg-nrrd" in result.error
    outputs = pleura.OutputOptions(format="seg-nrrd")
    (result,) = pleura.segment_cohort(series.parent, out, options, outputs=outputs)
    assert (result.status, result.error) == ("done", "")


def test_predicted_masks_are_compared_per_class(run, folders, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in (22, 23):
        write_image_file(images / f"{i}.tif", draw(i)[0])
    predictions = predict(run, images, tmp_path / "out", pleura.PredictionOptions(overlay=True))
    assert [one.error for one in predictions] == [None, None]
    assert read_image_file(tmp_path / "out" / "lungs" / "22.tif").max() == 255
    with pytest.raises(DataError, match="8 output files exist"):
        predict(run, images, tmp_path / "out")
    (tmp_path / "reference").mkdir()
    for i in (22, 23):
        array = draw(i)[1][3].astype(np.uint8)
        write_image_file(tmp_path / "reference" / f"{i}.tif", array)
    result = compare(tmp_path / "out" / "lesion", tmp_path / "reference")
    assert mean_dice(result, "lungs") > 0.5


def test_a_preview_shows_all_classes(folders, recipe):
    figure = preview(*folders, recipe=recipe, number=2)
    assert len(figure.axes[1].collections) == 4


def test_labels_start_with_the_probability_of_lung(small_run):
    network = build_network(small_run.recipe.network, 3)
    network.overlap = True
    load_initial_weights(network, small_run.folder, ["a", "b", "c"])
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        lung = trained_network(small_run).eval()(image)
        found = network.eval()(image)
    torch.testing.assert_close(found, lung.repeat(1, 3, 1, 1))


def test_labels_of_another_run_keep_their_weights(run):
    network = build_network(run.recipe.network, 2)
    network.overlap = True
    text = load_initial_weights(network, run.folder, ["lesion", "new"])
    assert "(last layer: lesion; random: new)" in text
    source = trained_network(run).state_dict()
    torch.testing.assert_close(network.state_dict()["head.weight"][0], source["head.weight"][3])
    exclusive = build_network(run.recipe.network, 3)
    before = exclusive.state_dict()["head.weight"].clone()
    assert "random" in load_initial_weights(exclusive, run.folder, ["lesion", "new"])
    torch.testing.assert_close(exclusive.state_dict()["head.weight"], before)


@pytest.mark.slow
def test_cross_validation_writes_the_masks_of_each_class(folders, recipe, tmp_path):
    quick = override_recipe(recipe, ["training.epochs=1"])
    options = pleura.CrossValidationOptions(folds=3, progress=False)
    result = pleura.cross_validate(*folders, tmp_path / "cv", quick, options=options)
    written = {path.name for path in (tmp_path / "cv" / "masks").iterdir()}
    assert written == set(NAMES)
    assert len([*(tmp_path / "cv" / "masks" / "lesion").iterdir()]) == 24
    assert read_metadata(result.model).output == "sigmoid"


def test_the_loss_is_binary_for_each_class():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 8, 8), (torch.rand(2, 3, 8, 8) > 0.5).float()
    recipe = LossRecipe(cross_entropy=1, dice=0)
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    assert recipe_loss(logits, targets, recipe, None) == pytest.approx(float(expected))
    weights = torch.tensor([1.0, 3.0, 1.0])
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    factor = torch.where(targets > 0, weights[:, None, None], torch.tensor(1.0))
    weighted = recipe_loss(logits, targets, recipe, weights)
    assert float(weighted) == pytest.approx(float((entropy * factor).mean()))
    dice = class_dice_loss(20 * (targets - 0.5), targets)
    assert float(dice) < 1e-3
    assert float(class_dice_loss(-20 * (targets - 0.5), targets)) > 0.9


def test_shares_of_a_batch_have_the_loss_of_the_batch():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 2, 8, 8), (torch.rand(4, 2, 8, 8) > 0.5).float()
    sums = []
    class_dice_loss(logits[2:], targets[2:], lambda value: sums.append(value) or value)
    shared = iter(sums)
    found = class_dice_loss(logits[:2], targets[:2], lambda value: value + next(shared))
    assert float(found) == pytest.approx(float(class_dice_loss(logits, targets)))


def test_the_dice_of_each_class_counts_its_own_pixels():
    targets = torch.zeros(1, 2, 4, 4)
    targets[:, 0, :2], targets[:, 1, :, :2] = 1, 1
    counts = ClassDice(("a", "b"))
    logits = targets - 0.5
    logits[:, 1, :, 2:] = 1  # twice the pixels of b
    counts.add(logits, targets)
    assert list(counts.row().values()) == pytest.approx([1, 2 / 3])


def test_each_class_has_its_own_threshold():
    classes = (Label(1, "a", threshold=0.3, overlap=True), Label(2, "b", overlap=True))
    probability = np.array([[0.29, 0.3, 0.9], [0.9, 0.9, 0.49]], np.float32)
    np.testing.assert_array_equal(choose_classes(probability, classes), [2, 3, 1])
    np.testing.assert_array_equal(
        choose_classes(np.rint(probability * 255).astype(np.uint8), classes), [2, 2, 1]
    )


def test_classes_are_cleaned_by_themselves():
    labels = np.full((3, 40, 40), 2, np.uint16)
    labels[:, 5:30, 5:30] |= 1
    labels[1, 10, 10] &= ~np.uint16(1)  # a hole
    labels[1, 38, 38] |= 1
    classes = (Label(1, "a", clean=True, overlap=True), Label(2, "b", overlap=True))
    hu = np.zeros((3, 10, 10), np.int16)
    cleaned = clean_classes(labels.copy(), hu, classes)
    assert (cleaned & 2 == 2).all()
    expected = np.zeros((40, 40), bool)
    expected[5:30, 5:30] = True
    np.testing.assert_array_equal(cleaned[1] & 1 == 1, expected)


def test_flips_exchange_bits():
    assert mirror_bits((0, 1, 3, 2)) == (0, 1, 4, 5, 2, 3, 6, 7)


@pytest.mark.parametrize("labels", [{1: "a"}, {i + 1: str(i) for i in range(17)}])
def test_the_number_of_labels_is_limited(labels):
    with pytest.raises(ValidationError, match="overlap: requires 2 to 16 labels"):
        DataRecipe(labels=labels, overlap=True)


@pytest.mark.parametrize("other", [{"context": {"slices": 1, "distance": 3.0}}, {"lungs": {}}])
def test_context_and_cascades_are_refused(other):
    with pytest.raises(ValidationError, match=r"overlap: excludes data.context and data.lungs"):
        DataRecipe(labels={1: "a", 2: "b"}, overlap=True, **other)


def test_a_model_file_is_not_evaluated_with_a_folder_per_class(model, folders):
    with pytest.raises(DataError, match="one folder of masks per label") as error:
        evaluate_model(model, *folders)
    assert error.value.hint.startswith("evaluate the run")


def test_quantisation_is_refused(run, folders, tmp_path):
    options = ExportOptions(calibration_images=folders[0])
    with pytest.raises(RunError, match="cannot be quantised"):
        export(run, tmp_path / "int8.onnx", options)


def test_a_run_is_opened_again(run):
    assert open_run(run.folder).classes == run.classes
