"""Names of the results of a scan: ``NAME_lungs``, or ``NAME_labels`` of several classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pleura.cohort.tables import ScanResult

LUNGS, LABELS = "_lungs", "_labels"
RESULT_ENDINGS = (LUNGS, LABELS)
"""Endings of the names of results, after the name of the scan."""


def report_path(folder: Path, result: ScanResult) -> Path:
    """Return the path of the report of a scan in a folder of results."""
    is_labels = result.mask.startswith(f"{PurePosixPath(result.name).name}{LABELS}")
    return folder / f"{result.name}{LABELS if is_labels else LUNGS}.json"


def list_reports(folder: Path) -> Iterator[Path]:
    """Yield the paths of all reports below a folder."""
    for ending in RESULT_ENDINGS:
        yield from folder.rglob(f"*{ending}.json")


def reports_by_name(folder: Path) -> dict[str, Path]:
    """Return the report of each scan by name; of several models, the one written last."""
    paths = sorted(list_reports(folder), key=lambda path: path.stat().st_mtime_ns)
    return dict(sorted({_scan_of(path, folder): path for path in paths}.items()))


def _scan_of(report: Path, folder: Path) -> str:
    name = report.relative_to(folder).as_posix().removesuffix(".json")
    ending = LUNGS if name.endswith(LUNGS) else LABELS
    return name.removesuffix(ending)
