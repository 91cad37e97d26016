import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from pleura.errors import DataError, RecipeError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.evaluation import evaluate
from pleura.training.options import TrainingOptions
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import open_run
from pleura.training.state import initial_state
from pleura.training.tensor_files import load_tensors
from pleura.training.train import resume, train


def weights(run):
    return load_tensors(run.weights)["network"]


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def with_values(recipe, **parts):
    values = recipe.model_dump(mode="json")
    for part, changes in parts.items():
        values[part] = {**(values[part] or {}), **changes} if isinstance(changes, dict) else changes
    return build_recipe(values, "test")


def test_run_folder_holds_all_that_defines_and_follows_from_a_training(tiny_run, tiny):
    names = {path.name for path in tiny_run.folder.iterdir()}
    assert names >= {
        "recipe.yaml",
        "run.json",
        "split.csv",
        "history.csv",
        "curves.png",
        "pairs.png",
        "checkpoint.pt",
        "weights.pt",
        "tensorboard",
    }
    opened = open_run(tiny_run.folder)
    # The file that the split was read from is the run's own now.
    own = {"split": tiny.split.model_copy(update={"file": tiny_run.folder / "split.csv"})}
    assert opened.recipe == tiny.model_copy(update=own)
    assert opened.finished
    assert opened.record["subsets"] == {"training": 32, "validation": 8, "test": 20}
    assert opened.record["seed"] == tiny.training.seed
    assert len(opened.record["data_fingerprint"]) == 64
    assert opened.record["versions"]["torch"] == torch.__version__


def test_history_has_a_row_an_epoch_and_the_loss_falls(tiny_run):
    history = tiny_run.history()
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["loss"] < history[0]["loss"]
    assert all(0 < row["validation_accuracy"] <= 1 for row in history)


def test_tensorboard_reads_the_history(tiny_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tiny_run.folder / "tensorboard"))
    board.Reload()
    logged = [event.value for event in board.Scalars("validation_loss")]
    assert logged == pytest.approx([row["validation_loss"] for row in tiny_run.history()])


def test_training_repeats_itself_from_its_seed(sample, tiny, tiny_run, tmp_path):
    again = train(sample.images, sample.masks, tmp_path / "again", tiny)
    assert same(weights(again), weights(tiny_run))
    other = with_values(tiny, training={"seed": 1})
    assert not same(
        weights(train(sample.images, sample.masks, tmp_path / "o", other)), weights(tiny_run)
    )


def test_resumed_training_with_averages_and_normalisation_is_exact(sample, tiny, tmp_path):
    recipe = with_values(
        tiny,
        training={"ema_decay": 0.9, "precision": "bf16"},
        network={"architecture": "default", "channels": [4, 8]},
        augmentation={"noise": 0.1, "flip": True},
    )

    def interrupt(report):
        if (report.epoch, report.step) == (2, 3):
            os.kill(os.getpid(), signal.SIGINT)

    uncut = train(sample.images, sample.masks, tmp_path / "uncut", recipe)
    train(
        sample.images,
        sample.masks,
        tmp_path / "cut",
        recipe,
        callbacks=TrainingCallbacks(on_step=interrupt),
    )
    assert same(weights(resume(sample.images, sample.masks, tmp_path / "cut")), weights(uncut))


@pytest.mark.parametrize("average", [0, 0.9])
def test_kept_is_the_mean_of_the_cycles_ends_also_after_an_interruption(
    sample, tiny, tmp_path, average
):
    recipe = with_values(
        tiny,
        training={"epochs": 4, "ema_decay": average},
        schedule={"name": "one-cycle", "restarts": [1, 3, 9]},
    )
    seen = []

    def look(row):
        seen.append(load_tensors(checkpoint)["cycle_weights"] if checkpoint.exists() else [])

    def interrupt(report):
        if (report.epoch, report.step) == (4, 2):
            os.kill(os.getpid(), signal.SIGINT)

    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    uncut = train(sample.images, sample.masks, tmp_path / "uncut", recipe)
    callbacks = TrainingCallbacks(on_step=interrupt, on_epoch=look)
    train(sample.images, sample.masks, tmp_path / "cut", recipe, callbacks=callbacks)
    resumed = resume(sample.images, sample.masks, tmp_path / "cut")
    assert [len(ends) for ends in seen] == [0, 1, 1]  # saved after it was looked at
    ends = load_tensors(checkpoint)["cycle_weights"]
    assert len(ends) == 3
    assert not same(ends[1], ends[2])
    for name, value in weights(resumed).items():
        if value.dtype.is_floating_point:
            assert torch.equal(value, torch.stack([end[name] for end in ends]).mean(0))
    assert same(weights(resumed), weights(uncut))


SOURCES = [
    {"images": "images", "masks": "masks"},
    {
        "images": "volume/c*.nii.gz",
        "masks": "volume/lungs.nii.gz",
        "subset": "training",
        "slice_step": 10,
    },
    {"images": "images/LCTSC-201_0*.tif", "masks": None, "subset": "training", "include": ["09"]},
]


def test_resumed_training_on_simulated_images_is_exact(sample, tiny, tmp_path):
    recipe = with_values(
        tiny,
        data=SOURCES,
        simulation={},
        preprocessing={"scaling": "window", "image_interpolation": "area"},
        augmentation={
            "anisotropy": 1.2,
            "elastic": 0.02,
            "full_rotation_probability": 0.3,
            "flip": True,
        },
        split={"method": "sorted", "file": None},
    )

    def interrupt(report):
        if (report.epoch, report.step) == (2, 2):
            os.kill(os.getpid(), signal.SIGINT)

    uncut = train(sample.folder, None, tmp_path / "uncut", recipe)
    assert uncut.record["subsets"]["training"] == 36 + 7 + 1
    assert uncut.record["units"]["kind"] == "HU"
    train(
        sample.folder,
        None,
        tmp_path / "cut",
        recipe,
        callbacks=TrainingCallbacks(on_step=interrupt),
    )
    assert same(weights(resume(sample.folder, None, tmp_path / "cut")), weights(uncut))


def test_simulation_of_what_is_no_hu_is_refused(sample, tiny, tmp_path):
    sources = [{**SOURCES[0], "scale_factor": 1.3}]
    changes = {"preprocessing": {"scaling": "window"}, "split": {"method": "sorted", "file": None}}
    recipe = with_values(tiny, data=sources, simulation={}, augmentation={"flip": True}, **changes)
    with pytest.raises(DataError, match="the simulation requires images in HU"):
        train(sample.folder, None, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("steps", [2, 4, 7])
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_resumed_training_has_the_weights_of_an_uninterrupted_one(
    sample, tiny, tiny_run, tmp_path, steps, name
):
    seen = 0

    def interrupt(_):
        nonlocal seen
        seen += 1
        if seen == steps:
            os.kill(os.getpid(), name)

    run = train(
        sample.images,
        sample.masks,
        tmp_path / "cut",
        tiny,
        callbacks=TrainingCallbacks(on_step=interrupt),
    )
    assert not run.finished
    assert len(run.history()) == steps // 4
    assert not same(weights(run), weights(tiny_run))
    resumed = resume(sample.images, sample.masks, tmp_path / "cut")
    assert resumed.finished
    assert same(weights(resumed), weights(tiny_run))
    columns = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    for first, second in zip(resumed.history(), tiny_run.history(), strict=True):
        assert [first[c] for c in columns] == [second[c] for c in columns]


def test_killed_training_resumes_from_its_last_checkpoint(sample, tiny, tiny_run, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny.to_yaml())
    code = (
        "import os, signal; from pleura.training.callbacks import TrainingCallbacks\n"
        "from pleura.training.train import train\n"
        "kill = lambda row: row['epoch'] == 2 and os.kill(os.getpid(), signal.SIGKILL)\n"
        f"train({str(sample.images)!r}, {str(sample.masks)!r}, {str(tmp_path / 'run')!r},"
        f" {str(recipe)!r}, callbacks=TrainingCallbacks(on_epoch=kill))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert open_run(tmp_path / "run").history()[-1]["epoch"] == 1
    assert same(weights(resume(sample.images, sample.masks, tmp_path / "run")), weights(tiny_run))


def test_training_killed_before_its_last_row_of_the_history_still_writes_it(
    sample, tiny_run, tmp_path
):
    """The last checkpoint is there, and what is written after it is not."""
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    open_run(folder).update(finished=False)
    (folder / "weights.pt").unlink()
    history = folder / "history.csv"
    rows = history.read_text().splitlines(keepends=True)
    history.write_text("".join(rows[:-1]))
    (folder / ".history.csv.0123abcd").write_text("half a fi")
    resumed = resume(sample.images, sample.masks, folder)
    assert resumed.history() == tiny_run.history()
    assert same(weights(resumed), weights(tiny_run))
    assert not list(folder.glob(".*"))


def test_training_killed_before_its_first_step_is_not_resumed_from_other_weights(
    sample, tiny, small_run, tmp_path, monkeypatch
):
    """Neither from random ones, nor with unknown units."""
    recipe = small_run.recipe.model_copy(update={"split": tiny.split})
    where = (sample.images, sample.masks, tmp_path / "run", recipe)
    monkeypatch.setattr("pleura.training.train.save_tensors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(*where, options=TrainingOptions(initial_weights=small_run.folder))
    with pytest.raises(RunError, match="before its first step"):
        resume(*where[:3])


def test_averaged_weights_are_kept(sample, tiny, tmp_path):
    recipe = with_values(tiny, training={"ema_decay": 0.9, "epochs": 1})
    run = train(sample.images, sample.masks, tmp_path / "run", recipe)
    saved = load_tensors(run.checkpoint)
    assert same(weights(run), saved["average"])
    assert not same(saved["average"], saved["network"])


def test_average_is_the_exponential_mean_of_the_weights(tiny):
    state = initial_state(with_values(tiny, training={"ema_decay": 0.9}))
    bias, averaged = state.network.head.bias, 0.0
    for updates in range(200):
        bias.data.fill_(updates)
        state.update_average(0.9, updates)
        decay = min(0.9, (1 + updates) / (10 + updates))
        averaged = decay * averaged + (1 - decay) * updates
    assert state.validated_network.head.bias.item() == pytest.approx(averaged, rel=1e-4)


@pytest.mark.parametrize(
    ("architecture", "filters"), [("default", [4, 8, 16]), ("unet2015", [2, 4, 6])]
)
def test_every_architecture_trains(sample, tiny, tmp_path, architecture, filters):
    recipe = with_values(
        tiny,
        network={"architecture": architecture, "channels": filters},
        training={"epochs": 1},
        loss={"dice": 1, "border_weights": True},
        optimiser={"name": "sgd" if architecture == "unet2015" else "adamw"},
    )
    run = train(sample.images, sample.masks, tmp_path / "run", recipe)
    assert np.isfinite(run.history()[0]["validation_loss"])


def test_training_learns_in_bfloat16_too(sample, tiny, tmp_path):
    recipe = with_values(tiny, training={"precision": "bf16"})
    history = train(sample.images, sample.masks, tmp_path / "run", recipe).history()
    assert history[-1]["loss"] < history[0]["loss"]


def test_threshold_is_chosen_on_validation_and_recorded(sample, tiny, tmp_path):
    recipe = with_values(tiny, evaluation={"tune_threshold": True})
    run = train(sample.images, sample.masks, tmp_path / "run", recipe)
    assert 0.1 <= open_run(tmp_path / "run").threshold == run.record["threshold"] <= 0.9


def test_existing_run_is_refused_unless_overwritten(sample, tiny, tmp_path):
    short = with_values(tiny, training={"epochs": 1})
    train(sample.images, sample.masks, tmp_path / "run", short)
    with pytest.raises(RunError, match="--overwrite"):
        train(sample.images, sample.masks, tmp_path / "run", short)
    options = TrainingOptions(overwrite=True)
    train(sample.images, sample.masks, tmp_path / "run", short, options=options)


def test_overwrite_removes_nothing_but_runs(sample, tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not overwritten"):
        train(sample.images, sample.masks, tmp_path, tiny, options=TrainingOptions(overwrite=True))
    (tmp_path / "run.json").write_text('{"tool": "other", "format": 1}')
    with pytest.raises(RunError, match=r"other files.*thesis\.txt"):
        train(sample.images, sample.masks, tmp_path, tiny, options=TrainingOptions(overwrite=True))
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_overwrite_that_cannot_train_leaves_the_old_run(sample, tiny, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    run = train(
        sample.images, sample.masks, tmp_path / "run", with_values(tiny, training={"epochs": 1})
    )
    changed = with_values(tiny, training={"device": "cuda"})
    options = TrainingOptions(overwrite=True)
    with pytest.raises(RecipeError):
        train(sample.images, sample.masks, tmp_path / "run", changed, options=options)
    assert weights(run)


def test_two_trainings_never_share_a_folder(sample, tiny, tmp_path):
    first = []

    def start_another(done, total):
        if done == total and not first:
            first.append(True)
            train(sample.images, sample.masks, tmp_path / "run", tiny)

    with pytest.raises(RunError, match="another training"):
        train(
            sample.images,
            sample.masks,
            tmp_path / "run",
            tiny,
            callbacks=TrainingCallbacks(on_read=start_another),
        )
    assert open_run(tmp_path / "run").finished


def test_diverged_training_is_an_error_and_keeps_the_last_good_checkpoint(sample, tiny, tmp_path):
    recipe = with_values(
        tiny, optimiser={"name": "sgd"}, schedule={"name": "constant", "learning_rate": 1e30}
    )
    with pytest.raises(RunError, match="diverged"):
        train(sample.images, sample.masks, tmp_path / "run", recipe)
    assert not (tmp_path / "run" / "weights.pt").exists()


def test_set_without_any_lung_is_refused(sample, tiny, tmp_path):
    masks = shutil.copytree(sample.masks, tmp_path / "masks")
    for path in masks.iterdir():
        write_image_file(path, np.zeros_like(read_image_file(path)))
    with pytest.raises(DataError, match="all masks are empty"):
        train(sample.images, masks, tmp_path / "run", tiny)


@pytest.mark.parametrize(
    "change",
    [
        {"augmentation": None},
        {"loss": {"border_weights": True}},
        {"training": {"precision": "bf16"}},
        {"optimiser": {"name": "sgd"}, "training": {"epochs": 2}},
    ],
)
def test_what_a_recipe_asks_for_changes_the_training(sample, tiny, tiny_run, tmp_path, change):
    run = train(sample.images, sample.masks, tmp_path / "run", with_values(tiny, **change))
    assert not same(weights(run), weights(tiny_run))


def test_momentum_is_used(sample, tiny, tmp_path):
    runs = [
        train(
            sample.images,
            sample.masks,
            tmp_path / str(momentum),
            with_values(tiny, optimiser={"name": "sgd", "momentum": momentum}),
        )
        for momentum in (0.0, 0.9)
    ]
    assert not same(weights(runs[0]), weights(runs[1]))


def test_validation_loss_is_that_of_the_weights_that_are_kept(sample, tiny, tmp_path):
    recipe = with_values(
        tiny,
        training={"ema_decay": 0.9, "batch_size": 3},
        network={"architecture": "default", "channels": [4, 8]},
    )
    run = train(sample.images, sample.masks, tmp_path / "run", recipe)
    found = evaluate(run, sample.images, sample.masks, subset="validation")
    assert run.history()[-1]["validation_loss"] == pytest.approx(found.loss, rel=1e-3)
    assert run.history()[-1]["validation_accuracy"] == pytest.approx(found.accuracy, abs=1e-3)


def test_bad_data_leaves_an_existing_run_as_it_was(sample, tiny, tiny_run, tmp_path):
    before = sorted(path.name for path in tiny_run.folder.iterdir())
    options = TrainingOptions(overwrite=True)
    with pytest.raises(DataError):
        train(tmp_path, sample.masks, tiny_run.folder, tiny, options=options)
    assert sorted(path.name for path in tiny_run.folder.iterdir()) == before


def test_resume_on_other_data_is_refused(sample, tiny, tmp_path):
    def interrupt(_):
        os.kill(os.getpid(), signal.SIGINT)

    train(
        sample.images,
        sample.masks,
        tmp_path / "run",
        tiny,
        callbacks=TrainingCallbacks(on_step=interrupt),
    )
    masks = shutil.copytree(sample.masks, tmp_path / "masks")
    changed = sorted(masks.iterdir())[9]
    mask = read_image_file(changed)
    mask[0, 0] = 255
    write_image_file(changed, mask)
    with pytest.raises(RunError, match="differ from those with which the run was started"):
        resume(sample.images, masks, tmp_path / "run")


def test_device_that_is_not_there_is_refused(sample, tiny, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    recipe = with_values(tiny, training={"device": "cuda"})
    with pytest.raises(RecipeError, match="device cuda is not available"):
        train(sample.images, sample.masks, tmp_path / "run", recipe)


def test_training_needs_no_tensorboard(sample, tiny, tmp_path, monkeypatch, no_figures):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # its import fails
    run = train(
        sample.images, sample.masks, tmp_path / "run", with_values(tiny, training={"epochs": 1})
    )
    assert run.finished
    assert not (run.folder / "tensorboard").exists()
