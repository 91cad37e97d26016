"""Suspected label errors: reference masks that contradict their image or a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.opencv import cv2
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.errors import PleuraError
from pleura.intensity.mapping import IntensityMapping
from pleura.typing import BoolArray

PredictLung = Callable[[str, NDArray[np.int16]], NDArray[np.uint8]]
"""Predicts the lung probability times 255, uint8, from the name of a pair and its image in HU,
int16; both arrays are (slices, rows, columns)."""

MAX_AIR_OUTSIDE = 0.03
"""Fraction of the mask that is air around the patient."""
MAX_SOFT_TISSUE = 0.2
"""Fraction of the mask with the density of soft tissue."""
MAX_HOLES = 0.01
"""Area of holes with aerated lung, as a fraction of the mask."""
MAX_RAGGEDNESS = 1.25
"""Length of the mask's border, as a multiple of that of the smoothed mask."""
MAX_MISSING_LUNG = 0.01
"""Area of the largest missing piece of aerated lung, as a fraction of the slice."""
MAX_SHIFT = 3
"""Distance between the mask and the lung, in pixels of a slice of 256x256."""
MAX_DISAGREEMENT = 0.04
"""Pixels where a model contradicts the mask with high confidence, as a fraction of the mask."""

MIN_UPSIDE_DOWN_OFFSET = 0.15
"""Offset of the mediastinum below and of bone above the centre of the lungs, as a fraction of the
height of the lungs, from which a slice is upside down. Of 306 slices in the right orientation one
exceeds it; of the same slices upside down, 7 in 10."""

_AERATED_LUNG = -600.0  # HU; aerated lung is below
_SOFT_TISSUE = -200.0
_GAS = -960.0
_BONE = 150.0  # also contrast agent in the heart
_HIGH_CONFIDENCE = 0.95
_MIN_GAIN_OF_SHIFT = 0.02  # Dice

Problem = tuple[float, str]
"""The value of a criterion as a multiple of its limit, and a description."""


@dataclass(frozen=True, repr=False)
class SuspectedLabel:
    """A reference mask with a suspected label error.

    Parameters
    ----------
    pair:
        The image and the mask.
    score:
        Sum of all criteria that exceed their limits, each relative to its limit.
    reasons:
        Descriptions of the problems, in order of descending score.
    """

    pair: Pair
    score: float
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the image."""
        return self.pair.name

    def to_dict(self) -> dict[str, Any]:
        """Return the label as JSON-compatible values."""
        return {
            "name": self.name,
            "image": str(self.pair.image),
            "mask": str(self.pair.mask),
            "score": self.score,
            "reasons": self.reasons,
        }

    def __repr__(self) -> str:
        return f"<SuspectedLabel {self.name}, score {self.score:.2f}: {self.reasons[0]}>"


def find_label_errors(
    pairs: Sequence[Pair], mapping: IntensityMapping, predict: PredictLung | None = None
) -> tuple[list[SuspectedLabel], list[Pair]]:
    """Find masks with suspected label errors, and slices that are upside down.

    Parameters
    ----------
    pairs:
        Pairs that cannot be read are skipped.
    mapping:
        Maps the stored values of 2-D images to HU; slices of volumes are in HU already.
    predict:
        Predictions of a model to compare the masks with.

    Returns
    -------
    label_errors:
        In order of descending score.
    upside_down:
        Pairs without a label error that are upside down, or show a prone patient.
    """
    found: list[SuspectedLabel] = []
    rotated: list[Pair] = []
    reader = PairReader()
    for pair in pairs:
        try:
            image, mask = reader.read(pair)
        except PleuraError:
            continue
        hu = mapping.to_hu(image) if pair.index is None else image.astype(np.int16)
        problems = list(find_mask_problems(hu, mask))
        if not problems and is_upside_down(hu, mask):
            rotated.append(pair)
        if predict is not None:
            problems += find_disagreement(predict(pair.name, hu[None])[0], mask)
        if problems:
            problems.sort(reverse=True)
            score = sum(value for value, _ in problems)
            found.append(SuspectedLabel(pair, score, tuple(reason for _, reason in problems)))
    return sorted(found, key=lambda label: -label.score), rotated


def find_mask_problems(hu: NDArray[np.int16], mask: NDArray[np.uint8]) -> Iterator[Problem]:
    """Yield the criteria that a mask exceeds.

    Parameters
    ----------
    hu:
        int16 (rows, columns), in HU.
    mask:
        uint8 (rows, columns), 0 and 1.
    """
    smooth = _smooth(hu)
    outside = _air_outside(smooth)
    inside = mask > 0
    area = int(inside.sum())
    if area:
        fraction = float((inside & outside).sum() / area)
        if fraction > MAX_AIR_OUTSIDE:
            yield (
                fraction / MAX_AIR_OUTSIDE,
                f"{fraction:.0%} of the mask is air around the patient",
            )
        fraction = float((inside & (smooth > _SOFT_TISSUE)).sum() / area)
        if fraction > MAX_SOFT_TISSUE:
            yield (
                fraction / MAX_SOFT_TISSUE,
                f"{fraction:.0%} of the mask has the density of soft tissue",
            )
        fraction = float((_holes(mask) & (smooth < _AERATED_LUNG)).sum() / area)
        if fraction > MAX_HOLES:
            yield fraction / MAX_HOLES, f"holes with aerated lung, {fraction:.0%} of the mask"
        raggedness = _raggedness(mask) if area > 0.05 * mask.size else 1.0
        if raggedness > MAX_RAGGEDNESS:
            yield (
                raggedness / MAX_RAGGEDNESS,
                f"ragged border: {raggedness:.2f} times the length of the smoothed border",
            )
    lung = _aerated_lung(smooth, outside)
    fraction = float(_largest_missing_piece(lung, inside) / inside.size)
    if fraction > MAX_MISSING_LUNG:
        yield fraction / MAX_MISSING_LUNG, f"lung in {fraction:.1%} of the slice is not in the mask"
    if area and lung.any():
        shift = _shift(lung, inside)
        if shift >= MAX_SHIFT:
            pixels = shift * hu.shape[0] / 256
            yield shift / MAX_SHIFT, f"the mask is shifted from the lung by {pixels:.0f} pixels"


def is_upside_down(hu: NDArray[np.int16], mask: NDArray[np.uint8]) -> bool:
    """Whether a slice (rows, columns) has the spine at the top and the heart at the bottom.

    This is the case for a prone patient, and for an image that was saved upside down.
    """
    rows = np.nonzero(mask)[0]
    if len(rows) < mask.size // 50:
        return False
    hull = cv2.convexHull(np.argwhere(mask)[:, ::-1].astype(np.int32))
    filled = np.asarray(cv2.fillConvexPoly(np.zeros_like(mask), hull, 1))
    between = (filled > 0) & (mask == 0)
    columns = np.nonzero(mask)[1]
    half_width = int(0.2 * np.ptp(columns))
    centre = int(columns.mean())
    bone = np.nonzero(_smooth(hu)[:, max(centre - half_width, 0) : centre + half_width] > _BONE)[0]
    if not between.any() or not len(bone):
        return False
    height, middle = np.ptp(rows) + 1, rows.mean()
    heart_below = (np.nonzero(between)[0].mean() - middle) / height
    bone_above = (middle - bone.mean()) / height
    return bool(heart_below + bone_above > MIN_UPSIDE_DOWN_OFFSET)


def find_disagreement(probability: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[Problem]:
    """Return the disagreement of a model with a mask, if it exceeds its limit.

    Parameters
    ----------
    probability:
        uint8 (rows, columns), lung probability times 255.
    mask:
        uint8 (rows, columns), 0 and 1.
    """
    inside = mask > 0
    missing = int(((probability >= 255 * _HIGH_CONFIDENCE) & ~inside).sum())
    surplus = int(((probability <= 255 * (1 - _HIGH_CONFIDENCE)) & inside).sum())
    fraction = (missing + surplus) / max(int(inside.sum()), inside.size // 50)
    if fraction <= MAX_DISAGREEMENT:
        return []
    return [
        (
            fraction / MAX_DISAGREEMENT,
            f"the model disagrees with high confidence: {missing} pixels of lung are missing, "
            f"{surplus} pixels of the mask are not lung",
        )
    ]


def _smooth(picture: NDArray[np.generic], times: float = 1) -> NDArray[np.float32]:
    """Blur an image with an SD of 1/256 of its height, at least one pixel, times ``times``."""
    sigma = times * max(1.0, picture.shape[0] / 256)
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma)
    return np.asarray(blurred, np.float32)


def _air_outside(smooth: NDArray[np.floating]) -> BoolArray:
    """Return air and padding that are connected to the edge of the image."""
    air = np.pad((smooth < -400).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(air, None, (0, 0), 2)
    return np.asarray(air[1:-1, 1:-1] == 2)


def _aerated_lung(smooth: NDArray[np.floating], outside: BoolArray) -> BoolArray:
    """Return large regions inside the body with the density of aerated lung."""
    dark = (~outside & (smooth < _AERATED_LUNG)).astype(np.uint8)
    _, regions, statistics, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
    large = statistics[:, cv2.CC_STAT_AREA] >= 0.01 * dark.size
    large[0] = False
    for region in np.flatnonzero(large):
        large[region] = float(np.median(smooth[regions == region])) > _GAS
    return np.asarray(large[regions])


def _holes(mask: NDArray[np.uint8]) -> BoolArray:
    """Return the background that is enclosed by the mask."""
    around = np.pad((mask == 0).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(around, None, (0, 0), 2)
    return np.asarray(around[1:-1, 1:-1] == 1)


def _raggedness(mask: NDArray[np.uint8]) -> float:
    """Return the length of the mask's border divided by that of the smoothed mask."""
    inside = mask > 0
    lengths = []
    for region in (inside, _smooth(inside, 2) > 0.5):
        contours, _ = cv2.findContours(
            region.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        lengths.append(sum(cv2.arcLength(contour, True) for contour in contours))
    return lengths[0] / lengths[1] if lengths[1] else 1.0


def _largest_missing_piece(lung: BoolArray, mask: BoolArray) -> int:
    """Return the number of pixels in the largest connected piece of lung outside the mask."""
    _, pieces = cv2.connectedComponents((lung & ~mask).astype(np.uint8), connectivity=4)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return int(sizes.max(initial=0))


def _shift(lung: BoolArray, mask: BoolArray) -> float:
    """Return the shift of the mask that covers the lung best, in pixels of a slice of 256x256."""
    size = 256, 256
    first, second = (
        cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in (lung, mask)
    )
    (columns, rows), _ = cv2.phaseCorrelate(first.astype(np.float64), second.astype(np.float64))
    translation = np.array([[1.0, 0, -columns], [0, 1, -rows]])
    moved = cv2.warpAffine(second.astype(np.float32), translation, size)
    if _dice(first, np.asarray(moved)) < _dice(first, np.asarray(second)) + _MIN_GAIN_OF_SHIFT:
        return 0.0
    return float(np.hypot(columns, rows))


def _dice(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    both = np.minimum(first, second).sum()
    return float(2 * both / (first.sum() + second.sum()))
