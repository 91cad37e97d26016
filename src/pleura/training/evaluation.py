"""A run judged on image-mask pairs, on the network's grid and on each image's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair, find_pairs
from pleura.dataset.preprocessing import (
    preprocess_image,
    preprocess_mask,
    resample_probability,
    resize_nearest,
)
from pleura.errors import DataError
from pleura.evaluation.compare import Comparison, Score, fingerprint, score_case
from pleura.evaluation.metrics import accuracy, dice, iou
from pleura.evaluation.model import Look, ModelEvaluation
from pleura.evaluation.probability import LevelCounts
from pleura.figures.masks import CasePicture, cases_figure, choose_cases, save_figure
from pleura.files.atomic import write_text
from pleura.files.records import write_json
from pleura.files.tables import csv_text
from pleura.training.predictor import Predictor, sigmoid
from pleura.training.run import Run, open_run, versions
from pleura.typing import Progress

PartName = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True)
class Case:
    """One image: metrics by grid and threshold, such as ``scores["network"][0.5]["iou"]``."""

    name: str
    loss: float
    accuracy: float
    scores: Mapping[str, Mapping[float, Mapping[str, float]]]


@dataclass(frozen=True)
class Summary:
    """A metric over cases; ``undefined`` counts those where both masks are empty, left out."""

    mean: float
    median: float
    worst: float
    n: int
    undefined: int


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: one case an image, and means over them."""

    run: str
    part: str
    threshold: float
    cases: tuple[Case, ...]
    grids: tuple[str, ...]
    thresholds: tuple[float, ...]
    native: ModelEvaluation
    """On each image's own grid: surfaces, intervals, thresholds and calibration too."""

    @property
    def loss(self) -> float:
        """Mean binary cross-entropy on the network's grid."""
        return float(np.mean([case.loss for case in self.cases]))

    @property
    def accuracy(self) -> float:
        """Mean fraction of right pixels on the network's grid at probability 0.5."""
        return float(np.mean([case.accuracy for case in self.cases]))

    def summary(self, grid: str, threshold: float, metric: str = "iou") -> Summary:
        """Summarise a metric over the cases."""
        values = np.array([case.scores[grid][threshold][metric] for case in self.cases])
        defined = values[~np.isnan(values)]
        if not len(defined):
            return Summary(float("nan"), float("nan"), float("nan"), 0, len(values))
        return Summary(
            float(defined.mean()),
            float(np.median(defined)),
            float(defined.min()),
            len(defined),
            len(values) - len(defined),
        )

    def to_dict(self, groups: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return all of it as plain values for JSON; an undefined metric is null."""
        table = {
            grid: {
                f"{threshold:g}": {
                    metric: asdict(self.summary(grid, threshold, metric))
                    for metric in ("iou", "dice")
                }
                for threshold in self.thresholds
            }
            for grid in self.grids
        }
        content = {
            "run": self.run,
            "part": self.part,
            "n": len(self.cases),
            "loss": self.loss,
            "accuracy": self.accuracy,
            "threshold": self.threshold,
            "summary": table,
            "cases": [asdict(case) for case in self.cases],
            "native": self.native.to_dict(groups),
            "versions": versions(),
        }
        plain: dict[str, Any] = _plain(content)
        return plain

    def to_csv(self) -> str:
        """Return a row an image: name, loss, accuracy, then ``iou_GRID_THRESHOLD`` and so on."""
        columns = [
            (f"{metric}_{grid}_{threshold:g}", grid, threshold, metric)
            for grid in self.grids
            for threshold in self.thresholds
            for metric in ("iou", "dice")
        ]
        rows = []
        for case in self.cases:
            scores = [
                case.scores[grid][threshold][metric] for _, grid, threshold, metric in columns
            ]
            cells = ["" if np.isnan(s) else f"{s:.6f}" for s in scores]
            rows.append([case.name, f"{case.loss:.6f}", f"{case.accuracy:.6f}", *cells])
        return csv_text(["name", "loss", "accuracy", *(column[0] for column in columns)], rows)


def evaluate(
    run: Run | str | Path,
    images: str | Path,
    masks: str | Path,
    *,
    part: PartName = "test",
    output: str | Path | None = None,
    patients: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    look: Look | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a run on a part of its own split, or on ``all`` pairs of other folders.

    Every image is judged on two grids: ``network``, as the exercise does, and ``native``, the
    image's own. Writes ``cases.csv``, ``evaluation.json`` and ``cases.png`` to ``output``, which
    is ``RUN/evaluation-PART`` unless given. ``patients`` maps image names to patients (a volume's
    slices are one patient's, else each image is), ``groups`` to whatever they are told apart by.

    Raises
    ------
    DataError
        The pairs cannot be read, or the run's split names images that are not there.
    RunError
        The run cannot be loaded.
    """
    run = run if isinstance(run, Run) else open_run(run)
    pairs = {pair.name: pair for pair in find_pairs(Path(images), Path(masks))}
    names = _names(run, list(pairs), part)
    predictor = Predictor(run)
    thresholds = tuple(sorted({*run.recipe.evaluation.thresholds, run.threshold}))
    grid = run.recipe.evaluation.additional_size
    grids = ("network", "native", *([] if grid is None else [grid_name(grid)]))
    cases, scores, levels = [], list[Score](), {}
    reader = PairReader()
    for i, name in enumerate(names):
        patient = (patients or {}).get(name, pairs[name].image.name)
        case, own, levels[name] = _judge(predictor, reader, pairs[name], thresholds, patient, look)
        cases.append(case)
        scores += own
        if progress is not None:
            progress(i + 1, len(names))
    files = fingerprint(path for n in names for path in (pairs[n].image, pairs[n].mask))
    native = ModelEvaluation(run.threshold, Comparison(tuple(scores), files), levels, {})
    found = Evaluation(
        run.folder.name, part, run.threshold, tuple(cases), grids, thresholds, native
    )
    folder = Path(output or run.folder / f"evaluation-{part}")
    write_text(folder / "cases.csv", found.to_csv())
    write_json(folder / "evaluation.json", found.to_dict(groups))
    _draw_cases(predictor, found, pairs, folder / "cases.png")
    return found


def grid_name(grid: tuple[int, int]) -> str:
    """Return how a grid of (rows, columns) is called in the results, such as ``128x128``."""
    return f"{grid[0]}x{grid[1]}"


def _names(run: Run, names: list[str], part: PartName) -> list[str]:
    if part == "all":
        return names
    try:
        return list(getattr(run.split(names), part))
    except DataError as error:
        raise DataError(
            f"these are not the images of the run: {error.message}",
            where=error.where,
            hint="add --part all to judge the run on other images",
        ) from error


def _judge(
    predictor: Predictor,
    reader: PairReader,
    pair: Pair,
    thresholds: Sequence[float],
    patient: str,
    look: Look | None,
) -> tuple[Case, list[Score], LevelCounts]:
    image, mask = reader.read(pair)
    preprocessing = predictor.preprocessing
    prepared = preprocess_image(image, preprocessing, str(pair.image))
    logits = predictor.logits(prepared[None])[0]
    target = preprocess_mask(mask, preprocessing)
    probability = sigmoid(logits)
    native = resample_probability(probability, mask.shape, preprocessing)
    maps = {"network": (target > 0.5, probability), "native": (mask.astype(np.float32), native)}
    other = predictor.run.recipe.evaluation.additional_size
    if other is not None:
        maps[grid_name(other)] = (
            resize_nearest(mask.astype(np.float32), other),
            resize_nearest(native, other),
        )
    scores = {
        grid: {t: _overlap(reference, found >= t) for t in thresholds}
        for grid, (reference, found) in maps.items()
    }
    entropy = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))
    right = accuracy(target > 0.5, logits > 0)
    case = Case(pair.name, float(entropy.mean()), right, scores)
    lung = (native >= predictor.run.threshold).astype(np.uint8)
    if look is not None:
        look(pair.name, image[None], lung[None], mask[None])
    own = score_case(pair.name, patient, lung[None], mask[None], None)
    return case, own, LevelCounts.of(np.rint(native * 255).astype(np.uint8), mask > 0)


def _overlap(reference: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
    return {"iou": iou(reference, prediction), "dice": dice(reference, prediction)}


def _draw_cases(
    predictor: Predictor, found: Evaluation, pairs: Mapping[str, Pair], path: Path
) -> None:
    scores = {c.name: c.scores["native"][found.threshold]["iou"] for c in found.cases}
    chosen = choose_cases({name: score for name, score in scores.items() if not np.isnan(score)})
    pictures = []
    reader = PairReader()
    for case in chosen:
        image, mask = reader.read(pairs[case.name])
        probability = predictor.probability(image, case.name)
        pictures.append(CasePicture(case, image, mask, probability >= found.threshold))
    if pictures:
        save_figure(cases_figure(pictures), path)


def _plain(value: Any) -> Any:
    """Turn tuples into lists, threshold keys into text, and NaN, which JSON has not, into None."""
    if isinstance(value, Mapping):
        return {k if isinstance(k, str) else f"{k:g}": _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and np.isnan(value):
        return None
    return value
