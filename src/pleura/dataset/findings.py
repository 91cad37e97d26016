"""Findings of a check, by topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.check_report import Finding, format_counts
from pleura.dataset.duplicates import find_near_duplicates
from pleura.dataset.label_errors import SuspectedLabel
from pleura.dataset.mask_orientation import ORIENTATIONS, find_misoriented
from pleura.dataset.pair_summary import PairSummary
from pleura.dataset.pairs import Pair, Pairing
from pleura.errors import PleuraError, ScanError
from pleura.intensity.decision import decide_units_from_levels
from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.levels import Levels
from pleura.names import counted


def of_pairing(pairing: Pairing) -> Iterator[Finding]:
    """Yield files that cannot be paired."""
    for files in pairing.ambiguous:
        message = f"{len(files)} files share the name '{files[0].stem}'"
        yield Finding("error", "files", message, files, "keep one file per name")
    for files, partner in (
        (pairing.unmatched_images, pairing.mask_noun),
        (pairing.unmatched_masks, "image"),
    ):
        if files:
            yield Finding(
                "error",
                "files",
                f"{_count(files, 'file')} without {partner}",
                files,
                f"add each missing {partner} under the same name, or remove the file",
            )


def of_errors(summaries: Sequence[PairSummary]) -> Iterator[Finding]:
    """Yield files that cannot be read; errors with the same hint are one finding."""
    by_hint: dict[str, list[tuple[PleuraError, Path]]] = {}
    for summary in summaries:
        for error in summary.errors:
            pair = summary.pair
            path = next((m for m in pair.masks if error.where == str(m)), pair.image)
            by_hint.setdefault(error.hint, []).append((error, path))
    for hint, errors in by_hint.items():
        message = errors[0][0].message
        if len(errors) > 1:
            message = f"{len(errors)} files with the same kind of error; the first: {message}"
        yield Finding("error", "files", message, tuple(path for _, path in errors), hint)


def of_warnings(messages: Sequence[str]) -> Iterator[Finding]:
    """Yield the warnings that reading volumes caused."""
    for message in dict.fromkeys(messages):
        hint = "inspect the file with `pleura info` and `pleura view`"
        yield Finding("warning", "files", message, (), hint)


def state_hu(files: Sequence[Path]) -> bool:
    """Whether all files, or folders of files, state that their values are HU, as DICOM does."""
    return bool(files) and all(
        path.suffix.lower() == ".dcm" or path.is_dir() for path in set(files)
    )


def of_units(
    units: UnitsEstimate, levels: Sequence[Levels], files: Sequence[Path]
) -> Iterator[Finding]:
    """Yield units other than HU, and images whose units differ from those of the set."""
    if not files:
        return
    try:
        decision = decide_units_from_levels(levels, state_hu(files), units)
    except ScanError as error:
        hint = f"`pleura segment` rejects such images: {error.hint}"
        yield Finding("warning", "units", error.message, (), hint)
    else:
        if decision.warning or not decision.mapping.calibrated or units.noise is not None:
            yield Finding("warning", "units", units.reason, (), _units_hint(units))
    if units.differing:
        differing = tuple(files[i] for i in units.differing)
        yield Finding(
            "warning",
            "units",
            f"{_count(differing, 'image')} in other units than the rest",
            differing,
            "export them again in the units of the others, or remove them",
        )


def _units_hint(units: UnitsEstimate) -> str:
    if units.kind == "HU":
        return "expect lower accuracy on other scans, which do not have this noise"
    if units.kind == "mixed":
        return "convert all images to HU before training"
    if units.scale is None or units.offset is None:
        return "train for this data set only, or export the CT values themselves (16-bit TIFF)"
    if units.wraparound is not None:
        return "export the set again as signed integers"
    sign = "-" if units.offset > 0 else "+"
    inverse = f"stored {sign} {abs(units.offset):.6g}" if units.offset else "stored"
    if units.scale != 1:
        inverse = f"{f'({inverse})' if units.offset else inverse} / {units.scale:.4g}"
    return f"train for this data set only, or convert it: HU = {inverse}"


def of_duplicates(summaries: Sequence[PairSummary]) -> Iterator[Finding]:
    """Yield images with equal pixels, and equal masks of different images."""
    for group in _group(summaries, lambda one: one.image_hash):
        equal_masks = len({one.mask_hash for one in group}) == 1
        yield Finding(
            "warning",
            "duplicates",
            f"{len(group)} images have the same pixels; the masks "
            f"{'are equal' if equal_masks else 'differ'}",
            tuple(one.pair.image for one in group),
            "keep one of them: duplicates in two subsets of a split bias the test scores",
        )
    for group in _group(summaries, lambda one: one.mask_hash if one.lung_fraction else None):
        if len({one.image_hash for one in group}) > 1:
            yield Finding(
                "warning",
                "duplicates",
                f"{len(group)} masks have the same pixels, but belong to different images",
                tuple(one.pair.mask for one in group),
                "inspect them: a mask may have been saved under a wrong name",
            )


def _group(
    summaries: Sequence[PairSummary], key: Callable[[PairSummary], bytes | None]
) -> Iterator[tuple[PairSummary, ...]]:
    """Yield the groups of several summaries with the same key, which is not None."""
    groups: dict[bytes, list[PairSummary]] = {}
    for summary in summaries:
        value = key(summary)
        if value is not None:
            groups.setdefault(value, []).append(summary)
    return (tuple(group) for group in groups.values() if len(group) > 1)


def of_empty_masks(
    summaries: Sequence[PairSummary], masks: Path, noun: str = "lung"
) -> Iterator[Finding]:
    """Yield masks without lung, or without any label."""
    readable = [one for one in summaries if one.lung_fraction is not None]
    empty = tuple(one.pair.mask for one in readable if one.lung_fraction == 0)
    if empty and len(empty) == len(readable):
        yield Finding(
            "error",
            "masks",
            "all masks are empty",
            (masks,),
            "add masks with 0 outside and 255 (or 1) inside the lungs",
        )
    elif empty:
        hint = f"no action is needed if these slices show no {noun.removeprefix('any ')}"
        yield Finding("note", "masks", f"{_count(empty, 'mask')} without {noun}", empty, hint)


def of_large_masks(summaries: Sequence[PairSummary]) -> Iterator[Finding]:
    """Yield masks that cover most of the image, as inverted masks do."""
    large = tuple(one.pair.mask for one in summaries if (one.lung_fraction or 0) > 0.5)
    if large:
        message = f"{_count(large, 'mask')} with lung in more than half of the image"
        hint = "inspect them: a mask has 0 outside the lungs, and another value inside"
        yield Finding("warning", "masks", message, large, hint)


def of_mask_orientations(summaries: Sequence[PairSummary]) -> Iterator[Finding]:
    """Yield masks that fit their image better after a flip, a rotation or a transposition."""
    measured = [one for one in summaries if one.orientation_fits is not None]
    fits = [one.orientation_fits for one in summaries if one.orientation_fits is not None]
    for orientation, indices in find_misoriented(fits):
        pairs = [measured[i].pair for i in indices]
        words, expression = ORIENTATIONS[orientation]
        subject = (
            "1 mask fits its image" if len(pairs) == 1 else f"{len(pairs)} masks fit their images"
        )
        correction = f", for example with {expression} in NumPy" if pairs[0].index is None else ""
        yield Finding(
            "error" if 2 * len(pairs) > len(measured) else "warning",
            "orientation",
            f"{subject} better after {words}",
            tuple(dict.fromkeys(pair.mask for pair in pairs)),
            f"save masks and images in the same orientation{correction}",
        )


def of_near_duplicates(
    summaries: Sequence[PairSummary], thumbnails: NDArray[np.float32]
) -> Iterator[Finding]:
    """Yield near duplicates in different files; slices of one volume are expected to be similar.

    Parameters
    ----------
    summaries:
        Summaries of the pairs.
    thumbnails:
        Their thumbnails (n, 2304); 0 where an image cannot be read.
    """
    images = [one.pair.image for one in summaries]
    numbers = {path: i for i, path in enumerate(dict.fromkeys(images))}
    file = np.array([numbers[path] for path in images], np.intp)
    pixels = np.array([one.image_hash or b"" for one in summaries])
    count, examples, found = 0, list[str](), np.zeros(len(images), bool)
    for rows, columns, _ in find_near_duplicates(thumbnails):
        differ = (file[rows] != file[columns]) & (pixels[rows] != pixels[columns])
        first, second = rows[differ], columns[differ]
        count += len(first)
        found[first] = found[second] = True
        examples += [
            f"{images[i].name} and {images[j].name}"
            for i, j in zip(first[: 3 - len(examples)], second, strict=False)
        ]
    if count:
        yield Finding(
            "warning",
            "duplicates",
            f"{counted(count, 'pair')} of near duplicates, such as slices of one patient: "
            f"{', '.join(examples)}",
            tuple(dict.fromkeys(images[i] for i in np.flatnonzero(found))),
            "keep such images in one subset of the split (split.method=file)",
        )


def of_rotated_slices(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Yield slices that are upside down."""
    files = tuple(pair.image for pair in pairs)
    if files:
        yield Finding(
            "note",
            "orientation",
            f"{_count(files, 'slice')} upside down, or of a prone patient: "
            f"{', '.join(pair.name for pair in pairs[:5])}",
            files,
            "rotate the images if they were saved upside down",
        )


def of_label_errors(label_errors: Sequence[SuspectedLabel]) -> Iterator[Finding]:
    """Yield masks with suspected label errors."""
    for one in label_errors:
        message = f"suspected label error in {one.name}: {'; '.join(one.reasons)}"
        hint = "inspect the mask; correct it, or exclude it with `pleura train --exclude`"
        yield Finding("warning", "label errors", message, (one.pair.mask,), hint)


def of_variety(sizes: Mapping[str, int], dtypes: Mapping[str, int]) -> Iterator[Finding]:
    """Yield several sizes and several dtypes."""
    if len(sizes) > 1:
        hint = "no action is needed: every image is resampled to the grid of the network"
        message = f"images of {len(sizes)} sizes: {format_counts(sizes)}"
        yield Finding("note", "variety", message, (), hint)
    if len(dtypes) > 1:
        hint = "no action is needed if all were exported in the same units"
        message = f"images of {len(dtypes)} dtypes: {format_counts(dtypes)}"
        yield Finding("note", "variety", message, (), hint)


def _count(files: Sequence[Path], noun: str) -> str:
    return counted(len(files), noun)
