"""Selection of the cases that a figure shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Band = tuple[float, float]
"""Range of IoU. The lower limit is included; the upper one is not, unless it is 1."""

BANDS: tuple[Band, ...] = ((0.85, 0.9), (0.9, 0.95), (0.95, 1.0))


@dataclass(frozen=True)
class ChosenCase:
    """A case that a figure shows.

    Attributes
    ----------
    name, iou:
        Name of the case and its IoU.
    band:
        The band that the case represents, or ``worst``.
    note:
        Why the case was chosen.
    """

    name: str
    iou: float
    band: str
    note: str


def choose_cases(
    scores: Mapping[str, float], bands: Sequence[Band] = BANDS, n_cases: int = 4
) -> list[ChosenCase]:
    """Choose cases by IoU: the median of each band, then the worst of all.

    For an empty band, the nearest case that is not chosen yet is used, or the nearest of all if
    there is none. Cases with an undefined IoU (NaN) are ignored.

    Parameters
    ----------
    scores:
        IoU of each case.
    bands:
        Ranges of IoU.
    n_cases:
        Maximum number of cases.
    """
    ranked = sorted((score, name) for name, score in scores.items() if not math.isnan(score))
    remaining = list(ranked)
    by_band: dict[Band, ChosenCase] = {}
    for band in bands:
        inside = [case for case in ranked if _distance(case[0], band) == 0]
        if inside:
            score, name = inside[len(inside) // 2]
            count = f"median of {len(inside)}" if len(inside) > 1 else "the only one"
            by_band[band] = ChosenCase(name, score, _label(band), f"{count} in {_label(band)}")
            remaining.remove((score, name))
    for band in bands:
        if band not in by_band and ranked:
            score, name = min(remaining or ranked, key=lambda case: _distance(case[0], band))
            note = f"no image in {_label(band)}; this is the nearest"
            by_band[band] = ChosenCase(name, score, _label(band), note)
            remaining = [case for case in remaining if case != (score, name)]
    chosen = [by_band[band] for band in bands if band in by_band]
    for score, name in remaining[: max(0, n_cases - len(chosen))]:
        is_worst = (score, name) == ranked[0]
        note = f"the worst of {len(ranked)}" if is_worst else "the worst of the others"
        chosen.append(ChosenCase(name, score, "worst", note))
    return chosen[:n_cases]


def _distance(score: float, band: Band) -> float:
    """Return the distance of a score from a band, 0 inside."""
    low, high = band
    if low <= score < high or score == high == 1:
        return 0.0
    return max(low - score, score - high, 1e-12)


def _label(band: Band) -> str:
    low, high = band
    return f"[{low:g}, {high:g}{']' if high == 1 else ')'}"
