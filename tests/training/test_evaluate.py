import csv
import json
import math
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


def test_test_part_of_the_runs_own_split_is_judged(found, sample):
    with sample.split.open() as file:
        test = [row["name"] for row in csv.DictReader(file) if row["subset"] == "test"]
    assert [case.name for case in found.cases] == test


def test_scores_agree_with_numpy_on_every_grid(found, run, sample):
    predictor = Predictor(run)
    for case in found.cases[3:8]:
        image = cv2.imread(str(sample.images / case.name), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(sample.masks / case.name), cv2.IMREAD_UNCHANGED) > 0
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
                assert case.scores[grid][threshold]["iou"] == pytest.approx(iou)
        entropy = -np.mean(np.where(small, np.log(probability), np.log1p(-probability)))
        assert case.loss == pytest.approx(entropy, rel=1e-4)
        assert case.accuracy == pytest.approx(((probability > 0.5) == small).mean())


def test_slices_without_lung_left_empty_are_counted_and_not_averaged(found, sample):
    summary = found.summary("native", 0.5)
    values = [case.scores["native"][0.5]["iou"] for case in found.cases]
    assert summary.undefined == sum(math.isnan(value) for value in values)
    assert summary.n + summary.undefined == 20
    if summary.n:
        assert summary.mean == pytest.approx(np.nanmean(values))
        assert summary.worst == np.nanmin(values)


def test_tables_and_pictures_are_written(found, run):
    folder = run.folder / "evaluation-test"
    assert (folder / "cases.png").stat().st_size > 10_000
    content = json.loads((folder / "evaluation.json").read_text())  # json knows no NaN
    assert content["n"] == 20
    assert content["accuracy"] == pytest.approx(found.accuracy)
    with (folder / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [case.name for case in found.cases]
    for row, case in zip(rows, found.cases, strict=True):
        score = case.scores["native"][0.1]["iou"]
        assert row["iou_native_0.1"] == ("" if math.isnan(score) else f"{score:.6f}")


def test_other_parts_and_all_pairs_can_be_judged(run, sample, tmp_path):
    part = evaluate(run, sample.images, sample.masks, part="validation", output=tmp_path / "v")
    every = evaluate(run, sample.images, sample.masks, part="all", output=tmp_path / "a")
    assert (len(part.cases), len(every.cases)) == (8, 60)


def test_surfaces_intervals_thresholds_and_calibration_are_those_of_the_images_own_grid(found, run):
    native = found.native
    for case, score in zip(found.cases, native.comparison.scores, strict=True):
        assert score.case == score.patient == case.name
        assert score.unit == "px"
        if score.outcome != "neither":
            assert score.metrics["iou"] == pytest.approx(
                case.scores["native"][found.threshold]["iou"]
            )
    told = json.loads((run.folder / "evaluation-test" / "evaluation.json").read_text())["native"]
    assert told["sweep"][9]["threshold"] == 0.5
    assert told["sweep"][9]["iou"] == pytest.approx(found.summary("native", 0.5).mean, abs=0.01)
    assert told["calibration"]["error"] == pytest.approx(native.calibration.error)
