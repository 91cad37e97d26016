"""The check of a data set for a cascade: which part of each label is outside the lungs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pleura.dataset.check_report import CheckReport, Finding
from pleura.dataset.lung_input import LungInput
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.sources import collect_pairs
from pleura.errors import PleuraError
from pleura.names import counted
from pleura.scan.labels import Label
from pleura.training.lungs import open_lungs
from pleura.training.recipe import Recipe
from pleura.typing import Progress

WARNING_FRACTION = 0.01
"""Smallest part of a label outside the lungs that is a warning."""


def with_lung_findings(
    report: CheckReport, recipe: Recipe, progress: Progress | None = None
) -> CheckReport:
    """Add findings on the lungs of a cascade to a report; the lungs of all images are found.

    Parameters
    ----------
    report:
        The report of the data set; with errors, it is returned as it is.
    recipe:
        The recipe; without the section `data.lungs`, the report is returned as it is.
    progress:
        Called with the number of images that are done, and of all images.
    """
    if not report.fit_to_train:
        return report
    data = recipe.data
    pairs = collect_pairs(report.images, report.masks, (), data.class_masks, data.roi)
    try:
        lungs = open_lungs(recipe, pairs)
        if lungs is None:
            return report
        findings = tuple(_findings(pairs, lungs, data.classes, progress))
    except PleuraError as error:
        findings = (Finding("error", "labels", error.message, (), error.hint),)
    return replace(report, findings=(*report.findings, *findings))


def _findings(
    pairs: Sequence[Pair], lungs: LungInput, labels: tuple[Label, ...], progress: Progress | None
) -> Iterator[Finding]:
    total, outside = np.zeros(len(labels) + 1, np.int64), np.zeros(len(labels) + 1, np.int64)
    without: list[Pair] = []
    reader = PairReader(labels)
    for i, pair in enumerate(pairs):
        _, mask = reader.read(pair)
        region = lungs.region(pair, mask.shape)
        counts = np.bincount(mask.ravel(), minlength=len(total))
        total += counts
        if region is None:
            without.append(pair)
            outside += counts
        else:
            inside = np.bincount(region.cut_mask(mask).ravel(), minlength=len(total))
            outside[1:] += counts[1:] - inside[1:]
        if progress is not None:
            progress(i + 1, len(pairs))
    fractions = dict(zip(labels, (outside[1:] / np.maximum(total[1:], 1)).tolist(), strict=True))
    yield from _of_fractions(fractions)
    if without:
        yield Finding(
            "error" if len(without) == len(pairs) else "note",
            "labels",
            f"{counted(len(without), 'image')} of {len(pairs)} without lung",
            tuple(dict.fromkeys(pair.image for pair in without)),
            "check the lungs with `pleura segment`, or pass another model (recipe key "
            "data.lungs.model)",
        )


def _of_fractions(fractions: Mapping[Label, float]) -> Iterator[Finding]:
    for label, fraction in fractions.items():
        yield Finding(
            "error" if fraction == 1 else "warning" if fraction >= WARNING_FRACTION else "note",
            "labels",
            f"{fraction:.2%} of the label {label.value} ({label.name}) outside the lungs and the "
            "margin, where the network predicts nothing",
            (),
            "increase the recipe key data.lungs.margin, or omit data.lungs",
        )
