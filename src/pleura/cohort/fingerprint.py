"""Fingerprints, by which `segment_cohort` recognises a scan that it has segmented before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pleura.cohort.stores import RemoteScan
from pleura.cohort.task import Task
from pleura.files.hashing import hash_files
from pleura.files.listing import check_path, files_below
from pleura.formats.find import ScanEntry, files_of_volume
from pleura.names import short_hash


def fingerprint(task: Task) -> dict[str, Any]:
    """Return what identifies the content of a scan, as JSON values.

    Returns
    -------
    dict
        For a local scan ``files`` (hashed name, size in bytes, and time of change in ns of each
        file) and ``sha256`` of the content; for a scan at an address ``store``, a hash of the
        names, sizes and versions of its files.

    Raises
    ------
    PleuraError
        The scan cannot be reached.
    """
    if isinstance(task.source, RemoteScan):
        return {"store": task.source.content_hash()}
    files = _files(task)
    return {"files": _status(files), "sha256": hash_files(files)}


def is_unchanged(task: Task, before: Mapping[str, Any]) -> bool:
    """Return whether a scan has the same content as one with the given fingerprint.

    Files of the same sizes and times are not read.
    """
    if not isinstance(task.source, RemoteScan):
        status = _status(_files(task))
        if status == before["files"]:
            return True
        if [entry[:2] for entry in status] != [entry[:2] for entry in before["files"]]:
            return False
    now = fingerprint(task)
    key = "store" if "store" in now else "sha256"
    return bool(now[key] == before[key])


def _files(task: Task) -> list[Path]:
    if isinstance(task.source, RemoteScan):
        return []
    if isinstance(task.source, ScanEntry) and task.source.error is not None:
        raise task.source.error
    if isinstance(task.source, ScanEntry) and task.source.files:
        return list(task.source.files)
    source = task.source.source if isinstance(task.source, ScanEntry) else task.source
    check_path(source)
    return list(files_of_volume(source)) if source.is_file() else files_below(source)


def _status(files: list[Path]) -> list[list[str | int]]:
    """Return hashed name, size and time of each file; a name may be that of a patient."""
    return [[short_hash(f.name), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
