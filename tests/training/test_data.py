import shutil

import numpy as np
import pytest

from pleura.errors import DataError, DataWarning, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.data import load_data
from pleura.training.options import TrainingOptions
from pleura.training.recipe_loading import override_recipe
from pleura.training.run import create_run
from pleura.training.train import resume, train


@pytest.fixture
def folders(sample, tmp_path):
    """Ten slices; the sorted split has six, two and two of them."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in sorted((sample.folder / kind).iterdir())[2:42:4]:
            shutil.copy(path, tmp_path / kind)
    return tmp_path / "images", tmp_path / "masks"


@pytest.fixture
def recipe(tiny):
    return override_recipe(tiny, ["split.method=sorted", "split.file=null", "training.epochs=1"])


def copy_over(folders, source, target):
    """Put one image, as another format, in place of another."""
    names = sorted(path.name for path in folders[0].iterdir())
    (folders[0] / names[target]).unlink()
    image = read_image_file(folders[0] / names[source]).astype(np.float32)
    np.save((folders[0] / names[target]).with_suffix(".npy"), image)
    return names[source], names[target].replace(".tif", ".npy")


def test_no_training_starts_with_a_test_image_among_its_training_images(folders, recipe, tmp_path):
    names = copy_over(folders, 0, 9)
    for start in (None, "default"):
        with pytest.raises(DataError, match=rf"same pixels: {names[0]} \(training\)"):
            train(
                *folders, tmp_path / "run", recipe, options=TrainingOptions(initial_weights=start)
            )
    assert not (tmp_path / "run").exists()
    data = load_data(*folders, override_recipe(recipe, ["split.duplicates=exclude"]))
    assert len(data.split.training) == 5
    assert names[0] in data.warnings[0]


def test_no_training_is_resumed_with_one_either(folders, recipe, tmp_path):
    data = load_data(*folders, recipe)
    names = copy_over(folders, 0, 9)
    run = create_run(tmp_path / "run", recipe, data.split, data.prepared.fingerprint).update()
    with pytest.raises(RunError, match="differ from those with which the run was started"):
        resume(*folders, run.folder)
    split = run.folder / "split.csv"
    split.write_text(split.read_text().replace(names[1].replace(".npy", ".tif"), names[1]))
    fingerprint = load_data(*folders, override_recipe(recipe, ["split.duplicates=exclude"]))
    run.update(data_fingerprint=fingerprint.prepared.fingerprint)
    with pytest.raises(DataError, match="same pixels"):
        resume(*folders, run.folder)


def test_no_test_image_is_a_training_image_of_the_initial_weights(folders, recipe, tmp_path):
    data = load_data(*folders, recipe)
    made = data.split, data.prepared.fingerprint, data.prepared.pixel_hashes()
    run = create_run(tmp_path / "run", recipe, *made).update()
    assert (
        load_data(*folders, recipe, initial_weights=run.folder).pretraining_hashes
        == run.training_hashes()
    )
    assert len(run.training_hashes()) == len(data.split.training)
    shuffled = override_recipe(recipe, ["split.method=shuffled", "split.seed=1"])
    with pytest.raises(DataError, match=r"test subset in the training subset of the run .*LCTSC"):
        load_data(*folders, shuffled, initial_weights=run.folder)
    for key in ("pretraining_hashes", "start_images"):  # the second by earlier versions
        further = create_run(tmp_path / key, shuffled, *made).update(**{key: ["ab"]})
        assert further.training_hashes() == run.training_hashes() | {"ab"}


def test_nearly_equal_images_are_warned_of_and_recorded(folders, recipe, tmp_path):
    name, other = copy_over(folders, 0, 9)
    noisy = np.load(folders[0] / other)
    noisy += np.random.default_rng(0).integers(-20, 20, noisy.shape)
    np.save(folders[0] / other, noisy)
    with pytest.warns(DataWarning, match="near duplicates"):
        run = train(*folders, tmp_path / "run", recipe)
    assert f"{name} (training) and {other} (test)" in run.record["warnings"][0]


def test_images_that_the_split_file_does_not_list_are_named(folders, recipe, tmp_path):
    split = load_data(*folders, recipe).split
    split.write(tmp_path / "split.csv")
    lines = (tmp_path / "split.csv").read_text().splitlines()
    (tmp_path / "split.csv").write_text("\n".join(lines[:3] + lines[4:]))
    chosen = override_recipe(recipe, ["split.method=file", f"split.file={tmp_path / 'split.csv'}"])
    unlisted = lines[3].partition(",")[0]
    (text, *_) = load_data(*folders, chosen).warnings
    assert text == f"1 image is not used, because the split file does not list it: {unlisted}"
    without = override_recipe(chosen, [f"split.exclude=[{unlisted}]"])
    assert not any("split file" in text for text in load_data(*folders, without).warnings)


def test_images_alone_are_not_trained_on(folders, recipe, tmp_path):
    with pytest.raises(DataError, match="the folder of the masks is missing"):
        train(folders[0], None, tmp_path / "run", recipe)
    with pytest.raises(DataError, match="same folder"):
        train(folders[0], folders[0], tmp_path / "run", recipe)


def test_mask_that_is_written_again_is_learned_from(folders, recipe):
    before = load_data(*folders, recipe).prepared
    path = sorted(folders[1].iterdir())[3]
    write_image_file(path, np.roll(read_image_file(path), 20, axis=0))
    after = load_data(*folders, recipe).prepared
    assert before.fingerprint != after.fingerprint
    assert (before.masks != after.masks).any(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("mixed", lambda hu, i: hu + 1024 * (i % 2)),
        ("wrapped HU", lambda hu, _: hu.view(np.uint16)),
    ],
)
def test_images_whose_model_cannot_be_exported_are_a_warning(folders, recipe, kind, change):
    for i, path in enumerate(sorted(folders[0].iterdir())):
        write_image_file(path, change(read_image_file(path), i))
    data = load_data(*folders, recipe)
    assert data.units["kind"] == kind
    assert data.warnings[-1] == f"{kind}: a run trained on these images cannot be exported"
