"""From corrected masks to a training set, and whether the model that learned from it is better."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pleura.corrections.cases import ViewCase, results
from pleura.corrections.saving import corrected_slices
from pleura.dataset.pairs import patient_key
from pleura.errors import DataError
from pleura.evaluation.metrics import dice
from pleura.files.atomic import write_text
from pleura.files.tables import csv_text, csv_value
from pleura.formats.pictures import write_picture
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.scan import Scan
from pleura.segmentation.segmenter import Segmenter

SAMPLE = Path(__file__).parents[1] / "sample"
"""A scan with an expert's masks, on which a model that forgot what lungs are is seen."""

WORSE = 0.005
"""A loss of Dice beyond this is said to be one."""

_EVERY = 5
"""Of cases one in so many is held out; of slices for training, one in so many for validation."""


@dataclass(frozen=True)
class Slices:
    """What `write_slices` left: folders of images and masks, a split, and what is held out."""

    images: Path
    masks: Path
    split: Path
    corrected: int
    """Slices that a person has corrected."""
    rest: int
    """Other slices of these scans that are used as they were drawn."""
    held_out: tuple[ViewCase, ...]
    """Corrected cases of which no slice is trained on."""


def corrected_cases(folder: Path, scans: Path | None = None) -> list[ViewCase]:
    """Return the scans below a folder of results whose masks a person has corrected.

    Raises
    ------
    DataError
        There is no result, or none that was corrected; or the scans are not to be found.
    """
    cases = [case for case in results(folder, scans) if case.corrected and case.corrected.exists()]
    if not cases:
        raise DataError(
            "no mask here was corrected",
            where=folder,
            hint=f"correct some and save them: pleura view {folder}",
        )
    return sorted(cases, key=lambda case: case.name)


def write_slices(
    cases: Sequence[ViewCase], target: Path, rest: float = 0.1, seed: int = 0
) -> Slices:
    """Write the slices of corrected scans that are worth learning from, as pairs of pictures.

    A slice in which a person changed anything is truth. Of the others, whose masks nobody may have
    looked at, a share of ``rest`` is used, so that each weighs that much of a corrected one. One
    scan in five is held out, if there are three or more; with it all scans of the patient (DICOM),
    and copies of it.

    Parameters
    ----------
    cases:
        As `corrected_cases` returns them.
    target:
        Folder to write: ``images`` (HU), ``masks`` (255 is lung), ``split.csv`` and ``cases.csv``.
    rest:
        From 0 to 1.
    seed:
        Of the choice of what is held out.

    Raises
    ------
    DataError, ScanError
        A scan or mask cannot be read, or too little was corrected to learn from and to judge by.
    """
    for stale in target.glob("*/case-*_z*.tif"):
        stale.unlink()
    written = [_write_case(case, f"case-{i:04d}", target, rest) for i, case in enumerate(cases)]
    patients = [one.patient or one.voxels for one in written]
    known = len(set(patients)) > 1  # else all are called alike, such as ANONYMOUS
    held_out = _held_out(cases, patients if known else [one.voxels for one in written], seed)
    parts: dict[str, str] = {}
    names, counts = [], {True: 0, False: 0}
    for number, (case, one) in enumerate(zip(cases, written, strict=True)):
        part = "test" if case in held_out else "training"
        for name, changed in one.slices:
            counts[changed] += 1
            parts[name] = part
        names.append([f"case-{number:04d}", case.name, part])
    training = [name for name, part in parts.items() if part == "training"]
    for name in training[_EVERY - 1 :: _EVERY] or training[-1:]:
        parts[name] = "validation"
    if not held_out:
        for name in training[_EVERY - 2 :: _EVERY] or training[-2:-1]:
            parts[name] = "test"
    if len(set(parts.values())) < 3 or not counts[True]:
        raise DataError(
            f"{counts[True]} corrected slices are too few to learn from and to judge by",
            where=target,
            hint="correct more slices, or more scans",
        )
    _write_table(target / "split.csv", ["name", "subset"], parts.items())
    _write_table(target / "cases.csv", ["case", "name", "subset"], names)
    return _slices(target, counts[True], counts[False], held_out)


def read_slices(cases: Sequence[ViewCase], target: Path) -> Slices:
    """Return what `write_slices` left in a folder.

    Raises
    ------
    DataError
        It is not there, or damaged.
    """
    try:
        with (target / "cases.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
            test = {csv_value(r["name"]) for r in rows if (r.get("subset") or r["part"]) == "test"}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            "the slices of this training are not there", where=target, hint="train anew"
        ) from error
    return _slices(target, 0, 0, [case for case in cases if case.name in test])


def _slices(target: Path, corrected: int, rest: int, held_out: Sequence[ViewCase]) -> Slices:
    names = (target / "images", target / "masks", target / "split.csv")
    return Slices(*names, corrected, rest, tuple(held_out))


def _held_out(cases: Sequence[ViewCase], scanned: Sequence[str], seed: int) -> list[ViewCase]:
    """Choose the cases that nothing is learned from: whole groups of what was scanned.

    By name, so that a case held out once is held out again when more are corrected.
    """
    if len(cases) < 3:
        return []
    groups: dict[str, list[ViewCase]] = {}
    for case, one in zip(cases, scanned, strict=True):
        groups.setdefault(one, []).append(case)
    of = {case.name: group for group in groups.values() for case in group}
    held: list[ViewCase] = []
    for case in sorted(cases, key=lambda c: hashlib.sha256(f"{seed} {c.name}".encode()).digest()):
        enough = len(held) >= max(1, len(cases) // _EVERY)
        if not enough and case not in held and len(held) + len(of[case.name]) < len(cases):
            held += of[case.name]
    return held


class _Written(NamedTuple):
    patient: str
    """By the header of a DICOM scan."""
    voxels: str
    """A hash of the scan."""
    slices: list[tuple[str, bool]]
    """File names, and whether a person changed the slice."""


def _write_case(case: ViewCase, name: str, target: Path, rest: float) -> _Written:
    scan, before, after = _labels(case)
    order = scan.geometry.to_canonical()
    hu = order.apply(scan.hu())
    old, new = order.apply(before), order.apply(after)
    changed = (old != new).any(axis=(1, 2))
    recorded = corrected_slices(case.corrected) if case.corrected else None
    if recorded is not None:  # the mask beside may be another model's by now
        changed = np.isin(np.arange(len(hu)), recorded)
    others = np.flatnonzero(~changed)
    step = round(1 / rest) if rest > 0 else 0
    some = others[step // 2 :: step] if step else others[:0]
    used = sorted({*np.flatnonzero(changed).tolist(), *some.tolist()})
    written = []
    for index in used:
        if hu[index].min() == hu[index].max():  # lost, or padding
            continue
        file = f"{name}_z{index:04d}.tif"
        write_picture(target / "images" / file, hu[index].astype(np.int16))
        lung = np.where(new[index] > 0, 255, 0).astype(np.uint8)
        write_picture(target / "masks" / file, lung)
        written.append((file, bool(changed[index])))
    return _Written(patient_key(scan), hashlib.sha256(hu.tobytes()).hexdigest(), written)


def _labels(case: ViewCase) -> tuple[Scan, NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a case's scan, and its labels before and after the correction."""
    if case.mask is None or case.corrected is None:
        raise DataError("there is no mask", where=case.name, hint="segment the scan first")
    scan = case.load()
    return scan, read_mask(case.mask, scan).labels, read_mask(case.corrected, scan).labels


def _write_table(path: Path, columns: Sequence[str], rows: Any) -> None:
    write_text(path, csv_text(columns, rows))


def judge(
    models: Mapping[str, str | Path],
    held_out: Sequence[ViewCase],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Return the Dice of both lungs of each model, by case: those held out, and ``sample``.

    Raises
    ------
    ModelError, ScanError, DataError
        A model or a scan cannot be read.
    """
    found: dict[str, dict[str, float]] = {}
    total = len(models) * (len(held_out) + 1)
    for i, (label, model) in enumerate(models.items()):
        with Segmenter(model) as segmenter:
            for j, (name, scan, truth) in enumerate(_truths(held_out)):
                mask: Mask = segmenter.segment(scan, warn=False)
                found.setdefault(name, {})[label] = dice(truth > 0, mask.labels > 0)
                if progress is not None:
                    progress(i * (len(held_out) + 1) + j + 1, total)
    return found


def _truths(held_out: Sequence[ViewCase]) -> Any:
    for case in held_out:
        scan, _, after = _labels(case)
        yield case.name, scan, after
    scan = read(SAMPLE / "ct.nii.gz")
    yield "sample", scan, read_mask(SAMPLE / "lungs.nii.gz", scan).labels
