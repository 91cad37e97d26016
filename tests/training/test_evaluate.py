import csv
import json
import shutil

import cv2
import numpy as np
import pytest

from pleura.dataset.preprocessing import preprocess_image
from pleura.training.evaluation import evaluate
from pleura.training.predictor import Predictor
from pleura.training.run import open_run


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy, in which evaluations are written."""
    return open_run(shutil.copytree(tiny_run.folder, tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def found(run, sample):
    return evaluate(run, sample.images, sample.masks)


def overlap(found, grid, threshold, case):
    return next(s.metrics for s in found.overlaps[grid][threshold].scores if s.case == case)


def test_the_test_subset_of_the_runs_own_split_is_evaluated(found, sample):
    with sample.split.open() as file:
        test = [row["name"] for row in csv.DictReader(file) if row["subset"] == "test"]
    assert found.cases == test


def test_scores_agree_with_numpy_on_every_grid(found, run, sample):
    predictor = Predictor(run)
    for name in found.cases[3:8]:
        image = cv2.imread(str(sample.images / name), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(sample.masks / name), cv2.IMREAD_UNCHANGED) > 0
        small = cv2.resize(mask.astype(np.uint8), (32, 32), interpolation=cv2.INTER_NEAREST) > 0
        logits = predictor.logits(preprocess_image(image, predictor.preprocessing)[None])[0]
        probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
        native = predictor.probability(image)
        middle = cv2.resize(native, (64, 64), interpolation=cv2.INTER_NEAREST)
        reference = cv2.resize(mask.astype(np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST)
        grids = {
            "network": (small, probability),
            "native": (mask, native),
            "64x64": (reference > 0, middle),
        }
        for grid, (truth, p) in grids.items():
            for threshold in (0.1, 0.5):
                guess = p >= threshold
                iou = (truth & guess).sum() / (truth | guess).sum()
                assert overlap(found, grid, threshold, name)["iou"] == pytest.approx(iou)
        entropy = -np.mean(np.where(small, np.log(probability), np.log1p(-probability)))
        assert found.losses[name] == pytest.approx(entropy, rel=1e-4)
        assert found.accuracies[name] == pytest.approx(((probability > 0.5) == small).mean())


def test_slices_without_lung_left_empty_are_counted_and_not_averaged(found):
    table = found.overlaps["native"][0.5]
    values = [score.metrics["iou"] for score in table.scores if score.metrics]
    undefined = table.outcome_counts()["true_negative"]
    assert len(values) + undefined == 20
    if values:
        summary = table.summary()["iou"]
        assert summary.n_cases == len(values)
        assert summary.mean == pytest.approx(np.mean(values))
        assert summary.min == min(values)


def test_tables_and_pictures_are_written(found, run):
    folder = run.folder / "evaluation-test"
    assert (folder / "cases.png").stat().st_size > 10_000
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["n_cases"] == 20
    assert content["accuracy"] == pytest.approx(found.accuracy)
    with (folder / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == found.cases
    for row in rows:
        score = overlap(found, "native", 0.1, row["case"]).get("iou")
        assert row["iou_native_0.1"] == ("" if score is None else f"{score:.6f}")
        assert row["loss"] == f"{found.losses[row['case']]:.6f}"


def test_other_subsets_and_all_pairs_can_be_evaluated(run, sample, tmp_path):
    validation = evaluate(
        run, sample.images, sample.masks, subset="validation", output=tmp_path / "v"
    )
    every = evaluate(run, sample.images, sample.masks, subset="all", output=tmp_path / "a")
    assert (len(validation.cases), len(every.cases)) == (8, 60)


def test_metrics_are_computed_on_the_grid_of_the_image(found, run):
    for case, score in zip(found.cases, found.scores, strict=True):
        assert score.case == score.patient == case
        assert score.unit == "px"
        own = overlap(found, "native", found.threshold, case)
        assert score.metrics.get("iou") == own.get("iou")
    content = json.loads((run.folder / "evaluation-test" / "evaluation.json").read_text())
    assert content["threshold_curve"][9]["threshold"] == 0.5
    mean = found.overlaps["native"][0.5].summary()["iou"].mean
    assert content["threshold_curve"][9]["iou"] == pytest.approx(mean, abs=0.01)
    assert content["calibration"]["expected_error"] == pytest.approx(
        found.calibration.expected_error
    )


def test_an_evaluation_displays_itself_briefly(found):
    assert repr(found).startswith("RunEvaluation(20 cases")
    html = found._repr_html_()
    assert "lungs: " in html
    assert "mean IoU" in html
