"""Evaluate a training run on image-mask pairs, on the network's grid and on each image's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
from pleura.evaluation.cases import Case, CaseTable, Subset
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.metrics import accuracy
from pleura.evaluation.model import CaseArrays, EvaluationCallbacks, ModelEvaluation
from pleura.evaluation.probability import ProbabilityHistogram
from pleura.evaluation.scores import Score, score_masks, score_overlap
from pleura.figures.cases import choose_cases
from pleura.figures.html import html_table
from pleura.figures.plots import CaseImages, cases_figure, save_figure
from pleura.files.hashing import hash_files
from pleura.files.records import write_json
from pleura.training.predictor import Predictor, sigmoid
from pleura.training.run import Run, open_run
from pleura.training.versions import versions
from pleura.typing import AnyArray, BoolArray, FloatArray, StrPath

GRID_COLUMNS = ("grid", "threshold", "mean IoU", "median", "min", "mean Dice", "both empty")
"""Column titles of the table of grids and thresholds."""


@dataclass(frozen=True, repr=False)
class RunEvaluation(ModelEvaluation):
    """Scores of a run's masks on each image's own grid, and its loss and overlap on all grids.

    Parameters
    ----------
    scores, fingerprint, label_decisions, threshold, histograms, flags, provenance:
        See `ModelEvaluation`; on each image's own grid, at the run's threshold.
    run:
        Name of the run folder.
    subset:
        Evaluated subset of the run's split, or ``all``.
    losses, accuracies:
        By case, on the network's grid: mean binary cross-entropy, and fraction of correct pixels
        at probability 0.5.
    overlaps:
        IoU and Dice of each case, by grid and threshold. Grids are ``network``, ``native`` (each
        image's own) and the additional one of the recipe, such as ``128x128``.
    """

    run: str = ""
    subset: Subset = "test"
    losses: Mapping[str, float] = field(default_factory=dict)
    accuracies: Mapping[str, float] = field(default_factory=dict)
    overlaps: Mapping[str, Mapping[float, Comparison]] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean binary cross-entropy on the network's grid."""
        return float(np.mean(list(self.losses.values())))

    @property
    def accuracy(self) -> float:
        """Mean fraction of correct pixels on the network's grid at probability 0.5."""
        return float(np.mean(list(self.accuracies.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return the scores, statistics, losses and overlaps, for JSON."""
        return {
            "run": self.run,
            "subset": self.subset,
            "n_cases": len(self.cases),
            "loss": self.loss,
            "accuracy": self.accuracy,
            "grids": {
                grid: {f"{threshold:g}": _overlap_dict(one) for threshold, one in row.items()}
                for grid, row in self.overlaps.items()
            },
            "losses": dict(self.losses),
            "accuracies": dict(self.accuracies),
            **super().to_dict(),
            "versions": versions(),
        }

    def grid_rows(self) -> list[list[str]]:
        """Return the text of the cells below `GRID_COLUMNS`; ``*`` marks the run's threshold."""
        rows = []
        for grid, by_threshold in self.overlaps.items():
            for threshold, one in by_threshold.items():
                summary = one.summary()
                values = ["nan"] * 4
                if summary:
                    iou, dice = summary["iou"], summary["dice"]
                    values = [f"{v:.4f}" for v in (iou.mean, iou.median, iou.min, dice.mean)]
                mark = "*" if threshold == self.threshold else ""
                empty = one.outcome_counts()["true_negative"]
                rows.append([grid, f"{threshold:g}{mark}", *values, str(empty)])
        return rows

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Add loss, accuracy and the overlaps, such as ``iou_native_0.5``, to each row."""
        header, rows = super()._table()
        columns = [
            (f"{metric}_{grid}_{threshold:g}", {s.case: s.metrics.get(metric) for s in one.scores})
            for grid, by_threshold in self.overlaps.items()
            for threshold, one in by_threshold.items()
            for metric in ("iou", "dice")
        ]
        for row in rows:
            case = row[0]
            numbers = self.losses[case], self.accuracies[case], *(by[case] for _, by in columns)
            row += ["" if number is None else f"{number:.6f}" for number in numbers]
        return [*header, "loss", "network_accuracy", *(name for name, _ in columns)], rows

    def _repr_html_(self) -> str:
        caption = f"{self.run}, {self.subset}: loss {self.loss:.4f}, accuracy {self.accuracy:.4f}"
        return super()._repr_html_() + html_table(
            GRID_COLUMNS, self.grid_rows(), caption, numeric=True
        )


def _overlap_dict(one: Comparison) -> dict[str, Any]:
    return {
        "outcomes": one.outcome_counts(),
        "metrics": {name: asdict(summary) for name, summary in one.summary().items()},
        "cases": {score.case: dict(score.metrics) for score in one.scores},
    }


def evaluate(
    run: Run | StrPath,
    images: StrPath,
    masks: StrPath,
    *,
    subset: Subset = "test",
    output: StrPath | None = None,
    cases: CaseTable | None = None,
    callbacks: EvaluationCallbacks | None = None,
) -> RunEvaluation:
    """Evaluate a run on a subset of its own split, or on all pairs of other folders.

    Write ``cases.csv``, ``evaluation.json`` and ``cases.png``.

    Parameters
    ----------
    run:
        A run, or its folder.
    images, masks:
        Folders of images and reference masks.
    subset:
        Subset of the run's split; ``all`` evaluates every pair.
    output:
        Folder to write to; ``RUN/evaluation-SUBSET`` if None.
    cases:
        Patients and groups by image name; by default each image is one patient, and all slices of
        a volume are one patient.
    callbacks:
        Functions that are called during the evaluation.

    Returns
    -------
    RunEvaluation
        The scores on the grid of the network, and on the grids of the images.

    Raises
    ------
    DataError
        The pairs cannot be read, or the run's split has images that are missing.
    RunError
        The run cannot be loaded.

    Warns
    -----
    DataWarning
        Some cases are not in ``cases``.
    """
    run = run if isinstance(run, Run) else open_run(run)
    table, callbacks = cases or CaseTable(), callbacks or EvaluationCallbacks()
    pairs = {pair.name: pair for pair in find_pairs(Path(images), Path(masks))}
    names = _names(run, list(pairs), subset)
    table.warn_unknown(names)
    evaluator = _Evaluator(run, callbacks)
    for i, name in enumerate(names):
        pair = pairs[name]
        evaluator.add(table.case(name, pair.image.name), pair)
        if callbacks.on_progress is not None:
            callbacks.on_progress(i + 1, len(names))
    paths = (path for name in names for path in (pairs[name].image, pairs[name].mask))
    result = evaluator.result(subset, hash_files(paths, names=True))
    folder = Path(output or run.folder / f"evaluation-{subset}")
    result.write_csv(folder / "cases.csv")
    write_json(folder / "evaluation.json", result.to_dict())
    _write_figure(evaluator, result, pairs, folder / "cases.png")
    return result


class _Evaluator:
    """Predict pairs one after another and collect the scores."""

    def __init__(self, run: Run, callbacks: EvaluationCallbacks) -> None:
        self.predictor = Predictor(run)
        self.reader = PairReader()
        self._callbacks = callbacks
        self._thresholds = sorted({*run.recipe.evaluation.thresholds, run.threshold})
        self._grid = run.recipe.evaluation.additional_size
        grids = ("network", "native", *([] if self._grid is None else [grid_name(self._grid)]))
        self._overlaps: dict[str, dict[float, list[Score]]] = {
            grid: {threshold: [] for threshold in self._thresholds} for grid in grids
        }
        self._scores: list[Score] = []
        self._histograms: dict[str, ProbabilityHistogram] = {}
        self._losses: dict[str, float] = {}
        self._accuracies: dict[str, float] = {}

    def add(self, case: Case, pair: Pair) -> None:
        """Predict and score one pair."""
        image, mask = self.reader.read(pair)
        preprocessing = self.predictor.preprocessing
        prepared = preprocess_image(image, preprocessing, str(pair.image))
        logits = self.predictor.logits(prepared[None])[0]
        target = preprocess_mask(mask, preprocessing)
        probability = sigmoid(logits)
        native = resample_probability(probability, mask.shape, preprocessing)
        maps: dict[str, tuple[BoolArray, FloatArray]] = {
            "network": (target > 0.5, probability),
            "native": (mask > 0, native),
        }
        if self._grid is not None:
            resized = resize_nearest(mask.astype(np.float32), self._grid) > 0
            maps[grid_name(self._grid)] = resized, resize_nearest(native, self._grid)
        for grid, (reference, found) in maps.items():
            for threshold in self._thresholds:
                score = score_overlap(case, found >= threshold, reference)
                self._overlaps[grid][threshold].append(score)
        entropy = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))
        self._losses[case.name] = float(entropy.mean())
        self._accuracies[case.name] = accuracy(target > 0.5, logits > 0)
        self._add_native(case, image, mask, native)

    def _add_native(
        self, case: Case, image: AnyArray, mask: NDArray[np.uint8], probability: FloatArray
    ) -> None:
        prediction = (probability >= self.predictor.run.threshold).astype(np.uint8)
        if self._callbacks.on_case is not None:
            arrays = image[None], prediction[None], mask[None]
            self._callbacks.on_case(CaseArrays(case.name, *arrays, calibrated=False))
        self._scores += score_masks(case, prediction[None], mask[None], None)
        rounded = np.rint(probability * 255).astype(np.uint8)
        self._histograms[case.name] = ProbabilityHistogram.from_arrays(rounded, mask > 0)

    def result(self, subset: Subset, files: str) -> RunEvaluation:
        """Return the evaluation of the pairs that were added."""
        run = self.predictor.run
        return RunEvaluation(
            tuple(self._scores),
            files,
            threshold=run.threshold,
            histograms=self._histograms,
            provenance={
                "run": run.folder.name,
                "subset": subset,
                "recipe": run.recipe.name,
                "training data": str(run.record["data_fingerprint"])[:16],
            },
            run=run.folder.name,
            subset=subset,
            losses=self._losses,
            accuracies=self._accuracies,
            overlaps={
                grid: {threshold: Comparison(tuple(scores)) for threshold, scores in row.items()}
                for grid, row in self._overlaps.items()
            },
        )


def grid_name(grid: tuple[int, int]) -> str:
    """Return the name of a grid of (rows, columns) in the results, such as ``128x128``."""
    return f"{grid[0]}x{grid[1]}"


def _names(run: Run, names: Sequence[str], subset: Subset) -> list[str]:
    if subset == "all":
        return list(names)
    try:
        return list(getattr(run.split(names), subset))
    except DataError as error:
        raise DataError(
            f"the images differ from those of the run: {error.message}",
            where=error.where,
            hint="pass the images of the run, or add --subset all to evaluate it on other images",
        ) from error


def _write_figure(
    evaluator: _Evaluator, result: RunEvaluation, pairs: Mapping[str, Pair], path: Path
) -> None:
    chosen = choose_cases({score.case: score.metrics["iou"] for score in result.defined()})
    pictures = []
    for case in chosen:
        image, mask = evaluator.reader.read(pairs[case.name])
        probability = evaluator.predictor.probability(image, case.name)
        pictures.append(CaseImages(case, image, mask, probability >= result.threshold))
    if pictures:
        save_figure(cases_figure(pictures), path)
