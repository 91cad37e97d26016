"""Which scans there are to segment: below a path, below an address, or in a manifest."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from pleura.cohort.places import Remote, is_address, is_file, list_files, read_address
from pleura.errors import DataError, ScanError, first_line
from pleura.scan.find import Found, find_scans
from pleura.scan.hounsfield import UnitsOption
from pleura.scan.io import scan_name

MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True)
class Task:
    """A scan to segment. ``name`` is that of its results, a path below the output.

    The options are those of its row in a manifest; where they are None, the command's hold.
    """

    name: str
    source: Found | Remote | Path
    patient: str = ""
    series: str | None = None
    stack: bool = False
    units: UnitsOption | None = None
    flip: bool | None = None

    @property
    def filename(self) -> str:
        """The name of the scan's file or folder."""
        if isinstance(self.source, Remote):
            return PurePosixPath((self.source.files or (self.source.address,))[0]).name
        return (self.source.source if isinstance(self.source, Found) else self.source).name


def find_tasks(inputs: str | Path, output: Path | None) -> list[Task]:
    """Find the scans of a path, an address or a manifest, sorted by name; not below ``output``.

    Raises
    ------
    ScanError, DataError
        There is nothing, an address cannot be reached, or the manifest is no table of scans.
    """
    if str(inputs).lower().endswith(MANIFESTS):
        tasks = _of_manifest(inputs)
    elif is_address(inputs):
        tasks = list(_at_address(str(inputs)))
    else:
        tasks = [
            Task(one.name, one)
            for one in find_scans(inputs)
            if one.chosen and not (output and one.source.resolve().is_relative_to(output.resolve()))
        ]
    times = Counter(task.name.lower() for task in tasks)
    tasks = [
        task
        if times[task.name.lower()] == 1
        else replace(task, name=f"{task.name}-{_hash(repr(task.source))}")
        for task in tasks
    ]
    return sorted(tasks, key=lambda task: task.name)


def _at_address(address: str) -> Iterator[Task]:
    """Yield a task for each file that is a scan, and for each folder of other files, as DICOM."""
    root, files = list_files(address)
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folders[str(PurePosixPath(file).parent)].append(file)
    for folder, inside in folders.items():
        scans = [file for file in inside if is_file(file)]
        stems = {scan_name(Path(file)): file for file in scans}
        belonging: dict[str, list[str]] = defaultdict(list)
        rest: list[str] = []
        for file in set(inside) - set(scans):
            scan = stems.get(PurePosixPath(file).name.partition(".")[0])
            (rest if scan is None else belonging[scan]).append(file)
        for scan in scans:
            path = PurePosixPath(scan).relative_to(root or ".") if root else PurePosixPath(scan)
            name = path.with_name(scan_name(Path(path.name)))
            yield Task(str(name), Remote(address, (scan, *sorted(belonging[scan]))))
        if rest:  # a folder's name may be a patient's, and only the files would tell
            yield Task(f"dicom-{_hash(folder)}", Remote(address, tuple(sorted(rest))))


def _flag(value: Any) -> Any:
    return value or None


class _Listed(BaseModel):
    """A row of a manifest."""

    model_config = ConfigDict(extra="forbid")

    path: str
    name: Annotated[str | None, BeforeValidator(_flag)] = None
    patient: str = ""
    series: Annotated[str | None, BeforeValidator(_flag)] = None
    stack: Annotated[bool | None, BeforeValidator(_flag)] = None
    units: Annotated[UnitsOption | None, BeforeValidator(_flag)] = None
    flip: Annotated[bool | None, BeforeValidator(lambda v: None if v == "" else v)] = None


def _of_manifest(manifest: str | Path) -> list[Task]:
    rows = _table(manifest)
    unknown = sorted({column for row in rows[:1] for column in row} - set(_Listed.model_fields))
    if unknown or (rows and "path" not in rows[0]):
        raise DataError(
            f"the manifest has unknown columns: {', '.join(unknown)}"
            if unknown
            else "the manifest has no column named path",
            where=manifest,
            fix=f"name the columns {', '.join(_Listed.model_fields)}; all but path may be missing",
        )
    if not rows:
        raise DataError("the manifest is empty", where=manifest, fix="list a scan a row")
    here = None if is_address(manifest) else Path(manifest).parent
    return [_listed(row, number, manifest, here) for number, row in enumerate(rows, 2)]


def _listed(row: dict[str, Any], number: int, manifest: str | Path, here: Path | None) -> Task:
    try:
        one = _Listed.model_validate({k: "" if v is None else v for k, v in row.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        raise DataError(
            f"row {number} of the manifest: {problem['loc'][0]}: {problem['msg']}",
            where=manifest,
            fix="correct it",
        ) from error
    source = Remote(one.path) if is_address(one.path) or here is None else here / one.path
    file = PurePosixPath(one.path.replace("\\", "/")).name
    own = scan_name(Path(file)) if is_file(file) else f"dicom-{_hash(one.path)}"
    name = one.name or own
    if PurePosixPath(name).is_absolute() or ".." in name or "\\" in name or ":" in name:
        raise DataError(
            f"row {number} of the manifest: the name {name} leads out of the results",
            where=manifest,
            fix="name it by a path below the output",
        )
    return Task(name, source, one.patient, one.series, bool(one.stack), one.units, one.flip)


def _table(manifest: str | Path) -> list[dict[str, Any]]:
    try:
        content = (
            read_address(str(manifest)) if is_address(manifest) else Path(manifest).read_bytes()
        )
        if not str(manifest).lower().endswith(".parquet"):
            return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(content)).to_pylist()
    except FileNotFoundError as error:
        raise ScanError(
            "no such file or folder", where=manifest, fix="check the spelling of the path"
        ) from error
    except ImportError as error:
        raise DataError(
            "Parquet needs a library that is not installed",
            where=manifest,
            fix='pip install "pleura[cluster]", or give a CSV',
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"the manifest cannot be read ({first_line(error)})",
            where=manifest,
            fix="give a table, as CSV in UTF-8 or as Parquet",
        ) from error
    return rows


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
