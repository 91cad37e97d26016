"""Figures of images, masks and predictions: what a person looks at before trusting a number."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.figures.palette import PREDICTION, REFERENCE, TEXT, TEXT_ON_BLACK, rgb
from pleura.files.atomic import write_atomically
from pleura.typing import AnyArray

Window = tuple[float, float]
Band = tuple[float, float]

BANDS: tuple[Band, ...] = ((0.85, 0.9), (0.9, 0.95), (0.95, 1.0))

# Without these entries nothing tells which software wrote the file, or when.
_NO_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
}


@dataclass(frozen=True)
class PairPicture:
    """An image with its mask, before and after augmentation: arrays (rows, columns)."""

    name: str
    image: AnyArray
    mask: AnyArray
    augmented_image: AnyArray
    augmented_mask: AnyArray


@dataclass(frozen=True)
class ChosenCase:
    """A case to look at again: ``band`` is the place it fills, ``note`` says why it is there."""

    name: str
    iou: float
    band: str
    note: str


@dataclass(frozen=True)
class CasePicture:
    """A chosen case with its arrays (rows, columns), all on the image's grid."""

    case: ChosenCase
    image: AnyArray
    reference: AnyArray
    prediction: AnyArray


def choose_cases(
    scores: Mapping[str, float], bands: Sequence[Band] = BANDS, n: int = 4
) -> list[ChosenCase]:
    """Choose ``n`` cases by IoU: the middle one of each band, then the worst of all.

    A band holds its lower end but not its upper one, unless that is 1. An empty band is filled by
    the nearest case that is still free, and its note says so. No case comes twice, except where
    all are taken and an empty band must still be told of. Cases without IoU (NaN) are left out.
    """
    free = sorted((score, name) for name, score in scores.items() if not math.isnan(score))
    ranked = list(free)
    found: dict[Band, ChosenCase] = {}
    for band in bands:
        inside = [case for case in ranked if _distance(case[0], band) == 0]
        if inside:
            score, name = inside[len(inside) // 2]
            count = f"middle of {len(inside)}" if len(inside) > 1 else "the only one"
            found[band] = ChosenCase(name, score, _label(band), f"{count} in {_label(band)}")
            free.remove((score, name))
    for band in bands:
        if band not in found and ranked:
            score, name = min(free or ranked, key=lambda case: _distance(case[0], band))
            note = f"no image in {_label(band)}; this is the nearest"
            found[band] = ChosenCase(name, score, _label(band), note)
            free = [case for case in free if case != (score, name)]
    chosen = [found[band] for band in bands if band in found]
    for score, name in free[: max(0, n - len(chosen))]:
        which = f"the worst of {len(ranked)}" if (score, name) == ranked[0] else "worst of the rest"
        chosen.append(ChosenCase(name, score, "worst", which))
    return chosen[:n]


def pairs_figure(
    rows: Sequence[PairPicture], *, window: Window | None = None, title: str | None = None
) -> Figure:
    """Draw a row a pair: image, mask contour on it, and the same after augmentation.

    Grey values span ``window``, or the robust range of each original image.
    """
    headings = ("image", "mask contour", "augmented image", "augmented mask contour")
    figure, panels = _grid([row.image for row in rows for _ in headings], len(headings), 2.3, title)
    for row, axes in zip(rows, panels, strict=True):
        span = window or grey_range(row.image)
        for i, axis in enumerate(axes):
            _show(axis, row.image if i < 2 else row.augmented_image, span)
            if i % 2:
                _outline(axis, row.mask if i < 2 else row.augmented_mask, REFERENCE)
        axes[0].set_ylabel(_short(row.name), fontsize=8, color=TEXT)
    for axis, heading in zip(panels[0], headings, strict=True):
        axis.set_title(heading, fontsize=9, color=TEXT)
    return figure


def cases_figure(
    cases: Sequence[CasePicture], *, window: Window | None = None, title: str | None = None
) -> Figure:
    """Draw a column a case: the image, and enlarged below it the contours of both masks."""
    figure, panels = _grid([case.image for case in cases] * 2, len(cases), 3.0, title)
    for case, whole, enlarged in zip(cases, *panels, strict=True):
        span = window or grey_range(case.image)
        for axis in (whole, enlarged):
            _show(axis, case.image, span)
        # The wide line below the narrow one: both are seen where they agree.
        _outline(enlarged, case.reference, REFERENCE, width=2.6)
        _outline(enlarged, case.prediction, PREDICTION, width=1.0)
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


def contact_sheet(pictures: Sequence[AnyArray], titles: Sequence[str], columns: int = 5) -> Figure:
    """Draw pictures (rows, columns) or (rows, columns, RGB) under their titles, side by side."""
    figure, panels = _grid(pictures, columns, 2.0, None)
    for axis in panels.flat[len(pictures) :]:
        axis.set_visible(False)
    for axis, picture, title in zip(panels.flat, pictures, titles, strict=False):
        _show(axis, picture, grey_range(picture) if picture.ndim == 2 else None)
        axis.set_title(_short(title), fontsize=7, color=TEXT)
    return figure


def overlay(
    image: AnyArray, mask: AnyArray, window: Window | None = None, colour: str = PREDICTION
) -> NDArray[np.uint8]:
    """Return an RGB picture (rows, columns, 3) of the image's own size with the mask's contour.

    The contour is one pixel wide and lies in the mask: the pixels with a neighbour (of four)
    outside it, where outside the picture counts as outside. Grey values span ``window``, or the
    image's robust range.
    """
    low, high = window or grey_range(image)
    grey = np.clip((image.astype(np.float32) - low) / (high - low), 0, 1)
    picture = np.repeat(np.rint(grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    inside = np.not_equal(mask, 0).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    core = cv2.erode(inside, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    picture[inside > core] = rgb(colour)
    return picture


def grey_range(image: AnyArray) -> Window:
    """Return the values to show as black and white: the 0.5th and 99.5th percentile.

    They are taken in the inscribed circle alone, since scanners pad the corners outside it with
    values far below air.
    """
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in image.shape)
    low, high = np.percentile(image[y[:, None] ** 2 + x**2 <= 0.9], (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def save_figure(figure: Figure, path: Path, dpi: float = 150) -> None:
    """Write a figure as its suffix says (.png, .pdf, .svg), whole or not at all.

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
            hint=f"choose a name that ends in {', '.join('.' + known for known in _NO_METADATA)}",
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
    pictures: Sequence[AnyArray], columns: int, width: float, title: str | None
) -> tuple[Figure, NDArray[Any]]:
    """Make a figure with a panel of ``width`` inches a picture, as high as the highest needs."""
    if not pictures:
        raise ValueError("a figure needs at least one picture")
    rows = math.ceil(len(pictures) / columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(
        figsize=(columns * width + 0.2, rows * (width * tallest + 0.1) + 0.8),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, compress=True),
    )
    if title is not None:
        figure.suptitle(title, fontsize=11, color=TEXT)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis: Axes, picture: AnyArray, span: Window | None) -> None:
    low, high = span or (None, None)
    axis.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="hanning")
    axis.autoscale(False)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _outline(axis: Axes, mask: AnyArray, colour: str, width: float = 1.2) -> None:
    padded = np.pad(mask.astype(np.float32), 1)  # closes the contour at the picture's edge
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


def _case_title(case: CasePicture) -> str:
    notes = [case.case.note]
    notes += [
        f"{kind} empty"
        for kind, mask in (("reference", case.reference), ("prediction", case.prediction))
        if not mask.any()
    ]
    note = textwrap.fill("; ".join(notes), 46)
    return f"{_short(case.case.name)}\nIoU {case.case.iou:.3f}\n{note}"


def _enlarge(whole: Axes, enlarged: Axes, inside: NDArray[np.bool_]) -> None:
    """Limit a panel to the masks and their surroundings, and frame that part in the other."""
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


def _distance(score: float, band: Band) -> float:
    """Return 0 in the band, else how far from it; the upper end belongs to it only if it is 1."""
    low, high = band
    if low <= score < high or score == high == 1:
        return 0.0
    return max(low - score, score - high, 1e-12)


def _label(band: Band) -> str:
    low, high = band
    return f"[{low:g}, {high:g}{']' if high == 1 else ')'}"


def _short(name: str, most: int = 36) -> str:
    half = (most - 1) // 2
    short = name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
    return short.replace("$", r"\$")  # no formula
