"""Readable names, units and definitions of the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quantity = Literal["fraction", "length", "area", "volume"]


@dataclass(frozen=True)
class MetricDescription:
    """How a metric is shown.

    Parameters
    ----------
    label:
        Name of the metric.
    definition:
        One sentence.
    quantity:
        What the value measures; a volume of a single slice is an area.
    """

    label: str
    definition: str
    quantity: Quantity = "fraction"


METRICS = {
    "dice": MetricDescription(
        "Dice", "Twice the size of the overlap of both masks, divided by the sum of their sizes."
    ),
    "iou": MetricDescription(
        "IoU", "Size of the overlap of both masks, divided by the size of their union."
    ),
    "precision": MetricDescription(
        "Precision", "Fraction of the predicted mask that is in the reference mask."
    ),
    "recall": MetricDescription(
        "Recall", "Fraction of the reference mask that is in the predicted mask."
    ),
    "accuracy": MetricDescription(
        "Accuracy", "Fraction of all voxels that agree; it is high for any mask of a small organ."
    ),
    "hd": MetricDescription(
        "Hausdorff distance", "Largest distance of a point of one surface from the other.", "length"
    ),
    "hd95": MetricDescription(
        "HD95",
        "95th percentile of the distances of one surface from the other, the larger of both.",
        "length",
    ),
    "assd": MetricDescription(
        "Mean surface distance", "Mean distance of both surfaces from each other (ASSD).", "length"
    ),
    "surface_dice_1": MetricDescription(
        "Surface Dice, 1 mm or px", "Fraction of both surfaces within 1 mm (or pixel) of the other."
    ),
    "surface_dice_2": MetricDescription(
        "Surface Dice, 2 mm or px",
        "Fraction of both surfaces within 2 mm (or pixels) of the other.",
    ),
    "surface_dice_3": MetricDescription(
        "Surface Dice, 3 mm or px",
        "Fraction of both surfaces within 3 mm (or pixels) of the other.",
    ),
    "volume_difference": MetricDescription(
        "Size difference", "Size of the predicted mask minus that of the reference mask.", "volume"
    ),
    "volume_error": MetricDescription(
        "Absolute size difference", "The size difference without its sign.", "volume"
    ),
    "largest_missed_area": MetricDescription(
        "Largest missed area",
        "Area of the largest connected part of the reference in a slice that is not predicted.",
        "area",
    ),
}
"""Description of each metric of `Score.metrics`."""


@dataclass(frozen=True)
class DisplayUnit:
    """The unit in which a metric is shown.

    Parameters
    ----------
    text:
        The unit; empty for a fraction.
    size:
        Size of the unit in the unit of the metric: 1000 for ml, if the metric is in mm3.
    decimals:
        Number of decimals to show.
    """

    text: str = ""
    size: float = 1.0
    decimals: int = 3

    def format(self, value: float) -> str:
        """Return a value of the metric in this unit, without the unit's name."""
        shown = value / self.size
        if self.decimals and 0 < abs(shown) < 0.5 * 10**-self.decimals:
            return f"{shown:.1g}" if abs(shown) >= 1e-4 else f"{shown:.0e}"
        text = f"{shown:,.{self.decimals}f}"
        return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


_UNITS = {
    ("length", "mm"): DisplayUnit("mm", decimals=2),
    ("length", "px"): DisplayUnit("pixels", decimals=2),
    ("area", "mm"): DisplayUnit("mm²", decimals=0),
    ("area", "px"): DisplayUnit("pixels", decimals=0),
}
_SIZE_UNITS = {
    (3, "mm"): DisplayUnit("ml", 1000.0, 1),
    (2, "mm"): DisplayUnit("cm²", 100.0, 2),
    (3, "px"): DisplayUnit("voxels", decimals=0),
    (2, "px"): DisplayUnit("pixels", decimals=0),
}


def display_unit(metric: str, unit: str, ndim: int) -> DisplayUnit:
    """Return the unit in which a metric is shown.

    Parameters
    ----------
    metric:
        Name of the metric.
    unit, ndim:
        See `Score`.
    """
    quantity = METRICS[metric].quantity
    if quantity == "volume":
        return _SIZE_UNITS[ndim, unit]
    return DisplayUnit() if quantity == "fraction" else _UNITS[quantity, unit]
