"""The tables of a cohort: a row a scan, and a row a scan and lung."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pleura.cohort.stores import OutputStore
from pleura.errors import DataError
from pleura.files.tables import csv_text, csv_value

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Row:
    """What became of one scan; a row of ``summary.csv``."""

    name: str
    status: Status
    mask: str = ""
    right_ml: float | None = None
    left_ml: float | None = None
    flags: str = ""
    warnings: str = ""
    seconds: float | None = None
    error: str = ""
    patient: str = ""
    source: str = ""
    """The scan's path below the inputs; empty where results are anonymous."""
    lungs: tuple[dict[str, Any], ...] = ()
    """Rows of ``lungs.csv`` and ``lungs.parquet``: of both lungs, of each, and their measures."""


_COLUMNS = [field.name for field in fields(Row) if field.name != "lungs"]
_SHARED = ("name", "source", "patient", "status", "flags", "warnings", "seconds", "error")


def lungs_of(told: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return a row a lung of a scan's report: millilitres or voxels, versions, and measures."""
    versions = {"pleura": told["options"]["pleura"], "model": told["options"]["model"]["name"]}
    measured = {one["region"]: one for one in told.get("measurements", {}).get("regions", ())}
    of_lungs = {
        lung: {"voxels": told["voxels"][lung], "volume_ml": (told["volume_ml"] or {}).get(lung)}
        for lung in told["voxels"]
    }
    return tuple(
        {"lung": lung, **versions, **sizes, **_flat(measured.get(lung, {}))}
        for lung, sizes in {**{lung: {} for lung in measured}, **of_lungs}.items()
    )


def _flat(measures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested measures as columns; not the histogram."""
    flat: dict[str, Any] = {}
    for key, value in measures.items():
        name = key if key in ("voxels", "volume_ml") else f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, "" if key in ("densities", "percentiles") else f"{name}_")
        elif key not in ("region", "histogram"):
            axes = dict(zip("xyz", value, strict=True)) if isinstance(value, list | tuple) else {}
            flat |= {f"{name}_{axis}": v for axis, v in axes.items()} or {name: value}
    return flat


def write_tables(place: OutputStore, rows: Sequence[Row], suffix: str = "") -> None:
    """Write ``lungs.csv``, and ``lungs.parquet`` where pyarrow is installed."""
    flat = [
        {**{key: getattr(row, key) for key in _SHARED}, **lung}
        for row in rows
        for lung in row.lungs or ({},)
    ]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    place.write(f"lungs{suffix}.csv", _csv(columns, flat))
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return
    text = {*_SHARED, "lung", "pleura", "model"} - {"seconds"}
    kinds = {c: pa.string() if c in text else pa.float64() for c in columns}
    table = pa.table({c: pa.array([row.get(c) for row in flat], kinds[c]) for c in columns})
    file = io.BytesIO()
    parquet.write_table(table, file)
    place.write(f"lungs{suffix}.parquet", file.getvalue())


def write_summary(place: OutputStore, rows: Sequence[Row], suffix: str = "") -> None:
    """Write ``summary.csv``."""
    told = [{name: getattr(row, name) for name in _COLUMNS} for row in rows]
    place.write(f"summary{suffix}.csv", _csv(_COLUMNS, told))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    return csv_text(columns, ([row.get(c) for c in columns] for row in rows)).encode()


def read_summaries(output: str | Path) -> list[Row]:
    """Return the rows of all summaries of a folder: of a scan, the last one that is no failure.

    Raises
    ------
    DataError
        There is none, or one is damaged.
    """
    rows: dict[str, Row] = {}
    paths = sorted(Path(output).glob("summary*.csv"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        for row in read_summary(path):
            if row.status != "failed" or rows.get(row.name, row).status == "failed":
                rows[row.name] = row
    if not rows:
        raise DataError("no summary of `pleura segment` here", where=output, hint="name its -o")
    return [rows[name] for name in sorted(rows)]


def read_summary(path: Path) -> list[Row]:
    """Return the rows of one summary.

    Raises
    ------
    DataError
        It is damaged.
    """
    from pydantic import TypeAdapter

    row_of = TypeAdapter(Row).validate_python
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                row_of({k: csv_value(v) for k, v in cells.items() if v})
                for cells in csv.DictReader(file)
            ]
    # A row with more cells than there are columns has a list in place of text.
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise DataError(
            "the summary is damaged", where=path, hint="segment the folder again"
        ) from error
