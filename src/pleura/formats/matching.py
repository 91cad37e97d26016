"""Match the files of two folders by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pleura.formats.registry import scan_name

ENDINGS = ("_lungs", "_lung", "_mask", "_seg", "_pred")
"""Suffixes of the name of a mask after the name of its scan."""


def composed(name: str) -> str:
    """Return a name in the Unicode form NFC; macOS and old servers hand out NFD."""
    return unicodedata.normalize("NFC", name)


def same_name(name: str) -> str:
    """Return a key that names share if they differ only in Unicode form or in case."""
    return composed(composed(name).casefold())


def case_name(path: Path) -> str:
    """Return what a scan and its masks are called: the file name without suffix and ending."""
    name = composed(scan_name(path))
    for ending in ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


@dataclass(frozen=True)
class Matching:
    """Files of two folders: those that belong together, and those that are left.

    ``pairs`` holds (case, first, second), the case named after the second file. ``ambiguous`` are
    files of one folder between which the names do not decide.
    """

    pairs: tuple[tuple[str, Path, Path], ...]
    first_alone: tuple[Path, ...]
    second_alone: tuple[Path, ...]
    ambiguous: tuple[tuple[Path, ...], ...]


def match_files(
    first: Iterable[Path], second: Iterable[Path], roots: tuple[Path, Path]
) -> Matching:
    """Match the files below two folders by their paths there, without suffix and ending.

    Upper and lower case and the Unicode form do not count. Where several files would have one name,
    such as ``x.png`` and ``x_lungs.png``, their full names have to be the same in both folders.
    """
    one, two = _by_case(first, roots[0]), _by_case(second, roots[1])
    pairs: list[tuple[str, Path, Path]] = []
    ambiguous = [
        tuple(files)
        for mine, others in ((one, two), (two, one))
        for case, files in mine.items()
        if len(files) > 1 and case not in others
    ]
    for case in one.keys() & two.keys():
        a, b = ({composed(scan_name(p)): p for p in side[case]} for side in (one, two))
        whole = len(a) == len(one[case]) and len(b) == len(two[case])
        if len(one[case]) == len(two[case]) == 1:
            path = two[case][0]
            pairs.append((_below(path, case_name(path), roots[1]), one[case][0], path))
        elif whole and a.keys() == b.keys():
            pairs += [(_below(b[n], composed(scan_name(b[n])), roots[1]), a[n], b[n]) for n in a]
        else:
            ambiguous += [tuple(side[case]) for side in (one, two) if len(side[case]) > 1]
    return Matching(
        pairs=tuple(sorted(pairs)),
        first_alone=tuple(one[case][0] for case in sorted(one.keys() - two.keys())),
        second_alone=tuple(two[case][0] for case in sorted(two.keys() - one.keys())),
        ambiguous=tuple(sorted(ambiguous)),
    )


def _by_case(files: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(same_name(_below(path, case_name(path), root)), []).append(path)
    return found


def _below(path: Path, name: str, root: Path) -> str:
    return composed((path.parent.relative_to(root) / name).as_posix())
