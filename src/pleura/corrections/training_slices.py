"""Write the slices of corrected scans as a training set of images, masks and a split."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.corrections.cases import ReviewCase, cases_from_results
from pleura.corrections.saving import read_changed_slices
from pleura.dataset.scan_folders import patient_key
from pleura.dataset.subsets import Split
from pleura.errors import DataError
from pleura.files.atomic import write_text
from pleura.files.tables import csv_text, csv_value
from pleura.formats.image_files import write_image_file
from pleura.names import counted
from pleura.scan.scan import Scan
from pleura.typing import StrPath

_HOLD_OUT_EVERY = 5
"""One scan in five is held out; one training slice in five is for validation."""


@dataclass(frozen=True)
class TrainingSlices:
    """Slices of corrected scans that `write_training_slices` wrote.

    Parameters
    ----------
    images, masks:
        Folders of the images (HU) and of the masks (255 is lung).
    split:
        CSV file of the subsets.
    held_out:
        Corrected cases that are in the test subset.
    n_corrected:
        Number of slices that a user has corrected.
    n_uncorrected:
        Number of other slices of the corrected scans, whose masks are used unchanged.
    """

    images: Path
    masks: Path
    split: Path
    held_out: tuple[ReviewCase, ...]
    n_corrected: int
    n_uncorrected: int


def corrected_cases(results: Path, scans: StrPath | None = None) -> list[ReviewCase]:
    """Return the cases of a folder of results that have a corrected mask, sorted by name.

    Parameters
    ----------
    results, scans:
        See `pleura.corrections.cases.cases_from_results`.

    Raises
    ------
    DataError
        There are no results or no corrected masks, or the scans are not found.
    """
    cases = [
        case
        for case in cases_from_results(results, None if scans is None else Path(scans))
        if case.is_corrected
    ]
    if not cases:
        raise DataError(
            "the folder contains no corrected masks",
            where=results,
            hint=f"correct masks and save them: pleura view {results}",
        )
    return sorted(cases, key=lambda case: case.name)


def write_training_slices(
    cases: Sequence[ReviewCase], folder: Path, uncorrected_fraction: float = 0.1, seed: int = 0
) -> TrainingSlices:
    """Write slices of corrected scans as pairs of images and masks, with a split.

    All corrected slices are written, and a fraction of the others, whose masks may not have been
    reviewed. One scan in five is held out as the test subset if there are three or more, together
    with all scans of the same patient (DICOM) and copies of the scan.

    Parameters
    ----------
    cases:
        Corrected cases: see `corrected_cases`.
    folder:
        Folder to write: ``images``, ``masks``, ``split.csv`` and ``cases.csv``.
    uncorrected_fraction:
        Fraction of the uncorrected slices that is written, from 0 to 1.
    seed:
        Seed of the choice of held-out scans.

    Raises
    ------
    DataError, ScanError
        A scan or mask cannot be read, or there are too few corrected slices.
    """
    for stale in folder.glob("*/case-*_z*.tif"):
        stale.unlink()
    written = [
        _write_case(case, f"case-{i:04d}", folder, uncorrected_fraction)
        for i, case in enumerate(cases)
    ]
    patients = [item.patient or item.scan_hash for item in written]
    if len(set(patients)) == 1:  # an anonymised identifier, the same for all patients
        patients = [item.scan_hash for item in written]
    held_out = _choose_held_out(cases, patients, seed)
    rows: list[tuple[str, str, str]] = []
    training: list[str] = []
    test: list[str] = []
    for i, (case, item) in enumerate(zip(cases, written, strict=True)):
        is_test = case in held_out
        (test if is_test else training).extend(item.corrected)
        rows.append((f"case-{i:04d}", case.name, "test" if is_test else "training"))
    n_corrected = sum(sum(item.corrected.values()) for item in written)
    n_all = sum(len(item.corrected) for item in written)
    split = _split(training, test)
    if not (split.training and split.validation and split.test and n_corrected):
        raise DataError(
            f"{counted(n_corrected, 'corrected slice is', 'corrected slices are')} not enough for "
            "training, validation and test",
            where=folder,
            hint="correct more slices, or more scans",
        )
    split.write(folder / "split.csv")
    write_text(folder / "cases.csv", csv_text(["case", "name", "subset"], rows))
    return _training_slices(folder, held_out, n_corrected, n_all - n_corrected)


def read_training_slices(cases: Sequence[ReviewCase], folder: Path) -> TrainingSlices:
    """Return what `write_training_slices` wrote to a folder, without the numbers of slices.

    Raises
    ------
    DataError
        The folder is missing or damaged.
    """
    try:
        with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        # The column was named `part` in version 0.1.0.
        test = {csv_value(r["name"]) for r in rows if (r.get("subset") or r["part"]) == "test"}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            "the training slices of the run are missing or damaged",
            where=folder,
            hint="start the training again with --overwrite",
        ) from error
    return _training_slices(folder, [case for case in cases if case.name in test], 0, 0)


def _training_slices(
    folder: Path, held_out: Sequence[ReviewCase], n_corrected: int, n_uncorrected: int
) -> TrainingSlices:
    paths = folder / "images", folder / "masks", folder / "split.csv"
    return TrainingSlices(*paths, tuple(held_out), n_corrected, n_uncorrected)


def _split(training: Sequence[str], test: Sequence[str]) -> Split:
    """Split off a validation subset, and a test subset if no case is held out."""
    validation = training[_HOLD_OUT_EVERY - 1 :: _HOLD_OUT_EVERY] or training[-1:]
    test = test or training[_HOLD_OUT_EVERY - 2 :: _HOLD_OUT_EVERY] or training[-2:-1]
    train = [name for name in training if name not in {*validation, *test}]
    return Split(tuple(train), tuple(validation), tuple(test))


def _choose_held_out(
    cases: Sequence[ReviewCase], patients: Sequence[str], seed: int
) -> list[ReviewCase]:
    """Choose the cases of the test subset, all scans of a patient together.

    The order of choice depends on names alone: a case that is held out once is held out again when
    more cases are corrected.
    """
    if len(cases) < 3:
        return []
    groups: dict[str, list[ReviewCase]] = {}
    for case, patient in zip(cases, patients, strict=True):
        groups.setdefault(patient, []).append(case)
    group_of = {case.name: group for group in groups.values() for case in group}
    held_out: list[ReviewCase] = []
    for case in sorted(cases, key=lambda c: hashlib.sha256(f"{seed} {c.name}".encode()).digest()):
        group = group_of[case.name]
        enough = len(held_out) >= max(1, len(cases) // _HOLD_OUT_EVERY)
        if not enough and case not in held_out and len(held_out) + len(group) < len(cases):
            held_out += group
    return held_out


@dataclass(frozen=True)
class _WrittenCase:
    patient: str
    """Patient of a DICOM scan, by its header; else empty."""
    scan_hash: str
    """SHA-256 of the intensities."""
    corrected: dict[str, bool]
    """Whether a user has corrected each slice, by file name."""


def _write_case(
    case: ReviewCase, name: str, folder: Path, uncorrected_fraction: float
) -> _WrittenCase:
    scan, before, after = read_labels_of(case)
    order = scan.geometry.to_canonical()
    hu, before, after = order.apply(scan.hu()), order.apply(before), order.apply(after)
    recorded = read_changed_slices(case.corrected_path) if case.corrected_path else None
    if recorded is None:
        changed = (before != after).any(axis=(1, 2))
    else:  # another model may have written the mask since
        changed = np.isin(np.arange(len(hu)), recorded)
    others = np.flatnonzero(~changed)
    step = round(1 / uncorrected_fraction) if uncorrected_fraction > 0 else 0
    chosen = others[step // 2 :: step] if step else others[:0]
    corrected = {}
    for index in sorted({*np.flatnonzero(changed).tolist(), *chosen.tolist()}):
        if hu[index].min() == hu[index].max():  # a missing slice, or padding
            continue
        file = f"{name}_z{index:04d}.tif"
        write_image_file(folder / "images" / file, hu[index].astype(np.int16))
        lung = np.where(after[index] > 0, 255, 0).astype(np.uint8)
        write_image_file(folder / "masks" / file, lung)
        corrected[file] = bool(changed[index])
    return _WrittenCase(patient_key(scan), hashlib.sha256(hu.tobytes()).hexdigest(), corrected)


def read_labels_of(case: ReviewCase) -> tuple[Scan, NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the scan of a case, and its labels before and after the correction.

    Raises
    ------
    DataError, ScanError
        The case has no mask, or a file cannot be read.
    """
    if case.mask_path is None or case.corrected_path is None:
        raise DataError("the scan has no mask", where=case.name, hint="segment the scan first")
    scan = case.read_scan()
    masks = [case.read_mask(path, scan) for path in (case.mask_path, case.corrected_path)]
    return scan, masks[0].labels, masks[1].labels
