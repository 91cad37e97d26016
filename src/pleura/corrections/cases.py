"""What there is to look at: scans with their masks, references and reports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pleura
from pleura.cohort.batch import INPUTS
from pleura.cohort.stores import RemoteScan
from pleura.cohort.tasks import Task, anonymous_task, find_tasks
from pleura.cohort.work import opened
from pleura.errors import DataError
from pleura.files.records import read_record
from pleura.formats.read import read, scan_name
from pleura.formats.write import VOLUMES
from pleura.intensity.mapping import UnitsOption
from pleura.scan.scan import Scan


@dataclass(frozen=True)
class ViewCase:
    """A scan to look at; ``load`` reads it, ``report`` is what `segment` said of it."""

    name: str
    load: Callable[[], Scan]
    mask: Path | None = None
    reference: Path | None = None
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def corrected(self) -> Path | None:
        """Where a corrected mask is written: beside the mask, under a name of its own."""
        if self.mask is None:
            return None
        stem = scan_name(self.mask).removesuffix(".corrected")
        return self.mask.with_name(f"{stem}.corrected.nii.gz")


def results(
    folder: Path, inputs: Path | None = None, units: UnitsOption = "auto"
) -> list[ViewCase]:
    """Return the scans that `segment` left in a folder, those with most flags first.

    Raises
    ------
    DataError
        The folder holds no results, or nobody knows from which scans they were made.
    """
    reports = sorted(folder.rglob("*_lungs.json"))
    if not reports:
        raise DataError(
            "no results of `pleura segment` here", where=folder, hint="give the folder of its -o"
        )
    if inputs is None:
        note = folder / INPUTS
        inputs = folder / os.fsdecode(note.read_bytes()) if note.exists() else None
        if inputs is None or not inputs.exists():
            raise DataError(
                "the scans are not where they were, or nobody knows where that was",
                where=inputs or folder,
                hint="add --scans PATH, the folder or the manifest that was segmented",
            )
    _must_be_known(reports[0])
    found = find_tasks(inputs, str(folder))
    tasks = {anonymous_task(task).name: task for task in found} | {t.name: t for t in found}
    cases = []
    for path in reports:
        name = path.relative_to(folder).as_posix().removesuffix("_lungs.json")
        task = tasks.get(name)
        if task is None or isinstance(task.source, RemoteScan) or _leads_outside(path, folder):
            continue
        told = read_record(path)
        asked = told.get("options")
        asked = asked if isinstance(asked, dict) else {}
        known = asked.get("units") in get_args(UnitsOption)
        load = partial(_load, task, asked["units"] if known else units, bool(asked.get("flip")))
        cases.append(ViewCase(name, load, _mask(path, told, folder), None, _shown(told)))
    if not cases:
        raise DataError(
            "none of these results belongs to a scan there",
            where=inputs,
            hint="give the folder or the manifest that was segmented: --scans PATH",
        )
    return sorted(cases, key=lambda case: (-len(case.report.get("flags", {})), case.name))


def _load(task: Task, units: UnitsOption, flip: bool) -> Scan:
    with opened(task, units, flip) as scan:
        return scan


def single(scan: Path, mask: Path | None, reference: Path | None = None) -> list[ViewCase]:
    """Return one scan with its mask, and a reference to hold it against.

    Raises
    ------
    DataError
        A file is missing.
    """
    for path in (scan, mask, reference):
        if path is not None and not path.exists():
            raise DataError("no such file", where=path, hint="check the spelling of the path")
    return [ViewCase(scan_name(scan), lambda: read(scan), mask, reference)]


def _must_be_known(report: Path) -> None:
    version = read_record(report).get("versions", {}).get("pleura", "0")
    if _numbers(version) > _numbers(pleura.__version__):
        raise DataError(
            f"these results are of pleura {version}, and this is {pleura.__version__}",
            where=report,
            hint="look at them with that version: pip install --upgrade pleura",
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _mask(report: Path, told: dict[str, Any], folder: Path) -> Path | None:
    """Return the mask that a report is of, if it is there and in the folder."""
    stem = report.name.removesuffix(".json")
    beside = [report.with_name(f"{stem}{suffix}") for suffix in (*VOLUMES, ".dcm")]
    named = Path(str(told.get("mask", ""))).name
    if named:
        beside.insert(0, report.with_name(named))
    there = (path for path in beside if path.is_file() and not _leads_outside(path, folder))
    return next(there, None)


def _leads_outside(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    shown = {key: told[key] for key in _SHOWN if key in told}
    return shown if isinstance(shown.get("flags", {}), dict) else {}


_SHOWN = ("source", "grid", "units", "volume_ml", "voxels", "flags", "decisions", "measurements")
