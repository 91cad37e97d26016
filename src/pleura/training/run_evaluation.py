"""The result of evaluating a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pleura.evaluation.cases import Subset
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.model import ModelEvaluation
from pleura.figures.html import html_table
from pleura.training.versions import versions

GRID_COLUMNS = ("grid", "threshold", "mean IoU", "median", "min", "mean Dice", "both empty")
"""Column titles of the table of grids and thresholds."""


@dataclass(frozen=True, repr=False)
class RunEvaluation(ModelEvaluation):
    """Scores of a run's masks on each image's own grid, and its loss and overlap on all grids.

    Parameters
    ----------
    scores, fingerprint, label_decisions, threshold, histograms, flags, provenance:
        See `ModelEvaluation`; on each image's own grid, at the run's threshold.
    class_histograms, class_thresholds:
        See `ModelEvaluation`.
    run:
        Name of the run folder.
    subset:
        Evaluated subset of the run's split, or ``all``.
    losses, accuracies:
        By case, on the network's grid: mean cross-entropy, and fraction of correct pixels at
        probability 0.5, or for the most probable class.
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
        """Mean cross-entropy on the network's grid."""
        return float(np.mean(list(self.losses.values())))

    @property
    def accuracy(self) -> float:
        """Mean fraction of correct pixels on the network's grid."""
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
        """Return the text of the cells below `GRID_COLUMNS`; ``*`` marks the run's threshold.

        With several classes, each class has a row, and its name is in the first column.
        """
        rows = []
        for grid, by_threshold in self.overlaps.items():
            for threshold, one in by_threshold.items():
                mark = "*" if threshold == self.threshold else ""
                for region in one.regions:
                    summary = one.summary(region)
                    values = ["nan"] * 4
                    if summary:
                        iou, dice = summary["iou"], summary["dice"]
                        values = [f"{v:.4f}" for v in (iou.mean, iou.median, iou.min, dice.mean)]
                    empty = one.outcome_counts(region)["true_negative"]
                    name, limit = grid, f"{threshold:g}{mark}"
                    if self.class_thresholds:
                        of_class = self.class_thresholds.get(region)
                        name, limit = f"{grid}, {region}", f"{of_class:g}*" if of_class else "*"
                    rows.append([name, limit, *values, str(empty)])
        return rows

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Add loss, accuracy and the overlaps, such as ``iou_native_0.5``, to each row."""
        header, rows = super()._table()
        columns = [
            (
                f"{metric}_{grid}_{threshold:g}",
                {(s.case, s.region): s.metrics.get(metric) for s in one.scores},
            )
            for grid, by_threshold in self.overlaps.items()
            for threshold, one in by_threshold.items()
            for metric in ("iou", "dice")
        ]
        for row in rows:
            case, key = row[0], (row[0], row[header.index("region")])
            overlaps = (by.get(key, by.get((case, self.main_region))) for _, by in columns)
            numbers = self.losses[case], self.accuracies[case], *overlaps
            row += ["" if number is None else f"{number:.6f}" for number in numbers]
        return [*header, "loss", "network_accuracy", *(name for name, _ in columns)], rows

    def _repr_html_(self) -> str:
        caption = f"{self.run}, {self.subset}: loss {self.loss:.4f}, accuracy {self.accuracy:.4f}"
        return super()._repr_html_() + html_table(
            GRID_COLUMNS, self.grid_rows(), caption, numeric=True
        )


def _overlap_dict(one: Comparison) -> dict[str, Any]:
    regions = {
        region: {
            "outcomes": one.outcome_counts(region),
            "metrics": {name: asdict(summary) for name, summary in one.summary(region).items()},
            "cases": {s.case: dict(s.metrics) for s in one.scores if s.region == region},
        }
        for region in one.regions
    }
    classes = {name: values for name, values in regions.items() if name != one.main_region}
    return {**regions[one.main_region], **({"classes": classes} if classes else {})}
