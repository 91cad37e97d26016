"""Report of a segmented cohort."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pleura
from pleura.cohort.result_names import report_path
from pleura.cohort.tables import ScanResult, read_summaries
from pleura.figures.preview import main_panels
from pleura.files.records import read_record
from pleura.formats.image_files import read_image_file
from pleura.masks.mask import flag_title
from pleura.report.images import PageImage, thumbnail
from pleura.report.methods import methods_of
from pleura.report.page import Column, Failure, Notice, Page, PageCase, PageFlag, Tile, details_of
from pleura.report.plots import Plot, histogram
from pleura.typing import StrPath

MAX_IMAGES = 500
"""Number of scans with an image: a page with more is too large for a browser."""

_VOLUMES = (
    Column("right_ml", "Right lung volume", "ml", 0, "Volume of the mask of the right lung."),
    Column("left_ml", "Left lung volume", "ml", 0, "Volume of the mask of the left lung."),
)
_DENSE = (
    Column("right_dense_ml", "Added dense lung, right", "ml", 0, "Added by --dense include."),
    Column("left_dense_ml", "Added dense lung, left", "ml", 0, "Added by --dense include."),
)
_DENSITIES = (
    Column("mean_hu", "Mean lung density", "HU", 0, "Mean of all voxels of both lungs."),
    Column(
        "laa_950_percent", "LAA-950", "%", 1, "Voxels of both lungs below -950 HU: emphysema index."
    ),
)
_SECONDS = Column("seconds", "Run time", "s", 1, "Time to read, segment and measure the scan.")


def write_cohort_report(path: StrPath, folder: StrPath) -> None:
    """Write the HTML report of a folder that `segment_cohort` wrote, in one or several shards.

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


def cohort_page(rows: Sequence[ScanResult], output: Path, viewer: str = "") -> Page:
    """Return the report of the results of `segment_cohort`, the scans with most flags first.

    Parameters
    ----------
    rows:
        The result of each scan.
    output:
        The folder of the results.
    viewer:
        Address of the viewer if it serves the page.

    Raises
    ------
    DataError
        A preview cannot be read.
    """
    reports = read_reports(rows, output)
    segmented = sorted(
        (row for row in rows if row.status != "failed"),
        key=lambda row: (-len(_flag_names(row)), row.name),
    )
    failed = [row for row in rows if row.status == "failed"]
    cases = [
        _case(row, reports[row.name], output, with_picture=i < MAX_IMAGES, is_file=not viewer)
        for i, row in enumerate(segmented)
    ]
    has_dense = any(case.values["right_dense_ml"] is not None for case in cases)
    is_measured = any(case.values["mean_hu"] is not None for case in cases)
    volumes = [case for row, case in zip(segmented, cases, strict=True) if _is_volume(reports, row)]
    models = sorted({r["options"]["model"]["name"] for r in reports.values() if "options" in r})
    more = len(cases) - MAX_IMAGES
    return Page(
        title="Lung segmentation of a cohort",
        subtitle=f"{len(rows):,} scans. Those with most flags are shown first.",
        details=details_of(
            ("Folder", output.resolve().name),
            ("Model", ", ".join(models)),
            ("Version of pleura", pleura.__version__),
        ),
        columns=(
            *_VOLUMES,
            *(_DENSE if has_dense else ()),
            *(_DENSITIES if is_measured else ()),
            _SECONDS,
        ),
        cases=tuple(cases),
        tiles=_tiles(rows, cases, volumes),
        notices=(Notice(f"{more:,} scans have no image on this page.", ""),) if more > 0 else (),
        failures=tuple(_failure(row) for row in failed),
        plots=_plots(volumes),
        gallery_title="Scans",
        table_title="All segmented scans",
        large_images=True,
        methods=methods_of(rows, reports),
        viewer=viewer,
    )


def read_reports(rows: Sequence[ScanResult], output: Path) -> dict[str, dict[str, Any]]:
    """Return the report of each scan by name; empty if it is missing or damaged."""
    return {row.name: _report(report_path(output, row)) for row in rows}


def _report(path: Path) -> dict[str, Any]:
    report = read_record(path)
    parts = (
        report.get(key) or {} for key in ("options", "flags", "measurements", "dense_added_ml")
    )
    return report if all(isinstance(part, dict) for part in parts) else {}


def _is_volume(reports: Mapping[str, Mapping[str, Any]], row: ScanResult) -> bool:
    """Return whether a scan has several slices: a volume of a single slice means little."""
    return not str(reports[row.name].get("grid", "")).startswith("1 slice ")


def _tiles(
    rows: Sequence[ScanResult], cases: Sequence[PageCase], volumes: Sequence[PageCase]
) -> tuple[Tile, ...]:
    failed, flagged = len(rows) - len(cases), sum(bool(case.flags) for case in cases)
    sizes = _lung_volumes(volumes)
    tiles = [
        Tile("Scans", f"{len(rows):,}"),
        Tile("Segmented", f"{len(cases):,}"),
        Tile("With flags", f"{flagged:,}", "check these masks", "warning" if flagged else ""),
        Tile("Failed", f"{failed:,}", "", "error" if failed else ""),
    ]
    if sizes:
        note = f"{min(sizes):,.0f} to {max(sizes):,.0f} ml in {len(sizes):,} volumes"
        tiles.append(Tile("Median lung volume", f"{median(sizes):,.0f} ml", note))
    if seconds := [row.seconds for row in rows if row.seconds is not None]:
        tiles.append(Tile("Median run time", f"{median(seconds):,.1f} s", "per scan"))
    return tuple(tiles)


def _lung_volumes(cases: Sequence[PageCase]) -> list[float]:
    both = ((case.values["right_ml"], case.values["left_ml"]) for case in cases)
    return [right + left for right, left in both if right is not None and left is not None]


def _plots(volumes: Sequence[PageCase]) -> tuple[Plot, ...]:
    values = {
        ("Volume of both lungs", "Volume (ml)"): _lung_volumes(volumes),
        ("Mean lung density", "Mean density (HU)"): _known(volumes, "mean_hu"),
        ("Emphysema index", "LAA-950 (%)"): _known(volumes, "laa_950_percent"),
    }
    return tuple(histogram(*names, each) for names, each in values.items() if len(each) > 1)


def _known(cases: Sequence[PageCase], key: str) -> list[float]:
    values = (case.values[key] for case in cases)
    return [value for value in values if value is not None]


def _failure(row: ScanResult) -> Failure:
    problem, _, hint = row.error.partition("; hint: ")
    return Failure(row.source or row.name, problem, hint)


def _case(
    row: ScanResult,
    report: Mapping[str, Any],
    output: Path,
    *,
    with_picture: bool,
    is_file: bool,
) -> PageCase:
    regions = (report.get("measurements") or {}).get("regions") or [{}]
    densities = regions[0].get("densities")
    dense = report.get("dense_added_ml") or {}
    values = {
        "right_ml": row.right_ml,
        "left_ml": row.left_ml,
        "right_dense_ml": dense.get("right"),
        "left_dense_ml": dense.get("left"),
        "seconds": row.seconds,
        "mean_hu": densities["mean"] if densities else None,
        "laa_950_percent": 100 * densities["low_attenuation"]["LAA-950"] if densities else None,
    }
    flags = report.get("flags") or dict.fromkeys(_flag_names(row), "")
    report_file = report_path(output, row)
    preview = report_file.with_name(f"{report_file.stem}_preview.png")
    exists = preview.exists()
    return PageCase(
        row.name,
        values,
        tuple(PageFlag(flag_title(name), str(message)) for name, message in flags.items()),
        _preview(preview) if exists and with_picture else None,
        preview.relative_to(output).as_posix() if exists and is_file else None,
        row.source,
        shlex.join(["pleura", "view", output.resolve().name, "--select", row.name]),
    )


def _flag_names(row: ScanResult) -> list[str]:
    return [name for name in row.flags.split("; ") if name]


def _preview(path: Path) -> PageImage:
    return thumbnail(main_panels(read_image_file(path)))
