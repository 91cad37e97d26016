"""Cross-validation: resumption, masks, scores and the ensemble."""

import csv
import json
import os
import shutil
import signal

import nibabel
import numpy as np
import pytest
from commands import pleura as command
from commands import refused
from drawn_lungs import SETTINGS, draw, write_pairs

import pleura
from pleura.engine.engine import Engine
from pleura.errors import DataError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.cross_validation import CrossValidationOptions, cross_validate
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import open_run

THREE = CrossValidationOptions(folds=3, progress=False)


@pytest.fixture(autouse=True)
def evaluations_without_figures(monkeypatch):
    """Evaluations draw no figures, which takes longer than the trainings."""
    monkeypatch.setattr("pleura.training.evaluation._write_figure", lambda *_: None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three slices of each of four patients."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), 4, 3)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("quick", SETTINGS)


@pytest.fixture(scope="module")
def finished(folders, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return cross_validate(*folders, folder, recipe, THREE)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def weights_of(folder):
    return [(folder / f"fold-{fold}" / "weights.pt").read_bytes() for fold in (1, 2, 3)]


def test_each_image_is_scored_by_the_network_of_its_fold(finished, folders):
    evaluation, names = finished.evaluation, names_in(folders[0])
    assert evaluation.cases == names
    assert names_in(finished.folder / "masks") == names
    tested = {}
    for run in finished.runs:
        with (run.folder / "split.csv").open() as file:
            rows = list(csv.DictReader(file))
        patients = {}
        for row in rows:
            patients.setdefault(row["subset"], set()).add(row["name"][:2])
        assert not patients["training"] & patients["test"]
        assert not patients["training"] & patients["validation"]
        assert not patients["validation"] & patients["test"]
        tested |= {row["name"]: run for row in rows if row["subset"] == "test"}
    for score in evaluation.scores:
        run = tested[score.case]
        assert (score.patient, score.group) == (score.case[:2], run.folder.name)
        predictor = pleura.Predictor(run)
        mask = predictor.mask(predictor.probability(read_image_file(folders[0] / score.case)))
        stored = read_image_file(finished.folder / "masks" / score.case)
        assert (stored == mask * 255).all()
        assert score.metrics["dice"] == pytest.approx(
            pleura.dice(read_image_file(folders[1] / score.case) > 0, stored > 0)
        )
    summary = evaluation.summary()["dice"]
    assert (summary.n_cases, summary.n_patients) == (12, 4)
    assert summary.confidence_interval is not None


def test_thresholds_are_chosen_on_the_validation_images(finished, folders):
    for run in finished.runs:
        predictor, by_threshold = pleura.Predictor(run), {}
        for name in run.split(names_in(folders[0])).validation:
            probability = predictor.probability(read_image_file(folders[0] / name))
            reference = read_image_file(folders[1] / name) > 0
            for threshold in np.arange(0.1, 0.91, 0.05).round(2):
                value = pleura.iou(reference, probability >= threshold)
                by_threshold.setdefault(threshold, []).append(value)
        best = max(np.mean(values) for values in by_threshold.values())
        assert np.mean(by_threshold[run.threshold]) == pytest.approx(best)
    mean = np.mean([run.threshold for run in finished.runs])
    assert finished.evaluation.threshold == pytest.approx(mean)


def test_the_model_is_the_ensemble_of_all_networks(finished, folders):
    engine = Engine(finished.model)
    image = read_image_file(next(folders[0].iterdir()))
    probability = engine.probability(image[None])[0] / 255
    mean = np.mean([pleura.Predictor(run).probability(image) for run in finished.runs], axis=0)
    assert np.abs(probability - mean).max() < 0.02
    assert engine.metadata.threshold == pytest.approx(finished.evaluation.threshold)


def test_a_repeated_call_trains_nothing(finished, folders, recipe):
    def on_start(run):
        raise AssertionError(run)

    before = (finished.folder / "cases.csv").read_bytes()
    callbacks = pleura.TrainingCallbacks(on_start=on_start)
    again = cross_validate(*folders, finished.folder, recipe, THREE, callbacks=callbacks)
    assert again.finished
    assert (finished.folder / "cases.csv").read_bytes() == before


def test_a_folder_of_a_version_with_fewer_recipe_keys_is_continued(
    finished, folders, recipe, tmp_path
):
    folder = tmp_path / "folds"
    shutil.copytree(finished.folder, folder)
    record = folder / "cross-validation.json"
    content = json.loads(record.read_text())
    del content["recipe"]["data"]["lungs"], content["recipe"]["training"]["device"]
    record.write_text(json.dumps(content))
    assert cross_validate(*folders, folder, recipe, THREE).finished


def test_an_interrupted_cross_validation_is_continued(finished, folders, recipe, tmp_path):
    started = []

    def interrupt_in_second_fold(report):
        if len(started) == 2 and report.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    callbacks = pleura.TrainingCallbacks(on_start=started.append, on_step=interrupt_in_second_fold)
    stopped = cross_validate(*folders, tmp_path, recipe, THREE, callbacks=callbacks)
    assert not stopped.finished
    assert [run.finished for run in stopped.runs] == [True, False]
    assert not (tmp_path / "cases.csv").exists()
    first = (tmp_path / "fold-1" / "weights.pt").stat().st_mtime_ns

    started.clear()
    callbacks = pleura.TrainingCallbacks(on_start=started.append)
    result = cross_validate(*folders, tmp_path, recipe, THREE, callbacks=callbacks)
    assert [run.folder.name for run in started] == ["fold-2", "fold-3"]
    assert (tmp_path / "fold-1" / "weights.pt").stat().st_mtime_ns == first
    assert weights_of(tmp_path) == weights_of(finished.folder)
    assert result.evaluation.to_csv() == finished.evaluation.to_csv()


def test_a_fold_that_was_killed_before_its_first_step_is_trained(folders, recipe, tmp_path):
    class Stopped(Exception):  # noqa: N818
        pass

    def stop(*_):
        raise Stopped

    callbacks = pleura.TrainingCallbacks(on_read=stop)
    other = override_recipe(recipe, ["training.epochs=9"])
    with pytest.raises(Stopped):
        cross_validate(*folders, tmp_path, other, THREE, callbacks=callbacks)
    (tmp_path / "fold-1").mkdir()
    (tmp_path / "fold-1" / "run.json").touch()
    callbacks = pleura.TrainingCallbacks(on_start=stop)
    with pytest.raises(Stopped):
        cross_validate(*folders, tmp_path, recipe, THREE, callbacks=callbacks)
    assert open_run(tmp_path / "fold-1").record["subsets"]["test"] > 0


@pytest.mark.parametrize(
    ("changes", "folds", "title"),
    [
        (["training.epochs=3"], 3, "recipe"),
        ([], 4, "number of folds"),
        (["split.patient_pattern=^(p.*)\\."], 3, "patients or excluded images"),
    ],
)
def test_other_settings_are_refused(finished, folders, recipe, changes, folds, title):
    with pytest.raises(RunError, match=f"with another value: {title}"):
        cross_validate(
            *folders,
            finished.folder,
            override_recipe(recipe, changes),
            CrossValidationOptions(folds),
        )


def test_a_folder_with_other_files_is_refused(folders, recipe, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="contains other files"):
        cross_validate(*folders, tmp_path, recipe, THREE)
    assert names_in(tmp_path) == ["notes.txt"]


def labelled(folders, root, with_lesion):
    """Write masks with the values 1 and, for some patients, 2."""
    for path in folders[1].iterdir():
        mask = (read_image_file(path) > 0).astype(np.uint8)
        if path.name[:2] in with_lesion:
            mask[16:][mask[16:] > 0] = 2
        (root / "masks").mkdir(exist_ok=True)
        write_image_file(root / "masks" / path.name, mask)
    return folders[0], root / "masks"


def test_several_classes_are_scored_by_class(folders, recipe, tmp_path):
    data = labelled(folders, tmp_path, {"p0", "p1", "p2", "p3"})
    classes = override_recipe(recipe, ["data.labels={1: lung, 2: lesion}"])
    result = cross_validate(*data, tmp_path / "out", classes, THREE)
    assert result.evaluation.regions == ["all labels", "lung", "lesion"]
    for name in ("lung", "lesion"):
        assert result.evaluation.class_thresholds[name] == 0.5
    assert all(len(found) == 12 for found in result.evaluation.class_histograms.values())
    masks = [read_image_file(path) for path in (tmp_path / "out" / "masks").iterdir()]
    assert set(np.unique(masks)) <= {0, 1, 2}
    assert Engine(result.model).metadata.labels == ("lung", "lesion")


def test_thresholds_of_several_classes_are_chosen_on_request(folders, recipe, tmp_path):
    data = labelled(folders, tmp_path, {"p0", "p1", "p2", "p3"})
    changes = ["data.labels={1: lung, 2: lesion}", "evaluation.tune_threshold=true"]
    result = cross_validate(*data, tmp_path / "out", override_recipe(recipe, changes), THREE)
    for name in ("lung", "lesion"):
        chosen = [run.record["thresholds"][name] for run in result.runs]
        assert result.evaluation.class_thresholds[name] == pytest.approx(np.mean(chosen))


def test_a_fold_without_a_label_is_refused_before_the_first_training(folders, recipe, tmp_path):
    data = labelled(folders, tmp_path, {"p1"})
    classes = override_recipe(recipe, ["data.labels={1: lung, 2: lesion}"])
    with pytest.raises(DataError, match=r"fold \d has no image with the label 2 \(lesion\)"):
        cross_validate(*data, tmp_path / "out", classes, THREE)
    assert not (tmp_path / "out").exists()


def test_masks_of_volumes_have_the_grid_of_their_image(recipe, tmp_path):
    affine = np.array([[0, -2, 0, 9.0], [1.5, 0, 0, 3], [0, 0, -5, 1], [0, 0, 0, 1]])
    for i in range(3):
        slices = [draw(10 * i + k) for k in range(3)]
        for folder, arrays in zip(("images", "masks"), zip(*slices, strict=True), strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            volume = nibabel.Nifti1Image(np.stack(arrays, -1), affine)
            nibabel.save(volume, tmp_path / folder / f"p{i}_.nii.gz")
    folders = tmp_path / "images", tmp_path / "masks"
    result = cross_validate(*folders, tmp_path / "out", recipe, THREE)
    assert len(result.evaluation.cases) == 9
    assert result.evaluation.summary()["dice"].n_patients == 3
    for path in (tmp_path / "images").iterdir():
        mask = nibabel.load(tmp_path / "out" / "masks" / path.name)
        assert np.allclose(mask.affine, affine)
        compared = pleura.compare(tmp_path / "out" / "masks" / path.name, folders[1] / path.name)
        scores = [s for s in result.evaluation.scores if s.case.startswith(path.name)]
        both = sum(s.prediction_volume for s in scores), sum(s.reference_volume for s in scores)
        voxel = 15.0
        (score,) = compared.scores
        assert (score.prediction_volume, score.reference_volume) == pytest.approx(
            (both[0] * voxel, both[1] * voxel)
        )


def test_the_command_repeats_and_refuses(finished, folders, tmp_path):
    table = tmp_path / "patients.csv"
    rows = [f"{name},{name[:2]}" for name in names_in(folders[0])]
    table.write_text("\n".join(["name,patient", *rows]))
    arguments = ["cross-validate", *folders, "-o", finished.folder, "-r", "quick"]
    for setting in SETTINGS[:-1]:
        arguments += ["--set", setting]
    outputs = "--report", tmp_path / "report.html", "--json", tmp_path / "result.json"
    done = command(*arguments, "--folds", 3, "--group", table, *outputs)
    assert "95 % CI" in done.stdout
    assert str(finished.folder / "model.onnx") in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["finished"]
    assert [run["run"] for run in result["runs"]] == ["fold-1", "fold-2", "fold-3"]
    assert "p0_0.tif" in (tmp_path / "report.html").read_text("utf-8")
    refused(*arguments, "--group", "^(p.)_", says="not possible with 4 patients")
