"""Reference masks that look wrong: each with its reasons in words, ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pairs import Pair, read_pair
from pleura.errors import PleuraError
from pleura.intensity.mapping import IntensityMapping
from pleura.typing import BoolArray

Probability = Callable[[str, NDArray[np.int16]], NDArray[np.uint8]]
"""From a pair's name and HU (slices, rows, columns) to the probability of lung times 255."""

OUTSIDE, DENSE, LEFT_OUT, OFF, DISAGREES = 0.03, 0.2, 0.01, 3, 0.04
HOLES, RAGGED = 0.01, 1.25
"""Limits: of the mask in the air around the patient; of it as dense as tissue; of the slice that
is lung and left out; pixels of a 256x256 slice that a mask is shifted; of the mask on which a model
disagrees surely; of the mask that is missing as holes with air in them; its border's length, in
that of a smooth one."""

PRONE = 0.15
"""Of the height of the lungs: how far what lies between them is below their middle, and bone above,
in a picture that is upside down. Of 306 slices the right way up one exceeds it; turned, 7 of 10."""

_LUNG = -600.0  # HU: aerated lung lies below
_TISSUE = -200.0
_GAS = -960.0
_BONE = 150.0  # and contrast medium, which lies in the heart
_SURE = 0.95


@dataclass(frozen=True)
class SuspectedLabel:
    """A reference that looks wrong; ``score`` ranks: 1 is at the limit, more is worse."""

    pair: Pair
    score: float
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """That of the image."""
        return self.pair.name


def find_label_errors(
    pairs: Sequence[Pair],
    line: IntensityMapping,
    probability: Probability | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[SuspectedLabel], list[Pair]]:
    """Return the pairs whose mask looks wrong, worst first, and those that lie upside down.

    Unreadable ones are passed over. ``line`` leads from HU to the values of pictures. With
    ``probability`` a model has its say too.
    """
    found, turned = [], []
    for i, pair in enumerate(pairs):
        try:
            image, mask = read_pair(pair)
        except PleuraError:
            continue
        hu = line.to_hu(image) if pair.index is None else image.astype(np.int16)
        doubts = list(find_mask_problems(hu, mask))
        if not doubts and upside_down(hu, mask):
            turned.append(pair)
        if probability is not None:
            doubts += disagreement(probability(pair.name, hu[None])[0], mask)
        if doubts:
            doubts.sort(reverse=True)
            score = sum(weight for weight, _ in doubts)
            reasons = tuple(reason for _, reason in doubts)
            found.append(SuspectedLabel(pair, score, reasons))
        if progress is not None:
            progress(i + 1, len(pairs))
    return sorted(found, key=lambda suspect: -suspect.score), turned


def find_mask_problems(
    hu: NDArray[np.int16], mask: NDArray[np.uint8]
) -> Iterator[tuple[float, str]]:
    """Yield (weight, reason) of what is odd about a mask (rows, columns) on its image in HU."""
    smooth = _smooth(hu)
    outside = _air_outside(smooth)
    inside = mask > 0
    total = int(inside.sum())
    if total:
        share = float((inside & outside).sum() / total)
        if share > OUTSIDE:
            yield share / OUTSIDE, f"{share:.0%} of the mask lies in the air around the patient"
        share = float((inside & (smooth > _TISSUE)).sum() / total)
        if share > DENSE:
            yield share / DENSE, f"{share:.0%} of the mask is as dense as soft tissue"
        share = float((_holes(mask) & (smooth < _LUNG)).sum() / total)
        if share > HOLES:
            yield share / HOLES, f"holes with lung in them, {share:.0%} of the mask"
        longer = _raggedness(mask) if total > 0.05 * mask.size else 1.0
        if longer > RAGGED:
            yield (
                longer / RAGGED,
                f"the border is ragged: {longer:.2f} times as long as a smooth one",
            )
    lung = _lung_seen(smooth, outside)
    share = float(_left_out(lung, inside) / inside.size)
    if share > LEFT_OUT:
        yield share / LEFT_OUT, f"lung in {share:.1%} of the slice is left out"
    if total and lung.any():
        off = _shift(lung, inside)
        if off >= OFF:
            yield off / OFF, f"the mask lies {off * hu.shape[0] / 256:.0f} pixels beside the lung"


def upside_down(hu: NDArray[np.int16], mask: NDArray[np.uint8]) -> bool:
    """Whether a slice shows the spine on top and the heart below, by its right mask.

    So does a prone patient, or a picture that was saved upside down.
    """
    rows = np.nonzero(mask)[0]
    if len(rows) < mask.size // 50:
        return False
    hull = cv2.convexHull(np.argwhere(mask)[:, ::-1].astype(np.int32))
    filled = np.asarray(cv2.fillConvexPoly(np.zeros_like(mask), hull, 1))
    between = (filled > 0) & (mask == 0)
    columns = np.nonzero(mask)[1]
    reach = int(0.2 * np.ptp(columns))
    centre = int(columns.mean())
    bone = np.nonzero(_smooth(hu)[:, max(centre - reach, 0) : centre + reach] > _BONE)[0]
    if not between.any() or not len(bone):
        return False
    height, middle = np.ptp(rows) + 1, rows.mean()
    heart_below = (np.nonzero(between)[0].mean() - middle) / height
    bone_above = (middle - bone.mean()) / height
    return bool(heart_below + bone_above > PRONE)


def disagreement(
    probability: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> list[tuple[float, str]]:
    """Return (weight, reason) where a model is sure of what a mask (rows, columns) denies."""
    inside = mask > 0
    missed = int(((probability >= 255 * _SURE) & ~inside).sum())
    invented = int(((probability <= 255 * (1 - _SURE)) & inside).sum())
    share = (missed + invented) / max(int(inside.sum()), inside.size // 50)
    if share <= DISAGREES:
        return []
    sides = f"{missed} pixels of lung are left out, {invented} are none"
    return [(share / DISAGREES, f"the model is sure that {sides}")]


def _smooth(picture: NDArray[np.generic], times: float = 1) -> NDArray[np.float32]:
    """Blur a picture by a 256th of its height, a pixel at least, or by so many times as much."""
    sigma = times * max(1.0, picture.shape[0] / 256)
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma)
    return np.asarray(blurred, np.float32)


def _air_outside(smooth: NDArray[np.floating]) -> BoolArray:
    """Return the air, and the padding, that reaches the picture's rim."""
    air = np.pad((smooth < -400).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(air, None, (0, 0), 2)
    return np.asarray(air[1:-1, 1:-1] == 2)


def _lung_seen(smooth: NDArray[np.floating], outside: BoolArray) -> BoolArray:
    """Return what is plainly aerated lung: large, inside the body, and no gas."""
    dark = (~outside & (smooth < _LUNG)).astype(np.uint8)
    _, pieces, figures, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
    large = figures[:, cv2.CC_STAT_AREA] >= 0.01 * dark.size
    large[0] = False
    for piece in np.flatnonzero(large):
        large[piece] = float(np.median(smooth[pieces == piece])) > _GAS
    return np.asarray(large[pieces])


def _holes(mask: NDArray[np.uint8]) -> BoolArray:
    """Return what a mask closes in."""
    around = np.pad((mask == 0).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 2)
    return np.asarray(around[1:-1, 1:-1] == 1)


def _raggedness(mask: NDArray[np.uint8]) -> float:
    """Return the length of a mask's border, in that of the smoothed mask."""
    inside = mask > 0
    lengths = []
    for one in (inside, _smooth(inside, 2) > 0.5):
        contours, _ = cv2.findContours(one.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        lengths.append(sum(cv2.arcLength(contour, True) for contour in contours))
    return lengths[0] / lengths[1] if lengths[1] else 1.0


def _left_out(lung: BoolArray, mask: BoolArray) -> int:
    """Return the pixels of lung, in pieces that the mask hardly touches."""
    _, pieces = cv2.connectedComponents((lung & ~mask).astype(np.uint8), connectivity=4)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return int(sizes.max(initial=0))


def _shift(lung: BoolArray, mask: BoolArray) -> float:
    """Return by how much the mask has to move to cover the lung best, in 256ths of the rows."""
    size = 256, 256
    first, second = (
        cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in (lung, mask)
    )
    (columns, rows), _ = cv2.phaseCorrelate(first.astype(np.float64), second.astype(np.float64))
    back = np.array([[1.0, 0, -columns], [0, 1, -rows]])
    moved = cv2.warpAffine(second.astype(np.float32), back, size)
    if _overlap(first, np.asarray(moved)) < _overlap(first, np.asarray(second)) + _BETTER:
        return 0.0
    return float(np.hypot(columns, rows))


_BETTER = 0.02  # Dice that a shift has to gain


def _overlap(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    both = np.minimum(first, second).sum()
    return float(2 * both / (first.sum() + second.sum()))
