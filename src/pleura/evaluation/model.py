"""A model judged by its masks and by its probabilities, on the images' own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.evaluation.compare import (
    Comparison,
    Score,
    fingerprint,
    match_masks,
    orders_of,
    score_case,
)
from pleura.evaluation.probability import THRESHOLDS, Calibration, LevelCounts, calibration
from pleura.formats.read import read
from pleura.intensity.mapping import IntensityMapping, UnitsOption
from pleura.masks.labels import read_labels
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import Progress

Look = Callable[[str, NDArray[Any], NDArray[Any], NDArray[Any]], None]
"""Called with each case: its name, image, labels and reference, all (slices, rows, columns)."""


@dataclass(frozen=True)
class ModelEvaluation:
    """Scores of masks, and how the probabilities behind them were spread, by case.

    ``threshold`` is the model's own. Probabilities are as the network gives them, before cleaning.
    """

    threshold: float
    comparison: Comparison
    levels: Mapping[str, LevelCounts]
    flags: Mapping[str, tuple[str, ...]]

    @property
    def calibration(self) -> Calibration:
        """Whether probabilities are shares, over the pixels of all cases."""
        return calibration(list(self.levels.values()))

    def sweep(self) -> list[dict[str, float]]:
        """Return mean IoU and Dice over cases at each of `THRESHOLDS`: to choose on validation."""
        found = np.array([case.overlap() for case in self.levels.values()])  # (cases, 2, 19)
        defined = np.isfinite(found)
        means = np.where(defined, found, 0).sum(0) / np.maximum(defined.sum(0), 1)
        return [
            {"threshold": t, "iou": float(a), "dice": float(b)}
            for t, a, b in zip(THRESHOLDS, *means, strict=True)
        ]

    def to_dict(self, groups: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return all of it as what JSON can hold; with the summary of each group of cases."""
        told = {
            "threshold": self.threshold,
            **self.comparison.to_dict(),
            "flags": {case: list(flags) for case, flags in self.flags.items() if flags},
            "sweep": self.sweep(),
            "calibration": asdict(self.calibration),
        }
        if groups is not None:
            parts = self.comparison.by_group(groups)
            told["groups"] = {name: part.summary() for name, part in parts.items()}
        return told


def evaluate_model(
    model: str | Path | None,
    images: str | Path,
    masks: str | Path,
    *,
    units: UnitsOption = "auto",
    factor: float = 1.0,
    patients: Mapping[str, str] | None = None,
    look: Look | None = None,
    progress: Progress | None = None,
) -> ModelEvaluation:
    """Judge a model file, or the model that ships, the whole way: units, network, cleaning, sides.

    ``images`` and ``masks`` are two files, or two folders matched by name. ``factor`` is that of
    stored values to HU, where a set has one. ``patients`` maps cases to patients.

    Raises
    ------
    ModelError
        The file is no model of pleura.
    ScanError, DataError
        An image or mask cannot be read, has no partner, or lies on another grid.
    """
    pairs = match_masks(Path(images), Path(masks), "image")
    scores: list[Score] = []
    levels: dict[str, LevelCounts] = {}
    flags: dict[str, tuple[str, ...]] = {}
    with Segmenter(model) as segmenter:
        for i, (name, image, mask) in enumerate(pairs):
            patient = (patients or {}).get(name, name)
            case = _judge(segmenter, image, mask, units, factor)
            scores += score_case(name, patient, *case.labels, case.spacing)
            levels[name], flags[name] = case.levels, case.flags
            if look is not None:
                look(name, case.image(), *case.labels)
            if progress is not None:
                progress(i + 1, len(pairs))
        threshold = segmenter.threshold / 255
    files = fingerprint(file for _, *both in pairs for file in both)
    return ModelEvaluation(threshold, Comparison(tuple(scores), files), levels, flags)


@dataclass(frozen=True)
class _Case:
    image: Callable[[], NDArray[np.int16]]
    labels: tuple[NDArray[np.uint8], NDArray[np.int16]]
    spacing: tuple[float, ...] | None
    levels: LevelCounts
    flags: tuple[str, ...]


def _judge(
    segmenter: Segmenter, image: Path, mask: Path, units: UnitsOption, factor: float
) -> _Case:
    scan = read(image, units=units if factor == 1 else "hu")
    if factor != 1:
        scan = replace(scan, intensity=IntensityMapping(factor, 0, f"{factor:g} * HU"))
    reference = read_labels(mask)
    order, order_of_mask = orders_of(scan, reference)
    grid, own = order.apply_to(scan.geometry), order_of_mask.apply_to(reference.geometry)
    if not grid.fits(own):
        raise DataError(
            f"image and mask lie on different grids: {grid.difference(own)}",
            where=mask,
            hint="bring the mask onto the image's grid first",
        )
    found = segmenter.segment(scan, keep_probability=True, warn=False)
    probability = order.apply(np.asarray(found.probability))
    wanted = order_of_mask.apply(reference.hu())
    return _Case(
        lambda: order.apply(scan.hu()),
        (np.ascontiguousarray(order.apply(found.labels)), wanted),
        next((g.steps for g in (grid, own) if g.spacing_known), None),
        LevelCounts.of(probability, wanted > 0),
        tuple(flag.name for flag in found.flags),
    )
