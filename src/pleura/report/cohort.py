"""Report of a segmented cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pleura
from pleura.cohort.tables import ScanResult, read_summaries
from pleura.files.records import read_record
from pleura.formats.pictures import read_picture
from pleura.report.page import Page, PageCase, PagePicture, histogram, thumbnail
from pleura.typing import StrPath

_COLUMNS = ("right_ml", "left_ml", "seconds")
_MEASURED = ("mean_hu", "laa_950_percent")


def write_cohort_report(path: StrPath, folder: StrPath) -> None:
    """Write the HTML report of a folder that `segment_cohort` wrote, also by many shards.

    Parameters
    ----------
    path:
        The file to write.
    folder:
        The folder of the results.

    Raises
    ------
    DataError
        The folder has no results, a preview cannot be read, or the file cannot be written.
    """
    cohort_page(read_summaries(folder), Path(folder)).write(Path(path))


def cohort_page(rows: Sequence[ScanResult], output: Path) -> Page:
    """Return the report of the results of `segment_cohort`: failed and flagged scans first.

    Parameters
    ----------
    rows:
        The result of each scan.
    output:
        The folder of the results.

    Raises
    ------
    DataError
        A preview cannot be read.
    """
    reports = {row.name: _report(output / f"{row.name}_lungs.json") for row in rows}
    ordered = sorted(rows, key=lambda row: (row.status != "failed", -_count(row.flags), row.name))
    measured = any("measurements" in report for report in reports.values())
    columns = (*_COLUMNS, *(_MEASURED if measured else ()))
    volumes = [r.right_ml + r.left_ml for r in rows if r.right_ml is not None and r.left_ml]
    failed = [row for row in rows if row.status == "failed"]
    flagged = [row for row in rows if row.flags]
    model = next((r["options"]["model"]["name"] for r in reports.values() if "options" in r), "")
    return Page(
        title="Lungs of a cohort",
        subtitle=f"{len(rows)} scans: {len(flagged)} flagged, {len(failed)} failed.",
        details=(("model", model), ("pleura", pleura.__version__)),
        columns=columns,
        cases=tuple(_case(row, reports[row.name], output) for row in ordered),
        warnings=tuple(f"{row.name}: {row.error}" for row in failed),
        plots=(histogram("Volume of both lungs, ml", volumes),) if volumes else (),
        gallery_title="Scans, flagged ones first",
        large_pictures=True,
    )


def _case(row: ScanResult, report: dict[str, Any], output: Path) -> PageCase:
    values: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    regions = report.get("measurements", {}).get("regions", [])
    densities = regions[0]["densities"] if regions else None
    if densities:
        values["mean_hu"] = densities["mean"]
        values["laa_950_percent"] = 100 * densities["low_attenuation"]["LAA-950"]
    flags = [f"{name}: {message}" for name, message in report.get("flags", {}).items()]
    if row.error:
        flags.append(row.error)
    preview = output / f"{row.name}_lungs_preview.png"
    name = f"{row.name} ({row.source})" if row.source else row.name
    return PageCase(name, values, tuple(flags), _preview(preview), _link(preview, output))


def _preview(path: Path) -> PagePicture | None:
    return thumbnail(read_picture(path)) if path.exists() else None


def _report(path: Path) -> dict[str, Any]:
    """Return the report of a scan; empty if it is damaged."""
    report = read_record(path)
    parts = (report.get(key, {}) for key in ("options", "flags", "measurements"))
    return report if all(isinstance(part, dict) for part in parts) else {}


def _link(path: Path, output: Path) -> str | None:
    return path.relative_to(output).as_posix() if path.exists() else None


def _count(flags: str) -> int:
    return len(flags.split("; ")) if flags else 0
