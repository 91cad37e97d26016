"""Matplotlib figures of images, masks and predictions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.figures.backend import Axes, ConstrainedLayoutEngine, Figure, Line2D, Rectangle
from pleura.figures.cases import ChosenCase
from pleura.figures.label_layers import label_layers
from pleura.figures.overlay import Window, grey_range
from pleura.figures.palette import PREDICTION, REFERENCE, TEXT, TEXT_ON_BLACK, label_colour
from pleura.files.atomic import write_atomically
from pleura.typing import AnyArray, BoolArray

# Without these entries, files would contain the software and the date, and differ in each run.
_NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
}


@dataclass(frozen=True)
class PairImages:
    """An image with its mask before and after augmentation: arrays (rows, columns).

    With ``is_label_map``, the contour of each label of the masks has its own colour.
    """

    name: str
    image: AnyArray
    mask: AnyArray
    augmented_image: AnyArray
    augmented_mask: AnyArray
    is_label_map: bool = False


@dataclass(frozen=True)
class CaseImages:
    """Image, reference and prediction of a chosen case: arrays (rows, columns) on one grid.

    Masks are 0 and 1, or label maps, of which the contours of all labels are shown.
    """

    case: ChosenCase
    image: AnyArray
    reference: AnyArray
    prediction: AnyArray


def pairs_figure(
    rows: Sequence[PairImages], *, window: Window | None = None, title: str | None = None
) -> Figure:
    """Plot one row per pair: image, contour of the mask, and both after augmentation.

    Parameters
    ----------
    rows:
        The pairs.
    window:
        Values that are shown black and white; by default `grey_range` of each original image.
    title:
        Title of the figure.
    """
    headings = ("Image", "Mask", "Augmented image", "Augmented mask")
    figure, panels = _grid([row.image for row in rows for _ in headings], len(headings), 2.3, title)
    for row, axes in zip(rows, panels, strict=True):
        limits = window or grey_range(row.image)
        for i, axis in enumerate(axes):
            _show(axis, row.image if i < 2 else row.augmented_image, limits)
            if i % 2:
                mask = row.mask if i < 2 else row.augmented_mask
                if not row.is_label_map:
                    _plot_contour(axis, mask, REFERENCE)
                    continue
                for label, inside in label_layers(mask):
                    _plot_contour(axis, inside, label_colour(label))
        axes[0].set_ylabel(_shorten(row.name), fontsize=8, color=TEXT)
    for axis, heading in zip(panels[0], headings, strict=True):
        axis.set_title(heading, fontsize=9, color=TEXT)
    return figure


def cases_figure(
    cases: Sequence[CaseImages], *, window: Window | None = None, title: str | None = None
) -> Figure:
    """Plot one column per case: the image, and enlarged below it the contours of both masks.

    Parameters
    ----------
    cases:
        The cases.
    window:
        Values that are shown black and white; by default `grey_range` of each image.
    title:
        Title of the figure.
    """
    figure, panels = _grid([case.image for case in cases] * 2, len(cases), 3.0, title)
    for case, whole, enlarged in zip(cases, *panels, strict=True):
        limits = window or grey_range(case.image)
        for axis in (whole, enlarged):
            _show(axis, case.image, limits)
        # The wide line is below the narrow one: both are visible where they coincide.
        for mask, colour, width in (
            (case.reference, REFERENCE, 2.6),
            (case.prediction, PREDICTION, 1),
        ):
            for _, inside in label_layers(mask):
                _plot_contour(enlarged, inside, colour, width=width)
        _enlarge(whole, enlarged, (case.reference > 0) | (case.prediction > 0))
        whole.set_title(_case_title(case), fontsize=9, color=TEXT)
    figure.legend(
        handles=[
            Line2D([], [], color=REFERENCE, linewidth=2.6, label="reference"),
            Line2D([], [], color=PREDICTION, linewidth=1.0, label="prediction"),
        ],
        loc="outside lower center",
        ncols=2,
        facecolor=TEXT,
        edgecolor=TEXT,
        framealpha=1,
        fontsize=9,
        labelcolor=TEXT_ON_BLACK,
    )
    return figure


def contact_sheet(images: Sequence[AnyArray], titles: Sequence[str], columns: int = 5) -> Figure:
    """Plot images (rows, columns) or (rows, columns, 3) with titles in a grid."""
    figure, panels = _grid(images, columns, 2.0, None)
    for axis in panels.flat[len(images) :]:
        axis.set_visible(False)
    for axis, image, title in zip(panels.flat, images, titles, strict=False):
        _show(axis, image, grey_range(image) if image.ndim == 2 else None)
        axis.set_title(_shorten(title), fontsize=7, color=TEXT)
    return figure


def image_figure(image: AnyArray, dpi: float = 100) -> Figure:
    """Plot one image (rows, columns, 3) at its own resolution, without axes."""
    rows, columns = image.shape[:2]
    figure = Figure(figsize=(columns / dpi, rows / dpi), dpi=dpi)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(image, interpolation="none")
    axis.set_axis_off()
    return figure


def save_figure(figure: Figure, path: Path, dpi: float = 150) -> None:
    """Write a figure atomically; the suffix (.png, .pdf, .svg) selects the format.

    Raises
    ------
    DataError
        The suffix is another one, or the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _NO_METADATA:
        raise DataError(
            f"a figure cannot be written as '{path.suffix}'",
            where=path,
            hint=f"choose a name that ends in {', '.join('.' + suffix for suffix in _NO_METADATA)}",
        )
    write_atomically(
        path,
        lambda file: figure.savefig(
            file,
            format=kind,
            dpi=dpi,
            bbox_inches="tight",
            pad_inches=0.1,
            metadata=_NO_METADATA[kind],
        ),
    )


def _grid(
    images: Sequence[AnyArray], columns: int, width: float, title: str | None
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure with panels of ``width`` inches that fit the tallest image."""
    if not images:
        raise ValueError("a figure needs at least one image")
    rows = math.ceil(len(images) / columns)
    aspect = max(image.shape[0] / image.shape[1] for image in images)
    figure = Figure(
        figsize=(columns * width + 0.2, rows * (width * aspect + 0.1) + 0.8),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, compress=True),
    )
    if title is not None:
        figure.suptitle(title, fontsize=11, color=TEXT)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis: Axes, image: AnyArray, limits: Window | None) -> None:
    low, high = limits or (None, None)
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="hanning")
    axis.autoscale(False)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _plot_labels(axis: Axes, mask: AnyArray, colour: str, width: float) -> None:
    for _, inside in label_layers(mask):
        _plot_contour(axis, inside, colour, width)


def _plot_contour(axis: Axes, mask: AnyArray, colour: str, width: float = 1.2) -> None:
    padded = np.pad(mask.astype(np.float32), 1)  # closes the contour at the border of the image
    if padded.max() <= 0.5:
        return
    rows, columns = padded.shape
    axis.contour(
        np.arange(columns) - 1,
        np.arange(rows) - 1,
        padded,
        levels=[0.5],
        colors=[colour],
        linewidths=[width],
    )


def _case_title(case: CaseImages) -> str:
    notes = [case.case.note]
    notes += [
        f"{kind} empty"
        for kind, mask in (("reference", case.reference), ("prediction", case.prediction))
        if not mask.any()
    ]
    note = textwrap.fill("; ".join(notes), 46)
    return f"{_shorten(case.case.name)}\nIoU {case.case.iou:.3f}\n{note}"


def _enlarge(whole: Axes, enlarged: Axes, inside: BoolArray) -> None:
    """Limit one panel to the masks and their surroundings, and outline that part in the other."""
    rows, columns = inside.shape
    ys, xs = np.nonzero(inside)
    if not len(ys):
        return
    share = max(np.ptp(ys) / rows, np.ptp(xs) / columns) + 0.1
    height, width = (side * min(1.0, max(share, 0.3)) for side in (rows, columns))
    top = np.clip((ys.min() + ys.max() + 1 - height) / 2, 0, rows - height) - 0.5
    left = np.clip((xs.min() + xs.max() + 1 - width) / 2, 0, columns - width) - 0.5
    enlarged.set(xlim=(left, left + width), ylim=(top + height, top))
    whole.add_patch(
        Rectangle((left, top), width, height, fill=False, edgecolor="white", linewidth=0.6)
    )


def _shorten(name: str, length: int = 36) -> str:
    half = (length - 1) // 2
    short = name if len(name) <= length else f"{name[:half]}…{name[-half:]}"
    return short.replace("$", r"\$")  # matplotlib renders text between dollar signs as a formula
