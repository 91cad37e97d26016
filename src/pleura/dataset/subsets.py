"""The subsets of a split, and the CSV files that store them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from pleura.errors import DataError, first_line
from pleura.files.atomic import write_text
from pleura.files.listing import describe_wrong_path
from pleura.files.tables import csv_text, csv_value
from pleura.formats.matching import normalize_name
from pleura.names import counted, shorten_list

SUBSETS = ("training", "validation", "test")


_OLD_NAMES = {"part": "subset", "train": "training", "pixels": "pixel_hash"}
"""Columns and values in split files of earlier versions."""


@dataclass(frozen=True, repr=False)
class Split:
    """Names of the images of each subset.

    Parameters
    ----------
    training, validation, test:
        Names of images, as in `pleura.dataset.pairs.Pair`.
    """

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __repr__(self) -> str:
        counts = ", ".join(f"{subset}: {len(getattr(self, subset))}" for subset in SUBSETS)
        return f"<Split, images per subset: {counts}>"

    def subset_by_name(self) -> dict[str, str]:
        """Return the subset of each image by name."""
        return {name: subset for subset in SUBSETS for name in getattr(self, subset)}

    def without(self, names: Set[str]) -> Split:
        """Return the split without the images of these names."""
        return Split(*(tuple(x for x in getattr(self, s) if x not in names) for s in SUBSETS))

    def write(self, path: Path, pixel_hashes: Mapping[str, str] | None = None) -> None:
        """Write the split as CSV with the columns `name`, `subset` and, if given, `pixel_hash`."""
        header = ["name", "subset", *(["pixel_hash"] if pixel_hashes else [])]
        rows = (
            [name, subset, *([pixel_hashes[name]] if pixel_hashes else [])]
            for name, subset in self.subset_by_name().items()
        )
        write_text(path, csv_text(header, rows))


def require_nonempty(split: Split, where: str, *, grouped: bool = False) -> Split:
    """Return the split if no subset is empty.

    Raises
    ------
    DataError
        A subset is empty.
    """
    for subset in SUBSETS:
        if not getattr(split, subset):
            raise DataError(
                f"the {subset} subset of the split is empty",
                where=where,
                hint="use three or more volumes or patients, or assign single slices with "
                "split.method=file: slices of a volume and files of a patient stay together"
                if grouped
                else "add images or patients, or change the fractions",
            )
    return split


def read_split(path: Path, names: Sequence[str]) -> Split:
    """Read a split from a CSV file.

    Parameters
    ----------
    path:
        Table with the columns `name` and `subset` (training, validation or test). The column name
        `part` and the value `train` of earlier versions are accepted.
    names:
        Names of all images. Their Unicode form is ignored; images that are not listed are in no
        subset.

    Raises
    ------
    DataError
        The file is unreadable, lists an unknown image or subset, or lists an image twice.
    """
    subsets: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    known = {normalize_name(name): name for name in names}
    listed: set[str] = set()
    for row in read_rows(path, ("name", "subset")):
        name, subset = normalize_name(row["name"]), _OLD_NAMES.get(row["subset"], row["subset"])
        if subset not in subsets:
            raise DataError(
                f"'{subset}' is not a subset of a split (image '{name}')",
                where=path,
                hint="use training, validation or test",
            )
        if name in listed:
            raise DataError(
                f"image '{name}' has two rows",
                where=path,
                hint="list each image in one subset only",
            )
        listed.add(name)
        subsets[subset].append(known.get(name, name))
    unknown = sorted(listed - known.keys())
    if unknown:
        raise DataError(
            f"the split lists {counted(len(unknown), 'unknown image')}: {shorten_list(unknown)}",
            where=path,
            hint="correct the names (with suffix), or add the images",
        )
    return require_nonempty(Split(*map(tuple, subsets.values())), str(path))


def read_training_hashes(path: Path) -> set[str]:
    """Return the pixel hashes of the training images in a split file, if it has any.

    Raises
    ------
    DataError
        The file is unreadable.
    """
    columns, rows = _read_table(path)
    if not {"subset", "pixel_hash"} <= set(columns):
        return set()
    training = (row for row in rows if _OLD_NAMES.get(row["subset"], row["subset"]) == "training")
    return {row["pixel_hash"] for row in training} - {""}


def read_names(path: Path) -> list[str]:
    """Read names of images from a text file, one per line.

    Raises
    ------
    DataError
        The file is not readable text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "the list of names cannot be read as text"
            if path.is_file()
            else describe_wrong_path(path, "file"),
            where=path,
            hint="pass a text file in UTF-8",
        ) from error
    return [line.strip() for line in lines if line.strip()]


def read_rows(path: Path, columns: tuple[str, str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file that has these columns: a name, and a value."""
    known, rows = _read_table(path)
    missing = [column for column in columns if column not in known]
    if missing:
        raise DataError(
            f"the table has no column '{missing[0]}'",
            where=path,
            hint=f"add the columns {' and '.join(columns)}",
        )
    name, value = columns  # a file name may begin with a space: names are not stripped
    return [{name: csv_value(row[name]), value: row[value].strip()} for row in rows]


def _read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a CSV file, by their current names, and its rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = [_OLD_NAMES.get(column, column) for column in reader.fieldnames or []]
            reader.fieldnames = columns
            return columns, list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"the table cannot be read ({first_line(error)})"
            if path.is_file()
            else describe_wrong_path(path, "file"),
            where=path,
            hint="pass a CSV file in UTF-8",
        ) from error
