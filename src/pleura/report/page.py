"""A self-contained HTML page about many cases, which needs no network connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.figures.overlay import Window, grey_levels
from pleura.figures.preview import LUNG_WINDOW
from pleura.files.atomic import write_atomically

_PAGE = Path(__file__).with_name("page.html")
_SLICE_SIZE = 256  # pixels of the longer side of a slice
_THUMBNAIL_WIDTH = 384
BANDS = (0.0, 0.85, 0.9, 0.95, 1.0)
"""Limits of the bands of IoU; the last band includes 1."""


@dataclass(frozen=True)
class PagePicture:
    """A picture with contours.

    Parameters
    ----------
    image:
        The picture as a data URI.
    width, height:
        Its size in pixels.
    paths:
        Contours: kind, and SVG path in pixels of the picture.
    """

    image: str
    width: int
    height: int
    paths: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PageCase:
    """A case of the gallery and the table.

    Parameters
    ----------
    name:
        Name of the case.
    values:
        Value by column.
    flags:
        Reasons to check the case.
    picture:
        Picture of the gallery; None leaves the case out of the gallery.
    link:
        Relative address that the name links to.
    """

    name: str
    values: dict[str, Any]
    flags: tuple[str, ...] = ()
    picture: PagePicture | None = None
    link: str | None = None


@dataclass(frozen=True)
class Page:
    """Content of a page.

    Parameters
    ----------
    title, subtitle:
        Title, and the line below it.
    details:
        Names and values below the title.
    columns:
        Columns of the table of cases.
    cases:
        Cases, in the order of the gallery and the table.
    warnings:
        Warnings above the cases.
    summary:
        Header and rows of a table of statistics.
    plots:
        Plots, as `histogram`, `iou_histogram`, `line_plot` and `scatter_plot` return them.
    gallery_title:
        Title of the gallery.
    large_pictures:
        Show the pictures of the gallery larger.
    """

    title: str
    subtitle: str
    details: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    cases: tuple[PageCase, ...]
    warnings: tuple[str, ...] = ()
    summary: tuple[Sequence[str], Sequence[Sequence[Any]]] = ((), ())
    plots: tuple[dict[str, Any], ...] = field(default=())
    gallery_title: str = "Cases, worst first"
    large_pictures: bool = False

    def write(self, path: Path) -> None:
        """Write the page as HTML.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        content = asdict(self)
        content["summary"] = {"columns": self.summary[0], "rows": self.summary[1]}
        for i, case in enumerate(content["cases"]):
            case["index"] = i
        # A file name with "</script>" must not end the script.
        text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
        page = _PAGE.read_text("utf-8").replace("__DATA__", text)
        write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))


def slice_picture(
    image: NDArray[Any],
    masks: dict[str, NDArray[Any]],
    window: Window = LUNG_WINDOW,
) -> PagePicture:
    """Return a slice with the contours of masks.

    Parameters
    ----------
    image:
        (rows, columns).
    masks:
        Masks (rows, columns) by kind: ``reference``, ``right`` or ``left``.
    window:
        Values that are black and white.
    """
    grey = grey_levels(image, window)
    scale = min(1.0, _SLICE_SIZE / max(grey.shape))
    size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    paths = tuple((kind, _path(mask, scale)) for kind, mask in masks.items() if mask.any())
    return PagePicture(_uri(small, ".webp", 60), size[0], size[1], paths)


def thumbnail(picture: NDArray[np.uint8]) -> PagePicture:
    """Return a small copy of a picture uint8 (rows, columns, RGB)."""
    scale = min(1.0, _THUMBNAIL_WIDTH / picture.shape[1])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    small = cv2.resize(picture[..., ::-1], size, interpolation=cv2.INTER_AREA)
    return PagePicture(_uri(np.asarray(small, np.uint8), ".webp", 55), size[0], size[1])


def histogram(title: str, values: Sequence[float], bins: int = 24) -> dict[str, Any]:
    """Return a histogram of values."""
    counts, edges = np.histogram(np.asarray(values, float), bins)
    bars = [{"label": f"{a:.3g}", "count": int(n)} for n, a in zip(counts, edges, strict=False)]
    return {"title": title, "bars": bars}


def iou_histogram(values: Sequence[float]) -> dict[str, Any]:
    """Return a plot of the number of cases in each band of IoU."""
    counts, _ = np.histogram(np.asarray(values, float), BANDS)
    labels = [f"[{a:g}, {b:g})" for a, b in pairwise(BANDS[:-1])]
    labels.append(f"[{BANDS[-2]:g}, {BANDS[-1]:g}]")
    bars = [{"label": name, "count": int(n)} for name, n in zip(labels, counts, strict=True)]
    return {"title": "IoU bands", "bars": bars}


def line_plot(
    title: str, x: Sequence[float], series: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return a plot of lines with common x values."""
    return {"title": title, "x": list(x), "series": {k: list(v) for k, v in series.items()}}


def scatter_plot(
    title: str, values: Sequence[tuple[float, float]], levels: Mapping[str, float]
) -> dict[str, Any]:
    """Return a plot of points (x, y) with horizontal lines at named levels."""
    return {"title": title, "points": [list(p) for p in values], "levels": dict(levels)}


def _path(mask: NDArray[Any], scale: float) -> str:
    """Return the contours of a mask as an SVG path, in pixels of the scaled picture."""
    contours, _ = cv2.findContours(
        np.not_equal(mask, 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
    )
    parts = []
    for contour in contours:
        points = (contour[:, 0] + 0.5) * scale
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def _uri(picture: NDArray[np.uint8], kind: str, quality: int) -> str:
    _, content = cv2.imencode(kind, picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return f"data:image/{kind[1:]};base64," + base64.b64encode(content.tobytes()).decode()
