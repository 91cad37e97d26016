"""Matching of the files of two folders by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pleura.formats.registry import scan_name

ENDINGS = ("_lungs", "_labels", "_lung", "_mask", "_seg", "_pred")
"""Endings of the name of a mask, after the name of its scan."""


def normalize_name(name: str) -> str:
    """Return a name in the Unicode form NFC; macOS and old servers list names in NFD."""
    return unicodedata.normalize("NFC", name)


def name_key(name: str) -> str:
    """Return a key that is equal for names that differ only in Unicode form or in case."""
    return normalize_name(normalize_name(name).casefold())


def case_name(path: Path) -> str:
    """Return the name that a scan and its masks share: the file name without suffix and ending."""
    name = normalize_name(scan_name(path))
    for ending in ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


@dataclass(frozen=True)
class Matching:
    """Files of two folders that are matched by name.

    Attributes
    ----------
    pairs:
        Case, first file and second file; the case is named after the second file.
    unmatched_first, unmatched_second:
        Files without a counterpart in the other folder.
    ambiguous:
        Files of one folder whose names belong to the same case.
    """

    pairs: tuple[tuple[str, Path, Path], ...]
    unmatched_first: tuple[Path, ...]
    unmatched_second: tuple[Path, ...]
    ambiguous: tuple[tuple[Path, ...], ...]


def match_files(
    first: Iterable[Path], second: Iterable[Path], roots: tuple[Path, Path]
) -> Matching:
    """Match the files below two folders by their relative paths, without suffix and ending.

    Case and Unicode form are ignored. If a folder contains several files of one case, such as
    ``x.png`` and ``x_lungs.png``, they are matched by their full names.

    Parameters
    ----------
    first, second:
        The files.
    roots:
        The folders that contain them.
    """
    first_cases, second_cases = _group_by_case(first, roots[0]), _group_by_case(second, roots[1])
    pairs: list[tuple[str, Path, Path]] = []
    ambiguous = [
        tuple(files)
        for cases, others in ((first_cases, second_cases), (second_cases, first_cases))
        for case, files in cases.items()
        if len(files) > 1 and case not in others
    ]
    for case in first_cases.keys() & second_cases.keys():
        a, b = first_cases[case], second_cases[case]
        by_name_a, by_name_b = (
            {normalize_name(scan_name(p)): p for p in files} for files in (a, b)
        )
        names_are_unique = len(by_name_a) == len(a) and len(by_name_b) == len(b)
        if len(a) == len(b) == 1:
            pairs.append((_relative_name(b[0], case_name(b[0]), roots[1]), a[0], b[0]))
        elif names_are_unique and by_name_a.keys() == by_name_b.keys():
            pairs += [
                (_relative_name(path, name, roots[1]), by_name_a[name], path)
                for name, path in by_name_b.items()
            ]
        else:
            ambiguous += [tuple(files) for files in (a, b) if len(files) > 1]
    unmatched_first = sorted(first_cases.keys() - second_cases.keys())
    unmatched_second = sorted(second_cases.keys() - first_cases.keys())
    return Matching(
        pairs=tuple(sorted(pairs)),
        unmatched_first=tuple(first_cases[case][0] for case in unmatched_first),
        unmatched_second=tuple(second_cases[case][0] for case in unmatched_second),
        ambiguous=tuple(sorted(ambiguous)),
    )


def _group_by_case(files: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    cases: dict[str, list[Path]] = {}
    for path in files:
        key = name_key(_relative_name(path, case_name(path), root))
        cases.setdefault(key, []).append(path)
    return cases


def _relative_name(path: Path, name: str, root: Path) -> str:
    return normalize_name((path.parent.relative_to(root) / name).as_posix())
