"""Training, evaluation, prediction and export with neighbouring slices (2.5-D)."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import onnx
import pytest
import torch
from commands import pleura as command
from torch import nn

import pleura
from pleura.dataset.augmentation import Augmentation, augment
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_image
from pleura.engine.engine import Engine
from pleura.engine.model_file import CONTEXT_FORMAT, read_metadata
from pleura.errors import DataError, ModelError, RecipeError, RunError
from pleura.network.build import build_network
from pleura.network.custom import CustomNetwork
from pleura.network.recipe import NetworkRecipe
from pleura.network.tiling import forward_whole
from pleura.scan.context import SliceContext
from pleura.segmentation import inference
from pleura.segmentation.context import add_neighbours
from pleura.training.dataset import SegmentationDataset
from pleura.training.evaluation import evaluate
from pleura.training.export import ExportOptions, export
from pleura.training.inference_module import InferenceModule
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.predict import predict
from pleura.training.predictor import Predictor
from pleura.training.preview import preview
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.train import train

SHAPE = 12, 32, 32


def draw(seed):
    """Return HU and mask (slices, rows, columns) of lungs that one slice does not determine.

    A disc of air is lung if the next slice to the head also has one.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]] + rng.uniform(-3, 3, (2, 1, 1))
    disc = (y - 16) ** 2 + (x - 16) ** 2 < 64
    shown = rng.random(SHAPE[0]) < 0.6
    body = (y - 16) ** 2 + (x - 16) ** 2 < 150
    hu = np.where(shown[:, None, None] & disc, -850, np.where(body, 40, -1000))
    lung = shown & np.append(shown[1:], shown[-1])
    noise = rng.normal(0, 20, SHAPE)
    return (hu + noise).clip(-1024).astype(np.int16), (lung[:, None, None] & disc).astype(np.uint8)


def save(path, array, spacing=3.0):
    """Write canonical axial slices as a NIfTI file."""
    affine = np.diag([-2.0, -2.0, spacing, 1.0])
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for i in range(6):
        hu, mask = draw(i)
        save(root / "images" / f"{i}.nii.gz", hu)
        save(root / "masks" / f"{i}.nii.gz", mask)
    return root / "images", root / "masks"


@pytest.fixture(scope="module")
def recipe():
    overrides = [
        "data.context={slices: 1, distance: 3}",
        "preprocessing.size=[32, 32]",
        "preprocessing.window=[-1000, 200]",
        "network.channels=[8, 16]",
        "augmentation.shift=0.03",
        "training.epochs=12",
        "schedule.learning_rate=0.02",
        "training.threads=1",
        "training.precision=fp32",
        "training.batch_size=8",
    ]
    return load_recipe("quick", overrides)


@pytest.fixture(scope="module")
def run(folders, recipe, tmp_path_factory):
    return train(*folders, tmp_path_factory.mktemp("runs") / "context", recipe)


def test_the_network_uses_the_neighbours(run, folders):
    scores = evaluate(run, *folders, subset="test").defined()
    assert np.mean([score.metrics["dice"] for score in scores]) > 0.9
    hu, mask = draw(0)
    i = int(np.flatnonzero(mask.any((1, 2)))[0])
    predictor = Predictor(run)
    stack = hu[[i - 1, i, i + 1]]
    assert predictor.mask(predictor.probability(stack)).sum() > 0.8 * mask[i].sum()
    stack[2] = np.where(stack[2] < -950, stack[2], 40)
    assert predictor.mask(predictor.probability(stack)).sum() < 0.2 * mask[i].sum()


def test_a_resumed_training_reaches_the_same_weights(recipe, folders, tmp_path):
    class Stopped(Exception):  # noqa: N818
        pass

    def on_step(step):
        if step.epoch == 2:
            raise Stopped

    short = override_recipe(recipe, ["training.epochs=3"])
    whole = train(*folders, tmp_path / "whole", short)
    with pytest.raises(Stopped):
        train(*folders, tmp_path / "a", short, callbacks=pleura.TrainingCallbacks(on_step=on_step))
    resumed = pleura.resume(*folders, tmp_path / "a")
    first, second = (torch.load(r.weights, weights_only=True)["network"] for r in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("context", "index", "expected"),
    [
        (SliceContext(1, 3), 5, [4, 5, 6]),
        (SliceContext(1), 5, [4, 5, 6]),
        (SliceContext(2, 6), 5, [1, 3, 5, 7, 9]),
        (SliceContext(1, 3), 0, [0, 0, 1]),
        (SliceContext(2, 3), 11, [9, 10, 11, 11, 11]),
        (SliceContext(1, 7), 5, [3, 5, 7]),
        (SliceContext(1, 1.4), 5, [5, 5, 5]),
    ],
)
def test_neighbours_are_the_nearest_slices_at_the_distance(folders, context, index, expected):
    """The slices of the volumes have a distance of 3 mm."""
    pair = find_pairs(*folders)[index]
    reader = PairReader(context=context)
    image, _ = reader.read(pair)
    stack = reader.read_input(pair, image)
    np.testing.assert_array_equal(stack, draw(0)[0][expected])
    np.testing.assert_array_equal(stack[context.slices], image)


def test_neighbours_are_slices_of_the_same_volume(folders):
    reader = PairReader(context=SliceContext(1))
    pairs = find_pairs(*folders)
    last, first = pairs[SHAPE[0] - 1], pairs[SHAPE[0]]
    stack = reader.read_input(last, reader.read(last)[0])
    np.testing.assert_array_equal(stack, draw(0)[0][[-2, -1, -1]])
    stack = reader.read_input(first, reader.read(first)[0])
    np.testing.assert_array_equal(stack, draw(1)[0][[0, 0, 1]])


def test_neighbours_of_a_scaled_source_are_divided_by_its_factor(folders):
    pair = replace(find_pairs(*folders)[4], factor=0.5)
    reader = PairReader(context=SliceContext(1))
    stack = reader.read_input(pair, reader.read(pair)[0])
    np.testing.assert_array_equal(stack, 2 * draw(0)[0][3:6])


def test_images_without_neighbours_are_refused(recipe, sample, tmp_path):
    with pytest.raises(DataError, match="the image is a single slice") as caught:
        train(sample.images, sample.masks, tmp_path / "run", recipe)
    assert str(caught.value.where).endswith(".tif")
    assert "data.context.slices" in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


def test_a_volume_of_one_slice_is_refused(tmp_path):
    for kind, array in zip(("images", "masks"), draw(0), strict=True):
        (tmp_path / kind).mkdir()
        save(tmp_path / kind / "a.nii.gz", array[:1])
    (pair,) = find_pairs(tmp_path / "images", tmp_path / "masks")
    reader = PairReader(context=SliceContext(1))
    with pytest.raises(DataError, match="single slice"):
        reader.read_input(pair, reader.read(pair)[0])


def test_a_distance_requires_a_known_spacing(tmp_path, folders):
    hu, mask = draw(0)
    header = "NRRD0004\ntype: {}\ndimension: 3\nsizes: 32 32 12\nencoding: raw\nendian: little\n\n"
    for kind, name, array in (("images", "short", hu), ("masks", "uchar", mask)):
        (tmp_path / kind).mkdir()
        content = header.format(name).encode() + array.tobytes()
        (tmp_path / kind / "a.nrrd").write_bytes(content)
    pair = find_pairs(tmp_path / "images", tmp_path / "masks")[4]
    adjacent = PairReader(context=SliceContext(1))
    image, _ = adjacent.read(pair)
    assert adjacent.read_input(pair, image).shape == (3, 32, 32)
    with pytest.raises(DataError, match="distance of the slices is unknown"):
        PairReader(context=SliceContext(1, 3.0)).read_input(pair, image)


def test_missing_slices_are_replaced_by_the_nearest():
    table = SliceContext(1, 6).neighbours(9, 3, missing=[4, 5])
    assert table[2].tolist() == [0, 2, 3]
    assert table[3].tolist() == [1, 3, 6]
    assert table[6].tolist() == [3, 6, 8]
    assert table[4].tolist() == [4, 4, 4]


@pytest.mark.parametrize("scaling", ["max", "minmax", "window"])
def test_a_stack_has_one_scale(scaling):
    preprocessing = Preprocessing(scaling=scaling, size=(16, 16), image_interpolation="area")
    stack = np.random.default_rng(0).integers(-900, 400, (3, 32, 32)).astype(np.int16)
    stack[2] += 600
    scaled = preprocess_image(stack, preprocessing)
    assert scaled.shape == (3, 16, 16)
    whole = preprocess_image(
        stack.reshape(96, 32), preprocessing.model_copy(update={"size": (48, 16)})
    )
    np.testing.assert_allclose(scaled.reshape(48, 16), whole, atol=1e-6)


def test_channels_are_augmented_equally():
    rng = np.random.default_rng(0)
    image, mask = rng.random((32, 32), np.float32), np.ones((32, 32), np.float32)
    options = Augmentation(flip=True, intensity_scale=0.2, intensity_shift=0.1)
    flat, warped = augment(image, mask, options, np.random.default_rng(1))
    stack, same = augment(np.stack([image] * 3), mask, options, np.random.default_rng(1))
    for channel in stack:
        np.testing.assert_array_equal(channel, flat)
    np.testing.assert_array_equal(same, warped)


@pytest.mark.parametrize(
    "recipe",
    [
        NetworkRecipe(architecture="default", channels=(4, 8)),
        NetworkRecipe(architecture="default", channels=(4, 8), separable=True),
        NetworkRecipe(architecture="exercise", channels=(4, 8, 8)),
        NetworkRecipe(architecture="unet2015", channels=(4, 8)),
    ],
)
def test_only_the_first_weights_depend_on_the_channels(recipe):
    flat, deep = build_network(recipe), build_network(recipe, inputs=3)
    shapes = [{n: tuple(w.shape) for n, w in x.state_dict().items()} for x in (flat, deep)]
    changed = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert shapes[0].keys() == shapes[1].keys()
    assert len(changed) == 1
    assert shapes[0][changed.pop()] == (4, 1, 3, 3)
    assert forward_whole(deep, torch.zeros(2, 3, 32, 32)).shape == (2, 1, 32, 32)


def test_custom_components_get_the_channels(recipe, folders, tmp_path):
    shapes = set()

    def augmentation(image, mask, rng):
        shapes.add((image.shape, mask.shape))
        return image[:, ::-1], mask[::-1]

    short = override_recipe(recipe, ["training.epochs=1"])
    network = nn.Conv2d(3, 1, 3, padding=1)
    run = train(*folders, tmp_path / "a", short, network=network, augmentation=augmentation)
    assert run.finished
    assert shapes == {((3, 32, 32), (32, 32))}
    with pytest.raises(
        RunError, match=r"accept images \(n, 3, rows, columns\)|images of shape \(2, 3, "
    ):
        train(*folders, tmp_path / "b", short, network=nn.Conv2d(1, 1, 3, padding=1))


def test_the_dataset_has_the_channels(recipe, folders):
    image, mask = SegmentationDataset(folders, recipe)[0]
    assert image.shape == (3, 32, 32)
    assert mask.shape == (1, 32, 32)


def test_the_preview_shows_the_slice_itself(recipe, folders):
    axes = preview(*folders, recipe=recipe, number=2).axes
    hu = draw(0)[0][0].astype(np.float32)
    expected = preprocess_image(hu, recipe.preprocessing)
    np.testing.assert_allclose(axes[0].images[0].get_array(), expected)


def test_images_are_not_predicted_without_neighbours(run, sample, tmp_path):
    with pytest.raises(RunError, match="from its neighbours"):
        predict(run, sample.images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_simulation_is_refused():
    with pytest.raises(RecipeError, match="simulation changes single slices"):
        load_recipe("default", ["data.context.slices=1"])


def test_fine_tuning_keeps_the_context(run):
    assert fine_tuning_recipe(run.folder).data.context == run.recipe.data.context


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "context.onnx"
    export(run, path)
    return path


def test_the_model_file_has_the_context(model, run):
    metadata = read_metadata(model)
    assert metadata.format == CONTEXT_FORMAT
    assert metadata.context == SliceContext(1, 3.0)
    assert metadata.to_dict()["context"] == {"slices": 1, "distance": 3.0}
    assert metadata.summary()["context"] == {"slices": 1, "distance": 3.0}
    graph = onnx.load(model).graph
    sizes = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert sizes == [0, 3, 0, 0]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_graph_computes_what_the_predictor_does(model, run, runtime):
    hu, _ = draw(3)
    table = SliceContext(1, 3.0).neighbours(len(hu), 3.0)
    found = Engine(model, 1, "fp32", runtime).probability(hu[table])
    predictor = Predictor(run)
    expected = np.stack([predictor.probability(stack) for stack in hu[table]])
    assert found.shape == hu.shape
    assert np.ptp(expected) > 0.5
    assert np.abs(found / 255 - expected).max() < 0.01


@pytest.mark.parametrize("scaling", ["max", "minmax"])
def test_the_graph_scales_a_stack_as_the_preprocessing(scaling):
    preprocessing = Preprocessing(scaling=scaling, size=(16, 16), image_interpolation="area")
    network = CustomNetwork(nn.Conv2d(3, 1, 1), inputs=3)
    hu = np.random.default_rng(0).integers(-900, 400, (1, 3, 16, 16)).astype(np.int16)
    with torch.inference_mode():
        found = InferenceModule(network, preprocessing)(torch.from_numpy(hu))
        image = torch.from_numpy(preprocess_image(hu[0], preprocessing)[None])
        expected = torch.sigmoid(network(image))[0, 0]
    assert np.abs(found[0].numpy() / 255 - expected.numpy()).max() < 0.01


def test_mirror_images_have_the_same_channels(run, tmp_path):
    export(run, tmp_path / "a.onnx", ExportOptions(mirror=True))
    engine = Engine(tmp_path / "a.onnx", 1, "fp32")
    hu = draw(3)[0][SliceContext(1).neighbours(SHAPE[0], None)]
    found = engine.probability(hu)
    mirrored = engine.probability(np.ascontiguousarray(hu[..., ::-1]))
    assert np.abs(found.astype(int) - mirrored[..., ::-1].astype(int)).max() <= 1


def scan_of(hu, spacing=3.0, **known):
    scan = pleura.from_array(hu, spacing=(spacing, 2, 2), units="hu")
    return replace(scan, geometry=replace(scan.geometry, **known)) if known else scan


def expected_probability(model, hu, table):
    return Engine(model, 1, "fp32").probability(hu[table])


@pytest.mark.parametrize(
    ("spacing", "offset", "warns"),
    [(3.0, 1, False), (1.0, 3, False), (0.7, 4, False), (7, 0, True)],
)
@pytest.mark.parametrize("flipped", [False, True])
def test_a_scan_is_segmented_with_the_neighbours_at_the_distance(
    model, spacing, offset, warns, flipped
):
    hu = np.concatenate([draw(i)[0] for i in range(5)])
    i = np.arange(len(hu))
    table = np.stack([i - offset, i, i + offset], 1).clip(0, len(hu) - 1)
    expected = expected_probability(model, hu, table)
    scan = scan_of(hu[::-1] if flipped else hu, spacing)
    if flipped:
        affine = scan.geometry.affine.copy()
        affine[:, 0] *= -1
        affine[2, 3] = spacing * (len(hu) - 1)
        affine[3] = (0, 0, 0, 1)
        scan = replace(scan, geometry=replace(scan.geometry, affine=affine))
    with pleura.Segmenter(model, threads=1, precision="fp32") as segmenter:
        result = segmenter(scan, keep_probability=True, warn=False)
    found = result.probability[::-1] if flipped else result.probability
    probed = found.any((1, 2)) | ~expected.any((1, 2))
    np.testing.assert_array_equal(found[probed], expected[probed])
    (decision,) = (d for d in result.decisions if d.topic == "neighbouring slices")
    assert f"{offset * spacing:.3g} mm" in decision.choice
    assert decision.warning == warns


def test_slices_that_are_not_skipped_have_the_same_probability(model, monkeypatch):
    hu = np.concatenate([draw(i)[0] for i in (0, 1)])
    empty = np.repeat(np.where(draw(0)[0][:1] > -900, 40, -1000), 30, 0).astype(np.int16)
    scan = scan_of(np.concatenate([empty, hu, empty, hu[:5]]))
    with pleura.Segmenter(model, threads=1, precision="fp32") as segmenter:
        fast = segmenter(scan, keep_probability=True, warn=False).probability
        monkeypatch.setattr(inference, "PROBE_DISTANCE", 0)
        whole = segmenter(scan, keep_probability=True, warn=False).probability
    skipped = ~fast.any((1, 2))
    assert 40 < skipped.sum() < 70
    np.testing.assert_array_equal(fast[~skipped], whole[~skipped])
    assert whole.any((1, 2)).all()


def test_a_scan_in_another_slice_order_is_segmented_alike(model, monkeypatch):
    monkeypatch.setattr(inference, "PROBE_DISTANCE", 0)
    hu = draw(3)[0]
    sagittal = np.ascontiguousarray(hu.transpose(2, 0, 1))
    affine = np.zeros((4, 4))
    affine[[0, 2, 1, 3], range(4)] = 2, 3, 2, 1
    scan = pleura.from_array(sagittal, affine=affine, units="hu")
    with pleura.Segmenter(model, threads=1, precision="fp32") as segmenter:
        found, expected = (
            segmenter(one, keep_probability=True, warn=False).probability
            for one in (scan, scan_of(hu))
        )
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)
    assert expected.max() > 200


@pytest.mark.parametrize(
    ("make", "choice", "reason"),
    [
        (lambda hu: scan_of(hu[:1]), "the slice itself", "the scan has one slice"),
        (
            lambda hu: scan_of(hu, spacing_known=False),
            "adjacent slices",
            "the distance of the slices is unknown",
        ),
    ],
)
def test_neighbours_that_are_not_known_are_a_warning(model, make, choice, reason):
    hu = draw(2)[0]
    with pleura.Segmenter(model, threads=1, precision="fp32") as segmenter:
        result = segmenter(make(hu), keep_probability=True, warn=False)
    (decision,) = (d for d in result.decisions if d.topic == "neighbouring slices")
    assert decision.warning
    assert decision.choice == choice
    assert decision.reason.startswith(reason)
    count = len(result.probability)
    expected = expected_probability(model, hu, SliceContext(1).neighbours(count, None))
    np.testing.assert_array_equal(result.probability, expected)


def test_voxels_are_read_once(model):
    scan, parts = scan_of(np.concatenate([draw(i)[0] for i in range(5)])), []

    def read(start, stop):
        parts.append((start, stop))
        return scan.read(start, stop)

    with pleura.Segmenter(model, threads=1) as segmenter:
        segmenter(replace(scan, read=read), warn=False)
    assert sorted(parts) == [(0, 16), (16, 32), (32, 48), (48, 60)]


@pytest.mark.parametrize(
    ("slices", "offset", "missing"),
    [(100, 1, ()), (40, 20, ()), (7, 3, (2,)), (50, 2, range(20, 45))],
)
def test_few_slices_are_kept(slices, offset, missing):
    hu = np.arange(slices, dtype=np.int16)[:, None, None]
    table = SliceContext(2, offset).neighbours(slices, 1.0, missing)
    batches = ((i, [hu[i : i + 16]]) for i in range(0, slices, 16))
    found = []
    for start, (values, stacks) in add_neighbours(batches, table):
        np.testing.assert_array_equal(values, hu[start : start + len(values)])
        found.append(stacks)
    np.testing.assert_array_equal(np.concatenate(found)[..., 0, 0], table)


def test_runs_with_other_neighbours_are_not_combined(run, folders, recipe, tmp_path):
    other = override_recipe(recipe, ["training.epochs=1", "data.context.distance=6"])
    with pytest.raises(RunError, match="neighbouring slices differ"):
        export([run, train(*folders, tmp_path / "b", other)], tmp_path / "a.onnx")


def test_masks_are_not_checked_with_neighbouring_slices(model, folders):
    with pytest.raises(ModelError, match="takes neighbouring slices"):
        pleura.check(*folders, pleura.CheckOptions(model=model))


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ({"slices": 2, "distance": 3.0}, "another number of channels"),
        ({"slices": 0, "distance": None}, "context must be"),
        ({"slices": True, "distance": None}, "context must be"),
        ({"slices": 1, "distance": -1.0}, "context must be"),
        ({"slices": 1, "distance": float("nan")}, "context must be"),
        ({"slices": 1}, "context must be"),
        (None, "context must be"),
    ],
)
def test_an_invalid_context_is_refused(model, tmp_path, context, says):
    path = write_record(model, tmp_path / "a.onnx", context=context)
    with pytest.raises(ModelError, match=says):
        read_metadata(path)


def test_a_newer_format_is_refused_before_its_signature(model, tmp_path):
    path = write_record(model, tmp_path / "a.onnx", format=99)
    with pytest.raises(ModelError, match=r"format 99.*install --upgrade|reads up to"):
        read_metadata(path)


def write_record(model, path, **changes):
    content = onnx.load(model)
    (entry,) = content.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), **changes})
    onnx.save(content, path)
    return path


def test_info_shows_the_context(model, tmp_path):
    shown = command("info", model, "--json", tmp_path / "a.json").stdout
    assert "3 slices, 3 mm apart" in shown
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["context"] == {"slices": 1, "distance": 3.0}
