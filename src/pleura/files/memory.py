"""Memory that is available to this process."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_CONTROL_GROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Limit, usage and statistics of versions 2 and 1, and the name of file caches in the latter."""


def available_memory(
    meminfo: Path = _MEMINFO, control_groups: Path = _CONTROL_GROUPS
) -> int | None:
    """Return the bytes that can be allocated without swapping; None if unknown, as on Windows.

    Parameters
    ----------
    meminfo, control_groups:
        File and folder of Linux with the memory of the system, and with the limits of a container.
    """
    found = [_of_system(meminfo)]
    found += [_of_control_group(control_groups, files) for files in _CONTROL_GROUP_FILES]
    known = [n for n in found if n is not None]
    return max(min(known), 0) if known else None


def _of_system(meminfo: Path) -> int | None:
    try:
        return int(_fields(meminfo)["MemAvailable:"]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _of_control_group(folder: Path, files: tuple[str, str, str, str]) -> int | None:
    limit, usage, statistics, caches = files
    try:
        used = int((folder / usage).read_text()) - int(_fields(folder / statistics)[caches])
        return int((folder / limit).read_text()) - used
    except (OSError, KeyError, ValueError):  # without a limit, its file contains "max"
        return None


def _fields(path: Path) -> dict[str, str]:
    """Return the second word of each line by the first."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1}
