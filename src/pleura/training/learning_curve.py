"""Learning curve: scores by the number of training patients."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pleura.dataset.folds import assign_folds, require_labels
from pleura.dataset.pairs import find_pairs
from pleura.errors import DataError, DataWarning
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.model import EvaluationCallbacks
from pleura.evaluation.scores import ALL_LABELS
from pleura.evaluation.statistics import interval_text
from pleura.figures.backend import Figure
from pleura.figures.html import html_figure, html_table
from pleura.figures.learning_curve import CurvePoint, learning_curve_figure
from pleura.figures.plots import save_figure
from pleura.files.atomic import write_text
from pleura.files.records import read_record
from pleura.files.tables import csv_text
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.cross_validation import CrossValidationOptions, cross_validate
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.training.settings_record import hash_initial_weights, hash_pairs, write_settings
from pleura.typing import StrPath

CURVE_COLUMNS = ("patients", "images", "region", "cases", "Dice", "95 % CI", "IoU", "95 % CI")
"""Column titles of the table of a learning curve."""


@dataclass(frozen=True)
class LearningCurveOptions:
    """Options of `learning_curve`.

    Parameters
    ----------
    patients:
        Numbers of training patients.
    folds:
        Number of folds, at least 3, and so of trainings per number of patients.
    seed:
        Seed of the random choice of training patients.
    progress, initial_weights:
        As for `TrainingOptions`.
    """

    patients: Sequence[int] = ()
    folds: int = 5
    seed: int = 0
    progress: bool | None = None
    initial_weights: StrPath | None = None


@dataclass(frozen=True, repr=False)
class LearningCurve:
    """Result of `learning_curve`.

    Parameters
    ----------
    folder:
        The output folder.
    patients:
        Requested numbers of training patients.
    scores:
        Scores of all images by number of training patients; only those that are finished.
    images:
        Mean number of training images by number of training patients.
    """

    folder: Path
    patients: tuple[int, ...]
    scores: Mapping[int, Comparison] = field(default_factory=dict)
    images: Mapping[int, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the networks of all numbers of patients are trained and evaluated."""
        return len(self.scores) == len(self.patients)

    @property
    def regions(self) -> list[str]:
        """The regions: ``lungs``, or each of several classes."""
        found = dict.fromkeys(r for one in self.scores.values() for r in one.regions)
        return [region for region in found if region != ALL_LABELS]

    def rows(self) -> list[list[str]]:
        """Return the text of the cells below `CURVE_COLUMNS`."""
        rows = []
        for number, region, one in self._by_region():
            summary = one.summary(region)
            numbers = []
            for metric in ("dice", "iou"):
                interval = interval_text(summary[metric].confidence_interval, ".4f")
                numbers += [f"{summary[metric].mean:.4f}", interval]
            cases = str(summary["dice"].n_cases)
            rows.append([str(number), f"{self.images[number]:.1f}", region, cases, *numbers])
        return rows

    def figure(self) -> Figure:
        """Plot the mean Dice of each region by number of training patients."""
        curves: dict[str, list[CurvePoint]] = {}
        for number, region, one in self._by_region():
            summary = one.summary(region)["dice"]
            folds = (part.summary(region).get("dice") for part in one.by_group().values())
            means = tuple(fold.mean for fold in folds if fold is not None)
            point = CurvePoint(number, summary.mean, summary.confidence_interval, means)
            curves.setdefault(region, []).append(point)
        return learning_curve_figure(curves)

    def to_csv(self) -> str:
        """Return a CSV table with one row per number of patients and region."""
        limits = ("mean", "low", "high")
        header = ["patients", "images", "region", "cases", "test_patients"]
        header += [f"{metric}_{limit}" for metric in ("dice", "iou") for limit in limits]
        rows = []
        for number, region, one in self._by_region():
            summary = one.summary(region)
            counts = summary["dice"].n_cases, summary["dice"].n_patients
            values = []
            for metric in ("dice", "iou"):
                low, high = summary[metric].confidence_interval or ("", "")
                values += [summary[metric].mean, low, high]
            cells = [value if value == "" else f"{value:.6f}" for value in values]
            rows.append([number, f"{self.images[number]:.2f}", region, *counts, *cells])
        return csv_text(header, rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics by number of training patients, for JSON."""
        return {
            "finished": self.finished,
            "patients": list(self.patients),
            "images": {str(number): images for number, images in self.images.items()},
            "summary": {str(number): one.to_dict()["summary"] for number, one in self._in_order()},
        }

    def _in_order(self) -> list[tuple[int, Comparison]]:
        return sorted(self.scores.items())

    def _by_region(self) -> list[tuple[int, str, Comparison]]:
        return [
            (number, region, one)
            for region in self.regions
            for number, one in self._in_order()
            if one.defined(region)
        ]

    def __repr__(self) -> str:
        means = (f"{n}: {one.summary()['dice'].mean:.4f}" for n, one in self._in_order())
        return f"LearningCurve({self.folder}; Dice by training patients {', '.join(means)})"

    def _repr_html_(self) -> str:
        table = html_table(CURVE_COLUMNS, self.rows(), "Scores by training patients", numeric=True)
        return table + (html_figure(self.figure(), "Learning curve") if self.scores else "")


def learning_curve(
    images: StrPath,
    masks: StrPath,
    output: StrPath,
    recipe: Recipe | StrPath | None,
    options: LearningCurveOptions,
    *,
    callbacks: TrainingCallbacks | None = None,
    evaluation_callbacks: EvaluationCallbacks | None = None,
) -> LearningCurve:
    """Cross-validate with training subsets of few and of more patients.

    Each number of training patients is a cross-validation with the same folds, so that each patient
    is tested once per number, by a network that was not trained on it. In a fold, the patients of a
    larger subset include those of the smaller ones.

    The same call continues an interrupted learning curve, and more numbers of patients extend it.
    Ctrl-C (or SIGTERM) stops after the current step.

    Parameters
    ----------
    images, masks:
        Folders of the images and their masks.
    output:
        Folder to write: a cross-validation ``patients-N`` per number, the table
        ``learning-curve.csv``, and the figure ``learning-curve.png``.
    recipe:
        As for `cross_validate`. The number of epochs is the same for all numbers of patients.
    options:
        Numbers of training patients, and folds.
    callbacks:
        Functions called during each training.
    evaluation_callbacks:
        Functions called during the evaluation of all images, for each number of patients.

    Returns
    -------
    LearningCurve

    Raises
    ------
    DataError
        The data cannot be used, there are too few patients, or a training subset lacks a label.
    RecipeError
        The recipe cannot be used.
    RunError
        The folder contains other files, or a learning curve with other data or settings.
    """
    images, masks, output = Path(images), Path(masks), Path(output)
    weights = options.initial_weights
    if recipe is None:
        recipe = load_recipe("exercise") if weights is None else fine_tuning_recipe(weights)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    _prepare(images, masks, output, recipe, options)
    result = LearningCurve(output, tuple(options.patients))
    for number in options.patients:
        folder = output / f"patients-{number}"
        content = read_record(folder / "evaluation.json")
        if not content:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*split file does not list", DataWarning)
                one = cross_validate(
                    images,
                    masks,
                    folder,
                    recipe,
                    CrossValidationOptions(
                        options.folds, options.progress, weights, number, options.seed
                    ),
                    callbacks=callbacks,
                    evaluation_callbacks=evaluation_callbacks,
                )
            if not one.finished:
                break
            content = read_record(folder / "evaluation.json")
        sizes = [run["subsets"]["training"] for run in content["runs"]]
        result = LearningCurve(
            output,
            result.patients,
            {**result.scores, number: Comparison.from_dict(content)},
            {**result.images, number: float(np.mean(sizes))},
        )
        write_text(output / "learning-curve.csv", result.to_csv())
        save_figure(result.figure(), output / "learning-curve.png")
    return result


def _prepare(
    images: Path, masks: Path, output: Path, recipe: Recipe, options: LearningCurveOptions
) -> None:
    """Check the subsets of all numbers of patients before the first training."""
    if not options.patients or len(set(options.patients)) < len(options.patients):
        raise DataError(
            "the numbers of training patients are missing, or one occurs twice",
            where="training patients",
            hint="pass different numbers, such as 1, 2, 4",
        )
    pairs = find_pairs(images, masks, recipe.data.class_masks, recipe.data.roi)
    folds = assign_folds(pairs, options.folds, recipe.split, images)
    for number in sorted(options.patients, reverse=True):
        require_labels(folds.splits(number, options.seed), pairs, recipe.data.classes)
    settings = {
        "format": 1,
        "folds": folds.count,
        "data": hash_pairs(pairs),
        "patients": folds.fingerprint(),
        "recipe": recipe.model_dump(mode="json", exclude={"split"}),
        "initial_weights": hash_initial_weights(options.initial_weights),
        "seed": options.seed,
    }
    write_settings(output / "learning-curve.json", settings, "learning curve")
