"""The tables of a cohort: one row per scan, and one row per scan and region."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pleura.cohort.scan_report import ScanReport
from pleura.cohort.stores import OutputStore
from pleura.errors import DataError
from pleura.files.listing import describe_wrong_path
from pleura.files.tables import csv_text, csv_value
from pleura.typing import StrPath

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class ScanResult:
    """Result of one scan of a cohort; a row of ``summary.csv``."""

    name: str
    """Path of the results below the output, without suffix."""
    status: Status
    """``skipped``: an earlier result of the same scan and options is kept."""
    mask: str = ""
    """File name of the mask."""
    right_ml: float | None = None
    """Volume of the right lung in ml."""
    left_ml: float | None = None
    """Volume of the left lung in ml."""
    flags: str = ""
    """Names of the flags of the mask, separated by semicolons."""
    warnings: str = ""
    """Topics of the decisions that may change the mask, separated by semicolons."""
    seconds: float | None = None
    """Run time in s."""
    error: str = ""
    """Reason why the scan failed."""
    patient: str = ""
    """Patient in the manifest."""
    source: str = ""
    """Path of the scan below the inputs; empty in anonymous results."""
    regions: tuple[dict[str, Any], ...] = ()
    """Rows of ``lungs.csv``: one per region, with its volume and measurements."""


_COLUMNS = [field.name for field in fields(ScanResult) if field.name != "regions"]
_SHARED = ("name", "source", "patient", "status", "flags", "warnings", "seconds", "error")


def region_rows(report: ScanReport) -> tuple[dict[str, Any], ...]:
    """Return one row per region of a report: versions, voxels, volume and measurements."""
    versions = {"pleura_version": report.versions["pleura"], "model": report.versions["model"]}
    measurements = report.measurements or {}
    measured = {region["region"]: region for region in measurements.get("regions", ())}
    segmented: dict[str, dict[str, float | None]] = {
        region: {"voxels": voxels, "volume_ml": (report.volume_ml or {}).get(region)}
        for region, voxels in report.voxels.items()
    }
    for region, ml in (report.dense_added_ml or {}).items():
        segmented[region]["dense_added_ml"] = ml
    return tuple(
        {"region": region, **versions, **sizes, **_columns_of(measured.get(region, {}))}
        for region, sizes in {**{region: {} for region in measured}, **segmented}.items()
    )


def _columns_of(measurements: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested measurements as columns, without the histogram."""
    columns: dict[str, Any] = {}
    for key, value in measurements.items():
        name = key if key in ("voxels", "volume_ml") else f"{prefix}{key}"
        if isinstance(value, Mapping):
            nested = "" if key in ("densities", "percentiles") else f"{name}_"
            columns |= _columns_of(value, nested)
        elif key not in ("region", "histogram"):
            axes = dict(zip("xyz", value, strict=True)) if isinstance(value, list | tuple) else {}
            columns |= {f"{name}_{axis}": v for axis, v in axes.items()} or {name: value}
    return columns


def write_regions(store: OutputStore, results: Sequence[ScanResult], suffix: str = "") -> None:
    """Write ``lungs.csv``, and ``lungs.parquet`` if pyarrow is installed."""
    rows = [
        {**{key: getattr(result, key) for key in _SHARED}, **region}
        for result in results
        for region in result.regions or ({},)
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    store.write(f"lungs{suffix}.csv", _csv(columns, rows))
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return
    text = {*_SHARED, "region", "pleura_version", "model"} - {"seconds"}
    types = {c: pa.string() if c in text else pa.float64() for c in columns}
    table = pa.table({c: pa.array([row.get(c) for row in rows], types[c]) for c in columns})
    file = io.BytesIO()
    parquet.write_table(table, file)
    store.write(f"lungs{suffix}.parquet", file.getvalue())


def write_summary(store: OutputStore, results: Sequence[ScanResult], suffix: str = "") -> None:
    """Write ``summary.csv``."""
    rows = [{name: getattr(result, name) for name in _COLUMNS} for result in results]
    store.write(f"summary{suffix}.csv", _csv(_COLUMNS, rows))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    return csv_text(columns, ([row.get(c) for c in columns] for row in rows)).encode()


def read_summaries(output: StrPath) -> list[ScanResult]:
    """Read all summaries of a folder of results.

    Returns
    -------
    list of ScanResult
        One per scan: the last one that did not fail.

    Raises
    ------
    DataError
        The folder has no summary, or one is damaged.
    """
    if not Path(output).is_dir():
        hint = "pass the output folder of `pleura segment`"
        raise DataError(
            describe_wrong_path(Path(output), "results folder"), where=output, hint=hint
        )
    results: dict[str, ScanResult] = {}
    paths = sorted(Path(output).glob("summary*.csv"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        for result in read_summary(path):
            before = results.get(result.name, result)
            if result.status != "failed" or before.status == "failed":
                results[result.name] = result
    if not results:
        raise DataError(
            "the folder contains no summary of `pleura segment`",
            where=output,
            hint="pass the output folder of `pleura segment`",
        )
    return [results[name] for name in sorted(results)]


def read_summary(path: Path) -> list[ScanResult]:
    """Read one summary.

    Raises
    ------
    DataError
        The summary is damaged.
    """
    from pydantic import TypeAdapter

    validate = TypeAdapter(ScanResult).validate_python
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                validate({k: csv_value(v) for k, v in cells.items() if v})
                for cells in csv.DictReader(file)
            ]
    # A row with more cells than there are columns has a list in place of text.
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise DataError(
            "the summary is damaged", where=path, hint="segment the cohort again"
        ) from error
