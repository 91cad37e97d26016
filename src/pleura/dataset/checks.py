"""Checks of a data set before training."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from pleura.dataset import findings
from pleura.dataset.check_report import CheckReport, LungFraction
from pleura.dataset.data_recipe import DataRecipe
from pleura.dataset.duplicates import THUMBNAIL_PIXELS
from pleura.dataset.label_errors import PredictLung, find_label_errors
from pleura.dataset.label_summary import of_labels, of_overlap, summarise_labels
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pair_summary import PairSummary, summarise_file
from pleura.dataset.pairs import join_classes, match_all_folders, with_roi
from pleura.dataset.splits import SplitRecipe
from pleura.files.arrays import TemporaryRows
from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.mapping import IntensityMapping
from pleura.intensity.units import estimate_units_from_levels
from pleura.masks.selection import selects_lungs
from pleura.typing import Progress, StrPath


def check_folders(
    images: StrPath,
    masks: StrPath,
    *,
    predict: PredictLung | None = None,
    progress: Progress | None = None,
    data: DataRecipe | None = None,
    split: SplitRecipe | None = None,
) -> CheckReport:
    """Check the images and masks of two folders.

    Parameters
    ----------
    images, masks:
        Folders of image files or volumes, paired by name.
    predict:
        The predictions of a model, which the masks are compared with.
    progress:
        Called with the number of pairs that were read, and of all pairs.
    data:
        The classes of the masks, and the structures to read; without either, all masks are lungs.
        Of several classes, or of another ``roi`` than right and left lung, label errors and
        orientations of masks are not searched.
    split:
        The split in whose subsets the labels are counted.

    Returns
    -------
    CheckReport
        Unreadable files are among its findings.

    Raises
    ------
    DataError
        A folder is unreadable or contains no image.
    """
    images, masks, data = Path(images), Path(masks), data or DataRecipe()
    pairings = match_all_folders(images, masks, data.class_masks)
    pairs = with_roi(join_classes(pairings), data.roi)
    summaries: list[PairSummary] = []
    thumbnails = TemporaryRows(THUMBNAIL_PIXELS, np.float32, "the thumbnails")
    labels = data.classes
    reader = PairReader(labels)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i, pair in enumerate(pairs):
            for one in summarise_file(pair, reader):
                small = np.zeros(THUMBNAIL_PIXELS) if one.thumbnail is None else one.thumbnail
                thumbnails.append(small)
                summaries.append(replace(one, thumbnail=None))
            if progress is not None:
                progress(i + 1, len(pairs))
    readable_images = [one for one in summaries if one.levels is not None]
    levels = [one.levels for one in summaries if one.levels is not None]
    files = [one.pair.image for one in readable_images]
    units = estimate_units_from_levels(levels, findings.state_hu(files))
    differing = {readable_images[i].pair.name for i in units.differing}
    misoriented = list(findings.of_mask_orientations(summaries))
    misoriented_masks = {path for finding in misoriented for path in finding.files}
    comparable = [
        x.pair
        for x in summaries
        if not x.errors and x.pair.name not in differing and x.pair.mask not in misoriented_masks
    ]
    are_lungs = selects_lungs(data.roi) and not labels
    mapping = _intensity_mapping(units) if are_lungs else None
    label_summaries = summarise_labels(summaries, labels, split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were caught above
        label_errors, rotated = (
            ([], []) if mapping is None else find_label_errors(comparable, mapping, predict)
        )
    sizes = dict(Counter(one.size for one in readable_images).most_common())
    dtypes = dict(Counter(one.dtype for one in readable_images).most_common())
    return CheckReport(
        images=images,
        masks=masks,
        pairs=len(summaries),
        readable=sum(not one.errors for one in summaries),
        sizes=sizes,
        dtypes=dtypes,
        values=(min(x.minimum for x in levels), max(x.maximum for x in levels)) if levels else None,
        lung_fraction=_lung_fraction(
            [one.lung_fraction for one in summaries if one.lung_fraction is not None]
        ),
        units=units,
        findings=(
            *(finding for one in pairings.values() for finding in findings.of_pairing(one)),
            *findings.of_errors(summaries),
            *findings.of_warnings([str(one.message) for one in caught]),
            *findings.of_units(units, levels, files),
            *findings.of_duplicates(summaries),
            *findings.of_empty_masks(summaries, masks, "any label" if labels else "lung"),
            *(findings.of_large_masks(summaries) if are_lungs else ()),
            *of_labels(label_summaries, masks),
            *of_overlap(summaries, labels),
            *misoriented,
            *findings.of_near_duplicates(summaries, thumbnails.array()),
            *findings.of_rotated_slices(rotated),
            *findings.of_label_errors(label_errors),
            *findings.of_variety(sizes, dtypes),
        ),
        label_errors=tuple(label_errors),
        labels=label_summaries,
    )


def _lung_fraction(fractions: Sequence[float]) -> LungFraction | None:
    if not fractions:
        return None
    return LungFraction(min(fractions), median(fractions), max(fractions), fractions.count(0))


def _intensity_mapping(units: UnitsEstimate) -> IntensityMapping | None:
    if units.scale is None or units.offset is None:
        return None
    return IntensityMapping(units.scale, units.offset, wraparound=units.wraparound)
