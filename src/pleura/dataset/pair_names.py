"""Search of pairs by the names that users give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from pleura.dataset.pairs import Pair
from pleura.errors import DataError
from pleura.formats.matching import name_key
from pleura.formats.registry import scan_name
from pleura.names import counted, shorten_list


def find_names(pairs: Sequence[Pair], wanted: Sequence[str], where: str) -> set[str]:
    """Return the names of the pairs that a user refers to.

    Parameters
    ----------
    pairs:
        All pairs.
    wanted:
        Names, file names, or file names without suffix. The file name of a volume refers to all of
        its slices.
    where:
        Where the names are from, for error messages.

    Raises
    ------
    DataError
        No pair, or several images, have a name.
    """
    known: dict[str, dict[Path, set[str]]] = {}
    for pair in pairs if wanted else ():
        for alias in _aliases(pair):
            known.setdefault(name_key(alias), {}).setdefault(pair.image, set()).add(pair.name)
    found: set[str] = set()
    unknown = [name for name in wanted if name_key(name) not in known]
    if unknown:
        raise DataError(
            f"{counted(len(unknown), 'unknown image name')}: {shorten_list(unknown)}",
            where=where,
            hint="correct the names, or remove them",
        )
    for name in wanted:
        files = known[name_key(name)]
        if len(files) > 1:
            full_names = sorted(min(names) for names in files.values())
            raise DataError(
                f"{len(files)} images have the name '{name}'",
                where=where,
                hint=f"use the full name: {' or '.join(full_names)}",
            )
        found |= next(iter(files.values()))
    return found


def _aliases(pair: Pair) -> set[str]:
    names = {pair.name, pair.file_name, PurePath(pair.file_name).name, pair.image.name}
    return names | {scan_name(pair.image), f"{pair.image.name}{pair.name[len(pair.file_name) :]}"}
