"""Data of the plots of a page, with round ticks; ``plots.js`` draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BANDS = (0.0, 0.85, 0.9, 0.95, 1.0)
"""Limits of the bands of IoU; the last band includes 1."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """An axis.

    Parameters
    ----------
    label:
        What the axis shows, with its unit.
    low, high:
        Limits.
    ticks:
        Value and text of each tick.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Bar:
    """A bar from ``start`` to ``stop``; ``label`` describes this range."""

    start: float
    stop: float
    count: int
    label: str


@dataclass(frozen=True)
class Plot:
    """A plot of bars, lines or points.

    Parameters
    ----------
    title:
        Title of the plot.
    x, y:
        The axes.
    note:
        Text below the title.
    bars:
        Bars from 0 upwards.
    lines:
        Points (x, y) by the name of the line.
    points:
        Points x and y, with a name.
    levels:
        Height of horizontal lines by name; the legend names the first two.
    """

    title: str
    x: Axis
    y: Axis
    note: str = ""
    bars: tuple[Bar, ...] = ()
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()
    points: tuple[tuple[float, float, str], ...] = ()
    levels: tuple[tuple[str, float], ...] = ()


def axis(label: str, values: Sequence[float], *, max_ticks: int = 6) -> Axis:
    """Return an axis that covers all values, with ticks at multiples of 1, 2, 2.5 or 5 times 10^n.

    Parameters
    ----------
    label:
        What the axis shows, with its unit.
    values:
        Finite values; empty for an axis from 0 to 1.
    max_ticks:
        Maximum number of ticks.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = max(abs(low) / 10, 0.5) if high else 0.5
        low, high = low - margin, high + margin
    step = round_step((high - low) / (max_ticks - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last - first + 1 > max_ticks:
        step = round_step(step * 1.01)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    values_of_ticks = [i * step for i in range(first, last + 1)]
    ticks = tuple((value, _text(value, step)) for value in values_of_ticks)
    return Axis(label, first * step, last * step, ticks)


def round_step(step: float) -> float:
    """Return the smallest of 1, 2, 2.5 and 5 times a power of ten that is not below ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in _STEPS if factor * power >= step * (1 - 1e-9))


def _text(value: float, step: float) -> str:
    decimals = next((n for n in range(12) if math.isclose(step, round(step, n))), 12)
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if not any(digit in text for digit in "123456789") else text


def histogram(
    title: str, label: str, values: Sequence[float], counted: str = "Scans", n_bins: int = 16
) -> Plot:
    """Return a histogram with round limits of bins.

    Parameters
    ----------
    title, label:
        Title of the plot, and label of the x axis.
    values:
        Finite values, at least one.
    counted:
        What is counted, in plural, such as ``scans``: the label of the y axis.
    n_bins:
        Approximate number of bins.
    """
    low, high = min(values), max(values)
    width = round_step(max(high - low, 1e-6 * abs(high), 1e-6) / n_bins)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    edges = width * np.arange(first, last + 1)
    # Rounding must not move a value that equals an edge to the bin below it.
    indices = np.floor(np.asarray(values, float) / width + 1e-9).astype(int) - first
    counts = np.bincount(indices.clip(0, last - first - 1), minlength=last - first)
    bars = tuple(
        Bar(float(a), float(b), int(n), f"{_text(a, width)} to {_text(b, width)}")
        for (a, b), n in zip(pairwise(edges), counts, strict=True)
    )
    x = axis(label, [float(edges[0]), float(edges[-1])])
    return Plot(title, x, _count_axis(counted, counts.tolist()), bars=bars)


def iou_histogram(values: Sequence[float], counted: str = "Cases") -> Plot:
    """Return a plot of the number of cases in each band of IoU."""
    counts, _ = np.histogram(np.asarray(values, float), BANDS)
    labels = [f"[{a:g}, {b:g})" for a, b in pairwise(BANDS[:-1])]
    labels.append(f"[{BANDS[-2]:g}, {BANDS[-1]:g}]")
    bars = tuple(
        Bar(i, i + 1, int(n), label)
        for i, (n, label) in enumerate(zip(counts, labels, strict=True))
    )
    x = Axis("IoU", 0, len(bars), tuple((i + 0.5, label) for i, label in enumerate(labels)))
    return Plot("Cases by IoU", x, _count_axis(counted, counts.tolist()), bars=bars)


def line_plot(
    title: str,
    x: tuple[str, Sequence[float]],
    y_label: str,
    series: Mapping[str, Sequence[float]],
    note: str = "",
) -> Plot:
    """Return a plot of lines.

    Parameters
    ----------
    title, note:
        Title of the plot, and text below it.
    x:
        Label and values of the x axis, which all lines share.
    y_label:
        Label of the y axis.
    series:
        Values by the name of the line; values that are not finite are left out.
    """
    label, xs = x
    lines = tuple(
        (name, tuple((a, b) for a, b in zip(xs, values, strict=True) if math.isfinite(b)))
        for name, values in series.items()
    )
    ys = [y for _, points in lines for _, y in points]
    return Plot(title, axis(label, xs), axis(y_label, ys), note, lines=lines)


def scatter_plot(
    title: str,
    labels: tuple[str, str],
    points: Sequence[tuple[float, float, str]],
    levels: Mapping[str, float],
    note: str = "",
) -> Plot:
    """Return a plot of named points with horizontal lines.

    Parameters
    ----------
    title, note:
        Title of the plot, and text below it.
    labels:
        Labels of the x and y axis.
    points:
        x, y and name of each point.
    levels:
        Height of each horizontal line by its name; the legend names the first two.
    """
    x = axis(labels[0], [point[0] for point in points])
    y = axis(labels[1], [*(point[1] for point in points), *levels.values()])
    return Plot(title, x, y, note, points=tuple(points), levels=tuple(levels.items()))


def _count_axis(label: str, counts: Sequence[int]) -> Axis:
    """Return an axis from 0 with integer ticks."""
    highest = max(*counts, 1)
    step = max(1, math.ceil(round_step(highest / 4)))
    last = math.ceil(highest / step)
    ticks = tuple((float(i * step), f"{i * step:,}") for i in range(last + 1))
    return Axis(label, 0.0, float(last * step), ticks)
