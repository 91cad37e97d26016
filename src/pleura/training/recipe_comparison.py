"""Paired comparison of two recipes, by their cross-validations of the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pleura.errors import RunError
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.scores import perfect_value
from pleura.evaluation.statistics import Difference, interval_text
from pleura.figures.html import html_table
from pleura.files.atomic import write_text
from pleura.files.listing import describe_wrong_path
from pleura.files.records import read_record
from pleura.files.tables import csv_text
from pleura.training.settings_record import CROSS_VALIDATION
from pleura.typing import StrPath

_METRICS = ("dice", "iou", "hd95")
_HIGHER_IS_BETTER = ("dice", "iou")

DIFFERENCE_COLUMNS = ("metric", "first", "second", "difference", "95 % CI", "p", "better", "worse")
"""Column titles of a table of differences."""


@dataclass(frozen=True, repr=False)
class RecipeComparison:
    """Result of `compare_recipes`.

    Parameters
    ----------
    folders:
        Names of both folders.
    first, second:
        Scores of the masks that the networks predict for the images of their folds.
    """

    folders: tuple[str, str]
    first: Comparison
    second: Comparison

    @property
    def regions(self) -> list[str]:
        """The regions that have differences: ``lungs``, or all labels and each class."""
        return [r for r in self.first.regions if self.first.defined(r) or self.second.defined(r)]

    def differences(self, region: str | None = None) -> dict[str, Difference]:
        """Return the difference of each metric, second minus first, over the cases of a region."""
        return self.first.differences(self.second, region)

    def case_differences(self, metric: str, region: str | None = None) -> dict[str, float]:
        """Return the difference of each case with the region in a mask, second minus first."""
        pairs = self._pairs(metric, region or self.first.main_region)
        return {case: second - first for case, _, _, first, second in pairs}

    def patient_differences(self, metric: str, region: str | None = None) -> dict[str, float]:
        """Return the mean difference over the cases of each patient, second minus first."""
        by_patient: dict[str, list[float]] = {}
        for _, patient, _, first, second in self._pairs(metric, region or self.first.main_region):
            by_patient.setdefault(patient, []).append(second - first)
        return {patient: float(np.mean(values)) for patient, values in by_patient.items()}

    def rows(self, region: str) -> list[list[str]]:
        """Return the cells below `DIFFERENCE_COLUMNS`; the last two count patients."""
        rows = []
        differences = self.differences(region)
        for metric in _METRICS:
            difference = differences[metric]
            pairs = self._pairs(metric, region)
            means = (float(np.mean([pair[i] for pair in pairs])) for i in (3, 4))
            sign = 1 if metric in _HIGHER_IS_BETTER else -1
            changes = [sign * v for v in self.patient_differences(metric, region).values()]
            rows.append(
                [
                    self._label(metric),
                    *(f"{mean:.4f}" for mean in means),
                    f"{difference.mean:+.4f}",
                    interval_text(difference.confidence_interval, "+.4f"),
                    f"{difference.p_value:.3g}",
                    str(sum(change > 0 for change in changes)),
                    str(sum(change < 0 for change in changes)),
                ]
            )
        return rows

    def to_csv(self) -> str:
        """Return a CSV table with one row per case, region and metric."""
        rows = [
            [case, patient, region, metric, unit, *(f"{v:.6g}" for v in (one, two, two - one))]
            for region in self.regions
            for metric in _METRICS
            for case, patient, unit, one, two in self._pairs(metric, region)
        ]
        header = ["case", "patient", "region", "metric", "unit", "first", "second", "difference"]
        return csv_text(header, rows)

    def write_csv(self, path: StrPath) -> None:
        """Write `to_csv` to a file.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        write_text(Path(path), self.to_csv())

    def to_dict(self) -> dict[str, Any]:
        """Return the differences by region and metric, over cases and by patient, for JSON."""
        return {
            "first": self.folders[0],
            "second": self.folders[1],
            "differences": {
                region: {name: asdict(one) for name, one in self.differences(region).items()}
                for region in self.regions
            },
            "patients": {
                region: {m: self.patient_differences(m, region) for m in _METRICS}
                for region in self.regions
            },
        }

    def _pairs(self, metric: str, region: str) -> list[tuple[str, str, str, float, float]]:
        """Return case, patient, unit and both values of the cases with the region in a mask."""
        others = {score.case: score for score in self.second.scores if score.region == region}
        pairs = []
        for one in self.first.scores:
            two = others.get(one.case)
            if one.region != region or two is None or not (one.metrics or two.metrics):
                continue
            perfect = perfect_value(metric)
            first, second = (score.metrics.get(metric, perfect) for score in (one, two))
            unit = "" if metric in _HIGHER_IS_BETTER else one.unit
            pairs.append((one.case, one.patient, unit, first, second))
        return pairs

    def _label(self, metric: str) -> str:
        scored = self.first if self.first.defined(self.regions[0]) else self.second
        return scored.metric_label(metric)

    def __repr__(self) -> str:
        difference = self.differences()["dice"]
        return (
            f"RecipeComparison({self.folders[0]}, {self.folders[1]}; Dice {difference.mean:+.4f}, "
            f"p = {difference.p_value:.3g})"
        )

    def _repr_html_(self) -> str:
        names = f"{self.folders[1]} minus {self.folders[0]}"
        return "".join(
            html_table(DIFFERENCE_COLUMNS, self.rows(region), f"{region}, {names}", numeric=True)
            for region in self.regions
        )


def compare_recipes(first: StrPath, second: StrPath) -> RecipeComparison:
    """Compare two recipes, case by case, by their cross-validations of the same images and folds.

    A case without lung (or label) in the reference, in which one network predicts it and the other
    does not, counts with the perfect values for the latter.

    Parameters
    ----------
    first, second:
        Folders that `cross_validate` has written.

    Returns
    -------
    RecipeComparison

    Raises
    ------
    RunError
        A folder contains no cross-validation, or one that is not finished; or their images, masks,
        patients, folds or labels differ.
    """
    folders = Path(first), Path(second)
    settings = [_settings_of(folder) for folder in folders]
    for title in settings[0]:
        if settings[0][title] != settings[1][title]:
            raise RunError(
                f"the two cross-validations have different {title}",
                where=folders[1],
                hint="cross-validate both recipes on the same images, with the same folds and "
                "patients",
            )
    names = folders[0].resolve().name, folders[1].resolve().name
    return RecipeComparison(names, *map(_scores_of, folders))


def _settings_of(folder: Path) -> dict[str, Any]:
    """Return what two cross-validations must have in common, by its name in errors."""
    record = read_record(folder / CROSS_VALIDATION)
    try:
        return {
            "images or masks": record["data"],
            "patients or excluded images": record["patients"],
            "numbers of folds": record["folds"],
            "folds": (folder / "folds.csv").read_bytes(),
            "labels": record["recipe"]["data"]["labels"],
        }
    except (KeyError, TypeError, OSError) as error:
        raise RunError(
            "the folder contains no cross-validation"
            if folder.is_dir()
            else describe_wrong_path(folder, "folder of a cross-validation"),
            where=folder,
            hint="pass a folder that `pleura cross-validate` wrote",
        ) from error


def _scores_of(folder: Path) -> Comparison:
    content = read_record(folder / "evaluation.json")
    try:
        return Comparison.from_dict(content)
    except (KeyError, TypeError) as error:
        raise RunError(
            "the cross-validation is not finished",
            where=folder,
            hint="repeat the command that started it to finish it",
        ) from error
