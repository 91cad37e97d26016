"""One self-contained page about many cases: it opens from a disk, without a network."""

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

from pleura.figures.preview import LUNG_WINDOW
from pleura.files.atomic import write_atomically

_PAGE = Path(__file__).with_name("page.html")
_SIDE = 256  # of a case's picture
_WIDE = 384  # of a shrunken preview
BANDS = (0.0, 0.85, 0.9, 0.95, 1.0)
"""Of IoU, as the exercise has them; the last one takes 1 in."""


@dataclass(frozen=True)
class PagePicture:
    """A picture as a data URI, and contours over it: (kind, SVG path) in its pixels."""

    image: str
    width: int
    height: int
    paths: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PageCase:
    """A case of the gallery and the table; ``values`` by column."""

    name: str
    values: dict[str, Any]
    flags: tuple[str, ...] = ()
    picture: PagePicture | None = None
    link: str | None = None


@dataclass(frozen=True)
class Page:
    """What stands on the page; cases in the order of the gallery, worst first."""

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    cases: tuple[PageCase, ...]
    warnings: tuple[str, ...] = ()
    summary: tuple[Sequence[str], Sequence[Sequence[Any]]] = ((), ())
    plots: tuple[dict[str, Any], ...] = field(default=())
    gallery: str = "Cases, worst first"
    wide: bool = False

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        content = asdict(self)
        content["summary"] = {"columns": self.summary[0], "rows": self.summary[1]}
        for i, case in enumerate(content["cases"]):
            case["index"] = i
        # No "</script>" can end the block early, whatever a file is called.
        text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
        page = _PAGE.read_text("utf-8").replace("__DATA__", text)
        write_atomically(path, lambda file: file.write(page.encode(errors="backslashreplace")))


def slice_picture(
    image: NDArray[Any],
    masks: dict[str, NDArray[Any]],
    window: tuple[float, float] = LUNG_WINDOW,
) -> PagePicture:
    """Draw a slice (rows, columns) with contours of masks: ``reference``, ``right``, ``left``."""
    low, high = window
    grey = np.clip((image.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    scale = min(1.0, _SIDE / max(grey.shape))
    size = max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    paths = tuple((kind, _path(mask, scale)) for kind, mask in masks.items() if mask.any())
    return PagePicture(_uri(small, ".webp", 60), size[0], size[1], paths)


def shrunken(picture: NDArray[np.uint8]) -> PagePicture:
    """Return a picture (rows, columns, RGB) made small."""
    scale = min(1.0, _WIDE / picture.shape[1])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    small = cv2.resize(picture[..., ::-1], size, interpolation=cv2.INTER_AREA)
    return PagePicture(_uri(np.asarray(small, np.uint8), ".webp", 55), size[0], size[1])


def histogram(title: str, values: Sequence[float], bins: int = 24) -> dict[str, Any]:
    """Return a plot of how values are spread."""
    counts, edges = np.histogram(np.asarray(values, float), bins)
    bars = [{"label": f"{a:.3g}", "count": int(n)} for n, a in zip(counts, edges, strict=False)]
    return {"title": title, "bars": bars}


def iou_bands(values: Sequence[float]) -> dict[str, Any]:
    """Return a plot of how many cases lie in each band of IoU."""
    counts, _ = np.histogram(np.asarray(values, float), BANDS)
    labels = [f"[{a:g}, {b:g})" for a, b in pairwise(BANDS[:-1])]
    labels.append(f"[{BANDS[-2]:g}, {BANDS[-1]:g}]")
    bars = [{"label": name, "count": int(n)} for name, n in zip(labels, counts, strict=True)]
    return {"title": "IoU bands", "bars": bars}


def lines(title: str, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return a plot of lines over one axis."""
    return {"title": title, "x": list(x), "series": {k: list(v) for k, v in series.items()}}


def points(
    title: str, places: Sequence[tuple[float, float]], levels: Mapping[str, float]
) -> dict[str, Any]:
    """Return a plot of points (x, y), with horizontal lines at named levels."""
    return {"title": title, "points": [list(p) for p in places], "levels": dict(levels)}


def _path(mask: NDArray[Any], scale: float) -> str:
    """Return the contours of a mask as an SVG path, in pixels of the scaled picture."""
    found, _ = cv2.findContours(
        np.not_equal(mask, 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE
    )
    parts = []
    for contour in found:
        points = (contour[:, 0] + 0.5) * scale
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)


def _uri(picture: NDArray[np.uint8], kind: str, quality: int) -> str:
    _, content = cv2.imencode(kind, picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return f"data:image/{kind[1:]};base64," + base64.b64encode(content.tobytes()).decode()
