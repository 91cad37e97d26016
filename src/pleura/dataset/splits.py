"""The split of a data set into subsets for training, validation and test."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pleura.dataset.pairs import Pair
from pleura.dataset.recipe_model import RecipeModel
from pleura.errors import DataError
from pleura.files.atomic import write_text
from pleura.files.tables import csv_text, csv_value
from pleura.formats.matching import composed
from pleura.names import shorten_list

SUBSETS = ("training", "validation", "test")

_OLD_NAMES = {"part": "subset", "train": "training", "pixels": "pixel_hash"}
"""Columns and values in split files of earlier versions."""


class SplitRecipe(RecipeModel):
    """How a data set is split.

    A subset has ``int(n * fraction)`` images; the test subset has the rest. The slices of a volume,
    and the DICOM files of a patient, are in one subset, except with `file`.
    """

    method: Literal["sorted", "shuffled", "grouped", "file"] = "sorted"
    """`sorted`: in order of names; `shuffled`: in random order; `grouped`: in random order, all
    images of a patient in one subset; `file`: read from `file`."""
    training_fraction: float = Field(0.6, gt=0, lt=1)
    """Fraction of the images for training; not for `file`."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Fraction of the images for validation; the test subset is the rest."""
    seed: int = 0
    """Seed of the random order, for `shuffled` and `grouped`."""
    patient_pattern: str | None = None
    """Regular expression on the file name; its first group (or the whole match) is the patient."""
    patient_file: Path | None = None
    """CSV with the columns `name` (of an image, or of a volume) and `patient`."""
    file: Path | None = None
    """CSV with the columns `name` and `subset` (training, validation or test)."""
    exclude: tuple[str, ...] = ()
    """Names of images of any source to exclude from all subsets. They still count for the
    fractions. An unknown name is an error."""
    duplicates: Literal["error", "exclude"] = "error"
    """Identical images in two subsets: stop with an `error`, or `exclude` the copies in training
    and validation, so that the test subset is unchanged."""

    @model_validator(mode="after")
    def _possible(self) -> SplitRecipe:
        if self.training_fraction + self.validation_fraction >= 1:
            raise ValueError(
                "training_fraction and validation_fraction leave no images for the test"
            )
        sources = (self.patient_pattern is not None) + (self.patient_file is not None)
        if self.method == "grouped" and sources != 1:
            raise ValueError("method 'grouped' requires either patient_pattern or patient_file")
        if self.method == "file" and self.file is None:
            raise ValueError("method 'file' requires file")
        if self.patient_pattern is not None:
            try:
                re.compile(self.patient_pattern)
            except re.error as error:
                raise ValueError(f"patient_pattern is not a regular expression: {error}") from error
        return self


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


def split_names(names: Sequence[str], recipe: SplitRecipe) -> Split:
    """Split the names of 2-D images; for volumes, use `pleura.dataset.sources.split_pairs`.

    Parameters
    ----------
    names:
        Names of all images.
    recipe:
        How to split.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        A subset is empty, a patient is unknown, or a split file does not match the names.
    """
    pairs = [Pair(name, Path(name), Path(name)) for name in names]
    if recipe.method == "file" and recipe.file is not None:
        split = read_split(recipe.file, names)
    elif recipe.method == "grouped":
        split = split_by_group(names, find_patients(pairs, recipe), recipe, shuffled=True)
    else:
        split = split_by_fraction(pairs, recipe)
    excluded = set(recipe.exclude)
    return require_nonempty(
        split.without(excluded), f"{len(names)} images, {len(excluded)} excluded"
    )


def split_by_fraction(pairs: Sequence[Pair], recipe: SplitRecipe) -> Split:
    """Split pairs in sorted or random order; a group of pairs is in one subset."""
    shuffled = recipe.method == "shuffled"
    names = sorted(pair.name for pair in pairs)
    groups = {pair.name: pair.group or pair.name for pair in pairs}
    if len(set(groups.values())) < len(names):
        return split_by_group(names, groups, recipe, shuffled=shuffled)
    if shuffled:
        random.Random(recipe.seed).shuffle(names)  # noqa: S311  (not a secret)
    first = int(len(names) * recipe.training_fraction)
    second = first + int(len(names) * recipe.validation_fraction)
    return Split(tuple(names[:first]), tuple(names[first:second]), tuple(names[second:]))


def split_by_group(
    names: Sequence[str], groups: Mapping[str, str], recipe: SplitRecipe, *, shuffled: bool
) -> Split:
    """Assign groups of names to subsets, each to the one that is furthest below its fraction.

    Parameters
    ----------
    names:
        Names of all images.
    groups:
        Group of each name, such as the patient.
    recipe:
        Fractions, and the seed of the random order.
    shuffled:
        Assign the groups in random order instead of sorted order.
    """
    members: dict[str, list[str]] = {}
    for name in sorted(names):
        members.setdefault(groups[name], []).append(name)
    order = sorted(members)
    if shuffled:
        random.Random(recipe.seed).shuffle(order)  # noqa: S311
    fractions = (
        recipe.training_fraction,
        recipe.validation_fraction,
        1 - recipe.training_fraction - recipe.validation_fraction,
    )
    subsets: tuple[list[str], ...] = ([], [], [])
    for group in order:
        filled = [len(subset) / f for f, subset in zip(fractions, subsets, strict=True)]
        subsets[filled.index(min(filled))].extend(members[group])
    return Split(*(tuple(sorted(subset)) for subset in subsets))


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
                hint="slices of a volume, and files of a patient, stay together: give three "
                "or more volumes (patients), or assign the slices with split.method=file"
                if grouped
                else "give more images (or patients), or change the fractions",
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
    known = {composed(name): name for name in names}
    listed: set[str] = set()
    for row in _read_rows(path, ("name", "subset")):
        name, subset = composed(row["name"]), _OLD_NAMES.get(row["subset"], row["subset"])
        if subset not in subsets:
            raise DataError(
                f"'{subset}' is no subset of a split (image '{name}')",
                where=path,
                hint="use training, validation or test",
            )
        if name in listed:
            raise DataError(
                f"'{name}' is listed twice", where=path, hint="list each image in one subset"
            )
        listed.add(name)
        subsets[subset].append(known.get(name, name))
    unknown = sorted(listed - known.keys())
    if unknown:
        raise DataError(
            f"the split lists {len(unknown)} unknown image(s): {shorten_list(unknown)}",
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
            f"the list of names cannot be read ({error})", where=path, hint="save it as UTF-8"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def find_patients(pairs: Sequence[Pair], recipe: SplitRecipe) -> Mapping[str, str]:
    """Return the patient of each pair by name, from the recipe's pattern or file.

    Raises
    ------
    DataError
        The patient of an image is unknown, or slices of one volume have several patients.
    """
    found: dict[str, str | None] = {}
    if recipe.patient_file is not None:
        listed: dict[str, str] = {}
        for row in _read_rows(recipe.patient_file, ("name", "patient")):
            name = composed(row["name"])
            if listed.setdefault(name, row["patient"]) != row["patient"]:
                raise DataError(
                    f"'{name}' has two patients",
                    where=recipe.patient_file,
                    hint="list each image once",
                )
        found = {p.name: listed.get(p.name) or listed.get(p.file_name) for p in pairs}
    else:
        pattern = re.compile(recipe.patient_pattern or "")
        for pair in pairs:
            match = pattern.search(pair.name)
            found[pair.name] = match and (match.group(1) if pattern.groups else match.group())
    where = recipe.patient_file or f"pattern {recipe.patient_pattern}"
    missing = [name for name, patient in found.items() if not patient]
    if missing:
        raise DataError(
            f"{len(missing)} image(s) without patient: {shorten_list(missing)}",
            where=where,
            hint="specify the patient of every image",
        )
    of_volume: dict[Path, str | None] = {}
    for pair in pairs:
        if of_volume.setdefault(pair.image, found[pair.name]) != found[pair.name]:
            raise DataError(
                f"slices of one volume have several patients: {pair.file_name}",
                where=where,
                hint="assign all slices of a volume to the same patient",
            )
    return {name: str(patient) for name, patient in found.items()}


def _read_rows(path: Path, columns: tuple[str, str]) -> list[dict[str, str]]:
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
            f"the table cannot be read ({error})", where=path, hint="give a CSV file in UTF-8"
        ) from error
