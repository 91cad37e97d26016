"""The result of a search over recipe keys: its trials, and the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pleura.evaluation.scores import LUNGS
from pleura.figures.html import html_table
from pleura.files.tables import csv_text
from pleura.names import counted
from pleura.training.run import Run
from pleura.training.search_space import describe_values, value_text
from pleura.training.versions import versions


@dataclass(frozen=True, repr=False)
class SearchTrial:
    """A finished trial of a search, with its scores on the validation images.

    Parameters
    ----------
    number:
        Number of the trial, from 1.
    values:
        Value by recipe key.
    run:
        The run.
    cross_entropy:
        Mean cross-entropy on the network's grid, whatever the loss of the recipe; None if the
        training diverged.
    dice, iou:
        Mean over cases by region, on the grids of the images: ``lungs``, or each of several
        classes. Empty if the training diverged.
    """

    number: int
    values: Mapping[str, Any]
    run: Run
    cross_entropy: float | None
    dice: Mapping[str, float]
    iou: Mapping[str, float]

    @property
    def score(self) -> float:
        """The mean Dice over the regions, by which trials are compared; -1 if it diverged."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else -1.0

    @property
    def diverged(self) -> bool:
        """Whether the training stopped with an infinite loss."""
        return self.cross_entropy is None

    @property
    def epochs(self) -> int:
        """Number of trained epochs."""
        return len(self.run.history())

    @property
    def seconds(self) -> float:
        """Time of the steps of the training in seconds."""
        return sum(row["seconds"] for row in self.run.history())

    def __repr__(self) -> str:
        text = "diverged" if self.diverged else f"validation Dice {self.score:.4f}"
        return f"SearchTrial({self.number}: {describe_values(self.values)}; {text})"

    def _repr_html_(self) -> str:
        return html_table((), [*self.values.items(), ("validation Dice", f"{self.score:.4f}")])


@dataclass(frozen=True, repr=False)
class RecipeSearch:
    """Result of `search_recipes`.

    Parameters
    ----------
    folder:
        The output folder.
    count:
        Number of trials of the search.
    trials:
        The trials that are finished; all of them unless the search was interrupted.
    """

    folder: Path
    count: int
    trials: tuple[SearchTrial, ...]

    @property
    def finished(self) -> bool:
        """Whether all trials are finished."""
        return len(self.trials) == self.count

    @property
    def best(self) -> SearchTrial | None:
        """The first of the trials with the highest mean Dice; None if there is none."""
        usable = [trial for trial in self.trials if not trial.diverged]
        return max(usable, key=lambda trial: trial.score, default=None)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return titles and cells of the table of trials; ``*`` marks the best one."""
        keys = list(self.trials[0].values) if self.trials else []
        regions = self._regions()
        several = len(regions) > 1
        scores = ["Dice", *(f"Dice {region}" for region in regions if several)]
        header = ["trial", *keys, *scores, "IoU", "cross-entropy", "epochs", "seconds"]
        rows = []
        for trial in self.trials:
            mark = "*" if trial is self.best else ""
            by_region = (trial.dice.get(region) for region in regions if several)
            numbers = [trial.score, *by_region, _mean(trial.iou), trial.cross_entropy]
            cells = ["" if n is None or trial.diverged else f"{n:.4f}" for n in numbers]
            if trial.diverged:
                cells[0] = "diverged"
            values = map(value_text, trial.values.values())
            times = str(trial.epochs), f"{trial.seconds:.1f}"
            rows.append([f"{trial.number}{mark}", *values, *cells, *times])
        return header, rows

    def to_csv(self) -> str:
        """Return a CSV table with one row per trial."""
        keys = list(self.trials[0].values) if self.trials else []
        regions = self._regions()
        classes = [f"{metric}_{r}" for r in regions for metric in ("dice", "iou") if r != LUNGS]
        scores = [f"validation_{name}" for name in ("cross_entropy", "dice", "iou", *classes)]
        rows = []
        for trial in self.trials:
            numbers = [trial.cross_entropy, trial.score, _mean(trial.iou)]
            for region in regions if classes else ():
                numbers += [trial.dice.get(region), trial.iou.get(region)]
            cells = [f"{n:.6f}" if n is not None and not trial.diverged else "" for n in numbers]
            state = "diverged" if trial.diverged else "finished"
            values = map(value_text, trial.values.values())
            times = trial.epochs, f"{trial.seconds:.2f}"
            rows.append([trial.number, *values, state, *cells, *times])
        return csv_text(["trial", *keys, "state", *scores, "epochs", "seconds"], rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the trials, for JSON."""
        return {
            "count": self.count,
            "finished": self.finished,
            "best": self.best and self.best.number,
            "trials": [
                {
                    "trial": trial.number,
                    "run": trial.run.folder.name,
                    "values": dict(trial.values),
                    "diverged": trial.diverged,
                    "validation_cross_entropy": trial.cross_entropy,
                    "validation_dice": dict(trial.dice),
                    "validation_iou": dict(trial.iou),
                    "epochs": trial.epochs,
                    "seconds": trial.seconds,
                }
                for trial in self.trials
            ],
            "versions": versions(),
        }

    def _regions(self) -> list[str]:
        return list(dict.fromkeys(region for trial in self.trials for region in trial.dice))

    def __repr__(self) -> str:
        done = f"{len(self.trials)} of {counted(self.count, 'trial')}"
        best = f"; best {describe_values(self.best.values)}" if self.best else ""
        return f"RecipeSearch({self.folder}; {done}{best})"

    def _repr_html_(self) -> str:
        header, rows = self.table()
        caption = f"{len(self.trials)} of {counted(self.count, 'trial')}, on the validation images"
        return html_table(header, rows, caption, numeric=True)


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values) if values else 0.0
