"""Manifests: tables that list the scans to segment."""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pleura.cohort.stores import RemoteScan, is_address, is_single_file, read_address
from pleura.cohort.task import Task
from pleura.errors import DataError, ScanError, first_line
from pleura.files.invalid_values import describe_invalid_value
from pleura.files.listing import check_path
from pleura.formats.find import ScanEntry
from pleura.formats.registry import scan_name
from pleura.intensity.mapping import UnitsOption
from pleura.intensity.window import units_or_window
from pleura.names import LONGEST, printable, safe_name, short_hash
from pleura.typing import StrPath

SUFFIXES = (".csv", ".parquet")


def _none_if_empty(value: Any) -> Any:
    return value or None


def _split(value: Any) -> Any:
    """Return the words of a cell as a list; None if it is empty."""
    return (value.split() if isinstance(value, str) else value) or None


def _lower_or_none(value: str) -> str | None:
    return value.lower() or None


class _ManifestRow(BaseModel):
    """A row of a manifest; empty cells are None, and then the options of the cohort apply."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    name: Annotated[str | None, BeforeValidator(_none_if_empty)] = None
    patient: str = ""
    series: Annotated[str | None, BeforeValidator(_none_if_empty)] = None
    stack: Annotated[bool | None, BeforeValidator(_none_if_empty)] = None
    units: Annotated[UnitsOption | None, BeforeValidator(_lower_or_none)] = None
    window: Annotated[tuple[float, float] | None, BeforeValidator(_split)] = None
    flip: Annotated[bool | None, BeforeValidator(lambda v: None if v == "" else v)] = None


def read_manifest(manifest: StrPath) -> list[Task]:
    """Read a manifest.

    Parameters
    ----------
    manifest:
        Path or address of a CSV or Parquet table with the column ``path`` and any of ``name``,
        ``patient``, ``series``, ``stack``, ``units``, ``window`` (level and width, separated by a
        space) and ``flip``. Relative paths start at the folder of the manifest.

    Raises
    ------
    ScanError
        The file does not exist.
    DataError
        The table cannot be read, has unknown columns, or a row is invalid.
    """
    rows = _read_table(manifest)
    columns = {str(column) for row in rows[:1] for column in row}
    unknown = sorted(columns - set(_ManifestRow.model_fields))
    if unknown or (rows and "path" not in rows[0]):
        raise DataError(
            f"the manifest has unknown columns: {', '.join(unknown)}"
            if unknown
            else "the manifest has no column named path",
            where=manifest,
            hint=f"use the columns {', '.join(_ManifestRow.model_fields)}; only path is required",
        )
    if not rows:
        raise DataError("the manifest is empty", where=manifest, hint="add one row per scan")
    folder = str(manifest).rpartition("/")[0] if is_address(manifest) else Path(manifest).parent
    return [_task(_parse_row(row, i, manifest), manifest, folder) for i, row in enumerate(rows, 2)]


def _parse_row(row: dict[str, Any], number: int, manifest: StrPath) -> _ManifestRow:
    cells = {k: "" if v is None else v if isinstance(v, bool) else str(v) for k, v in row.items()}
    try:
        parsed = _ManifestRow.model_validate(cells)
        units_or_window(parsed.units or "auto", parsed.window)
    except ScanError as error:
        raise DataError(
            f"row {number} of the manifest: {error.message}", where=manifest, hint=error.hint
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"row {number} of the manifest: "
            + (
                "more cells than columns"
                if first["type"] == "extra_forbidden"
                else describe_invalid_value(str(first["loc"][0]), first)
            ),
            where=manifest,
            hint="correct the row",
        ) from error
    return parsed


def _task(row: _ManifestRow, manifest: StrPath, folder: Path | str) -> Task:
    if is_address(row.path):
        source: RemoteScan | Path | ScanEntry = RemoteScan(row.path)
    elif isinstance(folder, str):
        source = RemoteScan(f"{folder}/{row.path}")
    else:
        source = folder / row.path
    file = PurePosixPath(row.path.replace("\\", "/")).name
    default = scan_name(Path(file)) if is_single_file(file) else f"dicom-{short_hash(row.path)}"
    name = safe_name(row.name or default)
    if row.name and name != row.name:
        error = DataError(
            f"'{row.name}' is not a valid name for results",
            where=manifest,
            hint="use a relative path without : * ? < > | \\ and .., of at most "
            f"{LONGEST} bytes per part",
        )
        source = ScanEntry(name, Path(file), "", error=error)
    return Task(
        name,
        source,
        path=printable(row.path),
        patient=row.patient,
        series=row.series,
        stack=bool(row.stack),
        units=row.units,
        window=row.window,
        flip=row.flip,
        has_given_name=bool(row.name),
    )


def _read_table(manifest: StrPath) -> list[dict[str, Any]]:
    if not is_address(manifest):
        check_path(Path(manifest))
    try:
        content = (
            read_address(str(manifest)) if is_address(manifest) else Path(manifest).read_bytes()
        )
        if not str(manifest).lower().endswith(".parquet"):
            return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig")), restkey="more"))
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(content)).to_pylist()
    except FileNotFoundError as error:
        raise ScanError(
            "no such file or folder", where=manifest, hint="check the spelling of the path"
        ) from error
    except ImportError as error:
        raise DataError(
            "pyarrow is not installed; Parquet files require it",
            where=manifest,
            hint='run pip install "pleura[cluster]", or pass a CSV file',
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"the manifest cannot be read ({first_line(error)})",
            where=manifest,
            hint="pass a table in CSV (UTF-8) or Parquet format",
        ) from error
    return rows
