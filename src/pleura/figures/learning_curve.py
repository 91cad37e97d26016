"""Figure of a learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pleura.figures.backend import Figure
from pleura.figures.palette import TEXT, VALIDATION, label_colour


@dataclass(frozen=True)
class CurvePoint:
    """Mean Dice of the networks that were trained on a number of patients.

    Parameters
    ----------
    patients:
        Number of training patients.
    mean, interval:
        Mean over cases, and its 95 % interval over patients, if there are several.
    folds:
        Mean of each fold.
    """

    patients: int
    mean: float
    interval: tuple[float, float] | None
    folds: Sequence[float]


def learning_curve_figure(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """Plot mean Dice by number of training patients, with intervals and the mean of each fold.

    Parameters
    ----------
    curves:
        Points in order of the number of patients, by region.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, (region, points) in enumerate(curves.items()):
        colour = label_colour(i + 1) if len(curves) > 1 else VALIDATION
        numbers = [point.patients for point in points]
        for point in points:
            axes.plot(
                [point.patients] * len(point.folds), point.folds, ".", color=colour, alpha=0.4
            )
            if point.interval is not None:
                axes.plot([point.patients] * 2, point.interval, color=colour, linewidth=1.5)
        means = [point.mean for point in points]
        axes.plot(numbers, means, "o-", color=colour, label=region, linewidth=2)
    axes.set_xticks(sorted({point.patients for points in curves.values() for point in points}))
    axes.set_title("Dice of test patients", loc="left", fontsize=10, fontweight="bold", color=TEXT)
    axes.set_xlabel("Training patients", color=TEXT)
    axes.tick_params(colors=TEXT, length=3)
    axes.grid(color="0.88")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color("0.6")
    axes.legend(frameon=False, labelcolor=TEXT)
    figure.supxlabel(
        "circles: mean over cases; vertical lines: 95 % interval over patients; "
        "dots: mean of each fold",
        fontsize=8,
        color=TEXT,
    )
    return figure
