"""Scans to review, with their masks, reference masks and reports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import pleura
from pleura.cohort.batch import INPUTS_FILE
from pleura.cohort.find import find_tasks
from pleura.cohort.result_names import LABELS, reports_by_name
from pleura.cohort.stores import RemoteScan
from pleura.cohort.task import Task, anonymous_task, open_task
from pleura.errors import DataError
from pleura.files.listing import describe_wrong_path
from pleura.files.records import read_record
from pleura.formats.read import read
from pleura.formats.registry import OUTPUT_SUFFIXES, ZIP_SUFFIX, format_of, scan_name
from pleura.intensity.mapping import UnitsOption
from pleura.intensity.window import Units, Window
from pleura.masks.contents import read_contents
from pleura.masks.exchanged import detect_exchanged
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.masks.selection import RoiSelection, require_lung_labels
from pleura.scan.scan import Scan

_REPORT_KEYS = (
    "source",
    "grid",
    "units",
    "volume_ml",
    "voxels",
    "flags",
    "decisions",
    "measurements",
)
"""Keys of a report that the viewer displays."""


@dataclass(frozen=True)
class ReviewCase:
    """A scan to review, with the files of its mask and of its corrected mask.

    Parameters
    ----------
    name:
        Name of the scan, as the viewer lists it.
    read_scan:
        Reads the scan.
    mask_path:
        File of the mask; None if the scan has none.
    reference_path:
        File of a reference mask to compare the mask with.
    report:
        Fields of the report that `pleura segment` wrote beside the mask.
    roi:
        Structures or labels of the masks to read, as for `pleura.read_mask`.
    """

    name: str
    read_scan: Callable[[], Scan]
    mask_path: Path | None = None
    reference_path: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    roi: RoiSelection | None = None

    @property
    def corrected_path(self) -> Path | None:
        """File of the corrected mask, beside the mask; None if the scan has no mask."""
        if self.mask_path is None:
            return None
        stem = scan_name(self.mask_path).removesuffix(".corrected")
        return self.mask_path.with_name(f"{stem}.corrected.nii.gz")

    @property
    def is_corrected(self) -> bool:
        """Whether a corrected mask was saved."""
        return self.corrected_path is not None and self.corrected_path.exists()

    @property
    def latest_mask_path(self) -> Path | None:
        """File of the corrected mask if there is one, else of the mask."""
        return self.corrected_path if self.is_corrected else self.mask_path

    def read_displayed(self, path: Path, scan: Scan) -> Mask:
        """Read a mask to display it: lungs, or else each label or structure as a class.

        Raises
        ------
        ScanError, DataError
            As `pleura.read_mask`, but no label is unknown.
        """
        if self.roi is not None or path == self.corrected_path:
            return self.read_mask(path, scan)
        return read_contents(path, scan, lungs=not scan_name(path).endswith(LABELS))

    def read_mask(self, path: Path, scan: Scan) -> Mask:
        """Read a mask of the case; `roi` does not apply to the corrected one.

        Raises
        ------
        ScanError, DataError
            As `pleura.read_mask`.
        """
        return read_mask(path, scan, roi=None if path == self.corrected_path else self.roi)


def cases_from_results(
    folder: Path, scans: Path | None = None, units: Units = "auto"
) -> list[ReviewCase]:
    """Return the segmented scans of a folder of results, those with most flags first.

    Parameters
    ----------
    folder:
        Output folder of `pleura segment`.
    scans:
        Folder or manifest that was segmented; None takes the path that the folder records.
    units:
        Intensity units of scans whose report does not name them.

    Raises
    ------
    DataError
        The folder contains no results, or the scans are missing.
    """
    reports = reports_by_name(folder)
    if not reports:
        raise DataError(
            "the folder contains no results of `pleura segment`"
            if folder.is_dir()
            else describe_wrong_path(folder, "results folder"),
            where=folder,
            hint="pass the output folder of `pleura segment`",
        )
    scans = scans or _recorded_scans(folder)
    _check_version(next(iter(reports.values())))
    listed = find_tasks(scans, str(folder))
    tasks = {anonymous_task(task).name: task for task in listed} | {t.name: t for t in listed}
    cases = []
    for name, path in reports.items():
        task = tasks.get(name)
        if task is None or isinstance(task.source, RemoteScan) or _is_outside(path, folder):
            continue
        report = read_record(path)
        options = report.get("options")
        options = options if isinstance(options, dict) else {}
        scan_units = _recorded_units(options) or units
        read_scan = partial(_read_task, task, scan_units, bool(options.get("flip")))
        mask = _mask_of_report(path, report, folder)
        cases.append(ReviewCase(name, read_scan, mask, None, _displayed(report)))
    if not cases:
        raise DataError(
            "no result belongs to a scan at this path",
            where=scans,
            hint="pass the folder or the manifest that was segmented: --scans PATH",
        )
    return sorted(cases, key=lambda case: (-len(case.report.get("flags", {})), case.name))


def case_from_files(
    scan: Path,
    mask: Path | None = None,
    reference: Path | None = None,
    units: Units = "auto",
    roi: RoiSelection | None = None,
) -> ReviewCase:
    """Return the case of one scan, its mask, and a reference mask.

    Raises
    ------
    DataError
        A file is missing, or a label of ``roi`` is above 2.
    ScanError
        The scan is a file of an unknown format.
    """
    require_lung_labels(roi)
    for path in (scan, mask, reference):
        if path is not None and not path.exists():
            raise DataError(
                describe_wrong_path(path, "file or folder"),
                where=path,
                hint="check the spelling of the path",
            )
    read_scan = partial(_read_scan, scan, mask, units)
    if scan.is_file() and format_of(scan) is None and scan.suffix.lower() != ZIP_SUFFIX:
        read_scan()  # DICOM needs no suffix: the contents show whether the file is a scan
    return ReviewCase(scan_name(scan), read_scan, mask, reference, roi=roi)


def _read_scan(scan: Path, mask: Path | None, units: Units) -> Scan:
    with detect_exchanged(scan, mask):
        return read(scan, units=units)


def _recorded_units(options: Mapping[str, Any]) -> Units | None:
    """Return the units in the options of a report; None if it has none."""
    units, window = options.get("units"), options.get("window")
    if units not in get_args(UnitsOption):
        return None
    if isinstance(window, list) and [type(value) for value in window] == [float, float]:
        return Window(window[0], window[1], inverted=units == "inverted")
    return cast("UnitsOption", units)


def _recorded_scans(folder: Path) -> Path:
    """Return the path of the scans that `pleura segment` wrote into a folder of results."""
    record = folder / INPUTS_FILE
    scans = folder / os.fsdecode(record.read_bytes()) if record.exists() else None
    if scans is None or not scans.exists():
        raise DataError(
            "the scans of the results are missing",
            where=scans or folder,
            hint="add --scans PATH, the folder or the manifest that was segmented",
        )
    return scans


def _read_task(task: Task, units: Units, flip: bool) -> Scan:
    with open_task(task, units, flip) as scan:
        return scan


def _check_version(report: Path) -> None:
    version = read_record(report).get("versions", {}).get("pleura", "0")
    if _version_numbers(version) > _version_numbers(pleura.__version__):
        raise DataError(
            f"the results are of pleura {version}, newer than the installed {pleura.__version__}",
            where=report,
            hint="run pip install --upgrade pleura",
        )


def _version_numbers(version: str) -> list[int]:
    """Return the numbers of a release; 0.2.dev5 is a version of 0.2.0."""
    release = re.match(r"[\d.]*", version)
    numbers = [int(number) for number in re.findall(r"\d+", release[0] if release else "")]
    return [*numbers, 0, 0, 0][:3]


def _mask_of_report(report_path: Path, report: Mapping[str, Any], folder: Path) -> Path | None:
    """Return the mask that a report describes, if it exists inside the folder."""
    stem = report_path.name.removesuffix(".json")
    candidates = [report_path.with_name(f"{stem}{suffix}") for suffix in OUTPUT_SUFFIXES]
    name = Path(str(report.get("mask", ""))).name
    if name:
        candidates.insert(0, report_path.with_name(name))
    existing = (path for path in candidates if path.is_file() and not _is_outside(path, folder))
    return next(existing, None)


def _is_outside(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def _displayed(report: Mapping[str, Any]) -> dict[str, Any]:
    displayed = {key: report[key] for key in _REPORT_KEYS if key in report}
    return displayed if isinstance(displayed.get("flags", {}), dict) else {}
