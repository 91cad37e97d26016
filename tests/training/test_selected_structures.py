"""Structures of masks that are selected by ``--roi``, ``--labels`` and the recipe key data.roi."""

import json

import numpy as np
import pytest
from commands import pleura, refused

from pleura.dataset.data_recipe import DataRecipe
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_pairs
from pleura.dataset.sources import collect_pairs
from pleura.errors import DataError, RecipeError
from pleura.formats.image_files import write_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.masks.classes import read_classes
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.bit_field import has_label
from pleura.scan.geometry import affine_from_axes
from pleura.scan.labels import Label
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import open_run

AFFINE = affine_from_axes((0, 0, 0), ((0, 0, 5), (0, 2, 0), (2, 0, 0)))
SMALL = (
    "preprocessing.size=[16, 16]",
    "preprocessing.window=[-1000, 200]",
    "network.channels=[4, 8]",
    "training.epochs=1",
    "training.batch_size=4",
    "training.threads=1",
    "training.precision=fp32",
    "split.method=sorted",
)
SETTINGS = [word for value in SMALL for word in ("--set", value)]


def draw(seed):
    """Return a slice in HU and labels as of lungmask: 1 in the left lung, 3 in the right one."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((32, 32), np.uint8)
    labels[6:26, 4:13], labels[8:24, 19 : 26 + seed % 3] = 3, 1
    hu = np.where(labels > 0, -850, 40) + rng.normal(0, 20, labels.shape)
    return hu.astype(np.int16), labels


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lobes")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for i in range(20):
        for name, array in zip(("images", "masks"), draw(i), strict=True):
            write_image_file(root / name / f"{i:02d}.tif", array)
    return root / "images", root / "masks"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for i in range(5):
        slices = [draw(5 * i + j) for j in range(4)]
        scan = from_array(np.stack([hu for hu, _ in slices]), affine=AFFINE)
        labels = np.stack([labels for _, labels in slices])
        image = scan.to_nibabel()
        image.to_filename(root / "images" / f"{i}.nii.gz")
        sides = np.where(labels == 3, 1, np.where(labels == 1, 2, 0)).astype(np.uint8)
        Mask(sides, scan).write(root / "masks" / f"{i}.seg.nrrd")
    return root / "images", root / "masks"


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ({"1": 1}, {1: 1}),
        ({"1": 2, "3": 2}, {1: 1, 3: 1}),
        ("lungmask", {1: 1, 3: 1}),
        ({"3": 1, "7": 2}, {3: 1}),
    ],
)
def test_values_of_images_are_selected(folders, roi, expected):
    (pair, *_) = find_pairs(*folders, roi=roi)
    labels = draw(0)[1]
    target = sum((labels == value) * new for value, new in expected.items())
    np.testing.assert_array_equal(PairReader().read(pair)[1], target)


def test_classes_are_those_of_the_selection(folders):
    classes = DataRecipe(labels={1: "right lung", 2: "left lung"}).classes
    (pair, *_) = find_pairs(*folders, roi="lungmask")
    labels = draw(0)[1]
    expected = np.where(labels == 3, 1, np.where(labels == 1, 2, 0))
    np.testing.assert_array_equal(PairReader(classes).read(pair)[1], expected)


def test_structures_of_volumes_are_selected(volumes):
    (pair, *_) = collect_pairs(*volumes, (), roi={"Lung_L": 1})
    np.testing.assert_array_equal(PairReader().read(pair)[1], draw(0)[1] == 1)
    (pair, *_) = find_pairs(*volumes, roi={"Heart": 1})
    with pytest.raises(DataError, match="no structure 'Heart'"):
        PairReader().read(pair)


def test_names_are_refused_for_masks_without_names(folders):
    (pair, *_) = find_pairs(*folders, roi={"Lung_R": 1})
    with pytest.raises(DataError, match="no names of structures, such as Lung_R"):
        PairReader().read(pair)


def test_recipe_key():
    recipe = load_recipe("quick", ["data.roi={3: 1, Lung_L: 2}"])
    assert recipe.data.roi == {"3": 1, "Lung_L": 2}
    assert override_recipe(recipe, []).data == recipe.data  # also after it was stored
    assert load_recipe("quick", ["data.roi=moose"]).data.roi == "moose"
    for wrong in ("{}", "{Lung_L: 0}", "{Lung_L: 256}", "nonsense"):
        with pytest.raises(RecipeError, match=r"data\.roi"):
            load_recipe("quick", [f"data.roi={wrong}"])
    labels = "data.labels={1: lung, 5: lesion}"
    assert load_recipe("quick", [labels, "data.roi={GTV: 5}"]).data.roi == {"GTV": 5}
    with pytest.raises(RecipeError, match=r"roi: 2 is not a value of data\.labels"):
        load_recipe("quick", [labels, "data.roi=lungmask"])


def test_a_training_stores_the_selection_and_uses_it_again(volumes, tmp_path):
    run = tmp_path / "run"
    pleura("train", *volumes, "-r", "quick", *SETTINGS, "--roi", "Lung_L=1", "-o", run, "-q")
    assert open_run(run).recipe.data.roi == {"Lung_L": 1}
    pleura("train", *volumes, "-o", run, "--resume", "-q")
    command = ("evaluate", run, *volumes, "--subset", "all", "-q", "--json", "-")
    left = json.loads(pleura(*command).stdout)
    again = json.loads(pleura(*command, "--roi", "Lung_L=1").stdout)
    right = json.loads(pleura(*command, "--roi", "Lung_R=1").stdout)
    assert left["scores"] == again["scores"] != right["scores"]


def test_a_resumed_training_has_its_own_selection(volumes, tmp_path):
    command = ("train", *volumes, "-o", tmp_path / "run", "--resume", "--labels", "moose")
    assert "--resume excludes" in pleura(*command, code=2).stderr


def test_a_check_reads_the_selection(folders, volumes):
    def checked(*arguments, code=0):
        return json.loads(pleura("check", *arguments, "-q", "--json", "-", code=code).stdout)

    left = np.mean([(draw(i)[1] == 1).mean() for i in range(20)])
    found = checked(*folders, "--roi", "1=1")["lung_fraction"]
    assert found["minimum"] < left < found["maximum"]
    assert checked(*volumes, "--roi", "Lung_L=1")["lung_fraction"]["maximum"] < 0.2
    assert checked(*volumes)["lung_fraction"]["minimum"] > 0.2
    errors = checked(*volumes, "--roi", "Heart=1", code=1)["findings"]
    assert any("no structure 'Heart'" in finding["message"] for finding in errors)


def test_cross_validation_and_preview_use_the_selection(volumes, tmp_path):
    common = ("-r", "quick", *SETTINGS, "--roi", "Lung_L=1")
    pleura("cross-validate", *volumes, "-o", tmp_path / "cv", "--folds", "3", *common, "-q")
    assert open_run(tmp_path / "cv" / "fold-3").recipe.data.roi == {"Lung_L": 1}
    pleura("preview", *volumes, *common, "-n", "2", "-o", tmp_path / "pairs.png")
    assert (tmp_path / "pairs.png").stat().st_size > 0


def test_models_are_evaluated_on_selected_structures(sample, model, tmp_path):
    scan, lungs = (sample.folder / "volume" / f"{name}.nii.gz" for name in ("ct", "lungs"))
    command = ("evaluate", model, scan, lungs, "-q", "--json", "-")
    whole = json.loads(pleura(*command).stdout)
    assert json.loads(pleura(*command, "--roi", "1=1,2=2").stdout)["scores"] == whole["scores"]
    left = json.loads(pleura(*command, "--roi", "2=1").stdout)
    assert left["scores"][0]["metrics"]["dice"] < whole["scores"][0]["metrics"]["dice"]
    refused(*command, "--roi", "2=3", says="the labels of lungs are 1 and 2")


def test_only_selected_lungs_are_compared_with_a_model(volumes, folders):
    says = "only masks of lungs can be compared with a model"
    refused("check", *volumes, "--roi", "Lung_L=1", "--model", "default", says=says)
    findings = json.loads(pleura("check", *folders, "--roi", "1=1", "-q", "--json", "-").stdout)[
        "findings"
    ]
    assert "label errors" not in {finding["topic"] for finding in findings}


@pytest.mark.parametrize("roi", [{"Lung_R": 1, "Lung_L": 2}, "lungmask"])
def test_selected_structures_of_overlapping_classes(volumes, roi):
    classes = (Label(1, "right", overlap=True), Label(2, "left", overlap=True))
    scan = read(volumes[0] / "0.nii.gz")
    mask = read_classes(volumes[1] / "0.seg.nrrd", classes, scan.geometry, scan.origin, roi)
    both = read_mask(volumes[1] / "0.seg.nrrd", scan)
    for i in (1, 2):
        np.testing.assert_array_equal(has_label(mask.labels, 1 << (i - 1)), both.labels == i)
