"""Find the scans to segment below a path or an address, or in a manifest."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pleura.cohort.manifest import SUFFIXES, read_manifest
from pleura.cohort.result_names import RESULT_ENDINGS
from pleura.cohort.stores import RemoteScan, is_address, is_single_file, list_files
from pleura.cohort.task import Task, anonymous_task
from pleura.errors import DataError, ScanError
from pleura.files.listing import OTHER_SUFFIXES
from pleura.formats.find import find_scans
from pleura.formats.registry import scan_name
from pleura.names import printable, safe_name, short_hash
from pleura.typing import StrPath


def find_tasks(inputs: StrPath, output: str, *, anonymous: bool = False) -> list[Task]:
    """Find the scans of a path, an address, or a manifest, without results of pleura.

    Parameters
    ----------
    inputs:
        A scan, a folder of scans, an fsspec address of either, or a manifest (.csv, .parquet).
    output:
        Path or address of the results.
    anonymous:
        Name results by hashes of the paths of scans, except for names that a manifest states.

    Returns
    -------
    list of Task
        Sorted by name. A scan that cannot be read, or whose name in a manifest is invalid, is a
        task whose source holds the error.

    Raises
    ------
    ScanError, DataError
        There is no scan, an address cannot be reached, or the manifest is invalid.
    """
    if str(inputs).lower().endswith(SUFFIXES):
        tasks = read_manifest(inputs)
    elif is_address(inputs):
        tasks = list(_find_at_address(str(inputs), output))
    else:
        tasks = list(_find_in_folder(Path(inputs), output))
    if not tasks:
        raise ScanError("no scan found", where=inputs, hint="pass a file or folder with scans")
    counts = Counter(task.name.lower() for task in tasks)
    tasks = [
        task
        if counts[task.name.lower()] == 1
        else replace(task, name=f"{task.name}-{short_hash(task.unique_key)}")
        for task in tasks
    ]
    tasks = [anonymous_task(task) for task in tasks] if anonymous else tasks
    if len({task.name.lower() for task in tasks}) < len(tasks):
        raise DataError(
            "two rows of the manifest have the same name",
            where=inputs,
            hint="give each row a unique name",
        )
    return sorted(tasks, key=lambda task: task.name)


def _find_in_folder(inputs: Path, output: str) -> Iterator[Task]:
    """Yield the scans below a folder that are not results.

    Results are recognised by the output folder, or by name and report.
    """
    root = inputs.resolve()
    results = None if is_address(output) else Path(output).resolve()
    if results is not None and root.is_relative_to(results):
        results = None  # the scans are in the output folder
    for entry in find_scans(inputs):
        source = Path(os.path.realpath(entry.source))  # resolve() raises on a loop of links
        inside = results is not None and source.is_relative_to(results)
        if entry.chosen and not inside and not _is_result(entry.source):
            yield Task(entry.name, entry, path=_path_below(source, root))


def _path_below(source: Path, inputs: Path) -> str:
    """Return the path of a scan below the inputs; if it is the input itself, its name."""
    inside = source != inputs and source.is_relative_to(inputs)
    return printable(source.relative_to(inputs).as_posix() if inside else source.name)


def _is_result(source: Path) -> bool:
    stem = scan_name(source).removesuffix(".corrected").removesuffix("_preview")
    return stem.endswith(RESULT_ENDINGS) and source.with_name(f"{stem}.json").is_file()


def _find_at_address(address: str, output: str) -> Iterator[Task]:
    """Yield each single-file scan, and each folder with other files (DICOM) as one scan."""
    root, files = list_files(address, output)
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folders[str(PurePosixPath(file).parent)].append(file)
    for folder, names in folders.items():
        scans = [file for file in names if is_single_file(file)]
        stems = {scan_name(Path(file)): file for file in scans}
        companions: dict[str, list[str]] = defaultdict(list)
        dicom: list[str] = []
        for file in sorted(set(names) - set(scans)):
            if file.lower().endswith(OTHER_SUFFIXES):
                continue
            scan = stems.get(PurePosixPath(file).name.partition(".")[0])
            (dicom if scan is None else companions[scan]).append(file)
        for scan in scans:
            path = PurePosixPath(scan).relative_to(root or ".") if root else PurePosixPath(scan)
            name = path.with_name(scan_name(Path(path.name)))
            source = RemoteScan(address, (scan, *sorted(companions[scan])))
            yield Task(safe_name(str(name)), source, path=printable(str(path)))
        if dicom:  # the name of the folder may be that of the patient
            source = RemoteScan(address, tuple(sorted(dicom)))
            path_text = printable(_folder_below(folder, root))
            yield Task(f"dicom-{short_hash(folder)}", source, path=path_text)


def _folder_below(folder: str, root: str) -> str:
    path = PurePosixPath(folder)
    inside = root and path != PurePosixPath(root) and path.is_relative_to(root)
    return str(path.relative_to(root)) if inside else path.name
