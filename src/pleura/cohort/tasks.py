"""Which scans there are to segment: below a path, below an address, or in a manifest."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pleura.cohort.stores import RemoteScan, is_address, is_file, list_files, read_address
from pleura.errors import DataError, ScanError, first_line
from pleura.files.listing import OTHER, check_path
from pleura.formats.find import ScanEntry, find_scans
from pleura.formats.read import scan_name
from pleura.intensity.mapping import UnitsOption
from pleura.names import LONGEST, printable, safe_name, short_hash

MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True)
class Task:
    """A scan to segment. ``name`` is that of its results, a path below the output.

    ``path`` is that of the scan below the inputs, for reports; empty where they are anonymous.
    The options are those of its row in a manifest; where they are None, the command's hold.
    """

    name: str
    source: ScanEntry | RemoteScan | Path
    patient: str = ""
    series: str | None = None
    stack: bool = False
    units: UnitsOption | None = None
    flip: bool | None = None
    path: str = ""
    named: bool = False
    """Whether a manifest gives the name."""

    @property
    def told_apart(self) -> str:
        """What no other scan of the batch has, the same in every process."""
        where = self.source.source if isinstance(self.source, ScanEntry) else self.source
        what = self.source.description if isinstance(self.source, ScanEntry) else ""
        return f"{where} {what} {self.series} {self.stack} {self.units} {self.flip}"

    @property
    def filename(self) -> str:
        """The name of the scan's file or folder."""
        if isinstance(self.source, RemoteScan):
            return PurePosixPath((self.source.files or (self.source.address,))[0]).name
        return (self.source.source if isinstance(self.source, ScanEntry) else self.source).name


def find_tasks(inputs: str | Path, output: str, *, anonymous: bool = False) -> list[Task]:
    """Find the scans of a path, an address or a manifest, sorted by name; no results of ours.

    Where ``anonymous``, names of results are hashes of the paths of scans, but for the names that a
    manifest gives. What cannot be a name of results is a task whose source is an error.

    Raises
    ------
    ScanError, DataError
        There is nothing, an address cannot be reached, or the manifest is no table of scans.
    """
    if str(inputs).lower().endswith(MANIFESTS):
        tasks = _of_manifest(inputs)
    elif is_address(inputs):
        tasks = list(_at_address(str(inputs), output))
    else:
        tasks = list(_in_folder(Path(inputs), output))
    if not tasks:
        raise ScanError("no scan is there", where=inputs, hint="give a folder that holds some")
    times = Counter(task.name.lower() for task in tasks)
    tasks = [
        task
        if times[task.name.lower()] == 1
        else replace(task, name=f"{task.name}-{short_hash(task.told_apart)}")
        for task in tasks
    ]
    tasks = [anonymous_task(task) for task in tasks] if anonymous else tasks
    if len({task.name.lower() for task in tasks}) < len(tasks):
        raise DataError(
            "the manifest lists a scan twice", where=inputs, hint="give each row a name of its own"
        )
    return sorted(tasks, key=lambda task: task.name)


def _in_folder(inputs: Path, output: str) -> Iterator[Task]:
    """Yield what is found below a folder, without results: by folder, or by name and report."""
    root = inputs.resolve()
    results = None if is_address(output) else Path(output).resolve()
    if results is not None and root.is_relative_to(results):
        results = None  # the scans lie among the results
    for one in find_scans(inputs):
        source = Path(os.path.realpath(one.source))  # resolve() raises on a loop of links
        inside = results is not None and source.is_relative_to(results)
        if one.chosen and not inside and not _is_result(one.source):
            yield Task(one.name, one, path=_below(source, root))


def _below(source: Path, inputs: Path) -> str:
    """Return the path of a scan below the inputs; of the inputs themselves their name."""
    inside = source != inputs and source.is_relative_to(inputs)
    return printable(source.relative_to(inputs).as_posix() if inside else source.name)


def anonymous_task(task: Task) -> Task:
    """Return a task whose name of results is a hash, and which holds no path for reports."""
    hashed = f"scan-{short_hash(f'{task.path} {task.name}')}"
    return replace(task, name=task.name if task.named else hashed, path="")


def _is_result(source: Path) -> bool:
    stem = scan_name(source).removesuffix(".corrected").removesuffix("_preview")
    return stem.endswith("_lungs") and source.with_name(f"{stem}.json").is_file()


def _at_address(address: str, output: str) -> Iterator[Task]:
    """Yield a task for each file that is a scan, and for each folder of other files, as DICOM."""
    root, files = list_files(address, output)
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folders[str(PurePosixPath(file).parent)].append(file)
    for folder, inside in folders.items():
        scans = [file for file in inside if is_file(file)]
        stems = {scan_name(Path(file)): file for file in scans}
        belonging: dict[str, list[str]] = defaultdict(list)
        rest: list[str] = []
        for file in sorted(set(inside) - set(scans)):
            if file.lower().endswith(OTHER):
                continue
            scan = stems.get(PurePosixPath(file).name.partition(".")[0])
            (rest if scan is None else belonging[scan]).append(file)
        for scan in scans:
            path = PurePosixPath(scan).relative_to(root or ".") if root else PurePosixPath(scan)
            name = path.with_name(scan_name(Path(path.name)))
            source = RemoteScan(address, (scan, *sorted(belonging[scan])))
            yield Task(safe_name(str(name)), source, path=printable(str(path)))
        if rest:  # a folder's name may be a patient's, and only the files would tell
            source = RemoteScan(address, tuple(sorted(rest)))
            yield Task(f"dicom-{short_hash(folder)}", source, path=printable(_under(folder, root)))


def _under(folder: str, root: str) -> str:
    path = PurePosixPath(folder)
    inside = root and path != PurePosixPath(root) and path.is_relative_to(root)
    return str(path.relative_to(root)) if inside else path.name


def _flag(value: Any) -> Any:
    return value or None


class _Listed(BaseModel):
    """A row of a manifest."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(min_length=1)]
    name: Annotated[str | None, BeforeValidator(_flag)] = None
    patient: str = ""
    series: Annotated[str | None, BeforeValidator(_flag)] = None
    stack: Annotated[bool | None, BeforeValidator(_flag)] = None
    units: Annotated[UnitsOption | None, BeforeValidator(_flag)] = None
    flip: Annotated[bool | None, BeforeValidator(lambda v: None if v == "" else v)] = None


def _of_manifest(manifest: str | Path) -> list[Task]:
    rows = _table(manifest)
    columns = {str(column) for row in rows[:1] for column in row}
    unknown = sorted(columns - set(_Listed.model_fields))
    if unknown or (rows and "path" not in rows[0]):
        raise DataError(
            f"the manifest has unknown columns: {', '.join(unknown)}"
            if unknown
            else "the manifest has no column named path",
            where=manifest,
            hint=f"name the columns {', '.join(_Listed.model_fields)}; all but path may be missing",
        )
    if not rows:
        raise DataError("the manifest is empty", where=manifest, hint="list a scan a row")
    here = str(manifest).rpartition("/")[0] if is_address(manifest) else Path(manifest).parent
    return [_listed(row, number, manifest, here) for number, row in enumerate(rows, 2)]


def _listed(row: dict[str, Any], number: int, manifest: str | Path, here: str | Path) -> Task:
    given = {k: "" if v is None else v if isinstance(v, bool) else str(v) for k, v in row.items()}
    try:
        one = _Listed.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        raise DataError(
            f"row {number} of the manifest: {problem['loc'][0]}: {problem['msg']}",
            where=manifest,
            hint="correct it",
        ) from error
    if is_address(one.path):
        source: RemoteScan | Path | ScanEntry = RemoteScan(one.path)
    else:
        source = RemoteScan(f"{here}/{one.path}") if isinstance(here, str) else here / one.path
    file = PurePosixPath(one.path.replace("\\", "/")).name
    own = scan_name(Path(file)) if is_file(file) else f"dicom-{short_hash(one.path)}"
    name = safe_name(one.name or own)
    if one.name and name != one.name:
        refused = DataError(
            f"'{one.name}' cannot be the name of results",
            where=manifest,
            hint="give a path below the output without : * ? < > | \\ and .., at most "
            f"{LONGEST} bytes a part",
        )
        source = ScanEntry(name, Path(file), "", error=refused)
    return Task(
        name,
        source,
        one.patient,
        one.series,
        bool(one.stack),
        one.units,
        one.flip,
        printable(one.path),
        named=bool(one.name),
    )


def _table(manifest: str | Path) -> list[dict[str, Any]]:
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
            "Parquet needs a library that is not installed",
            where=manifest,
            hint='pip install "pleura[cluster]", or give a CSV',
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"the manifest cannot be read ({first_line(error)})",
            where=manifest,
            hint="give a table, as CSV in UTF-8 or as Parquet",
        ) from error
    return rows
