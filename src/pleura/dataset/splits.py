"""Which images are for training, validation and test."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pleura.dataset.pairs import Pair
from pleura.errors import DataError
from pleura.files.atomic import write_atomically
from pleura.files.tables import csv_text, csv_value
from pleura.formats.matching import composed


class SplitRecipe(BaseModel):
    """How a set is split; subsets are cut as ``int(n * fraction)``, the test subset is the rest.

    Slices of a volume, and DICOM files of a patient, stay in one subset, except with `file`.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    method: Literal["sorted", "shuffled", "grouped", "file"] = "sorted"
    """`sorted`: in order of names; `shuffled`: by `seed`; `grouped`: shuffled, all images of one
    patient in one subset; `file`: read from `file`."""
    train: float = Field(0.6, gt=0, lt=1)
    """Fraction of the images for training; not for `file`."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Fraction of the images for validation; the test subset is the rest."""
    seed: int = 0
    """For `shuffled` and `grouped`."""
    patient_pattern: str | None = None
    """Regular expression on the file name; its first group (or the whole match) is the patient."""
    patient_file: Path | None = None
    """CSV with the columns `name` (of an image, or of a volume) and `patient`."""
    file: Path | None = None
    """CSV with the columns `name` and `part` (train, validation or test)."""
    leave_out: tuple[str, ...] = ()
    """Names of images, of any source, that are in no subset; they are counted where the subsets are
    cut. A name of no image is refused."""
    duplicates: Literal["refuse", "leave_out"] = "refuse"
    """Images in two subsets that are the same, pixel for pixel: `refuse` to train, or `leave_out`
    those in training (or validation) that are in the test (or validation) subset."""

    @model_validator(mode="after")
    def _possible(self) -> SplitRecipe:
        if self.train + self.validation >= 1:
            raise ValueError("train and validation leave nothing for the test")
        sources = (self.patient_pattern is not None) + (self.patient_file is not None)
        if self.method == "grouped" and sources != 1:
            raise ValueError("grouped: give either patient_pattern or patient_file")
        if self.method == "file" and self.file is None:
            raise ValueError("method 'file': name the file")
        if self.patient_pattern is not None:
            try:
                re.compile(self.patient_pattern)
            except re.error as error:
                raise ValueError(f"patient_pattern is no regular expression: {error}") from error
        return self


@dataclass(frozen=True)
class Split:
    """Names of the images of each subset."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def subsets(self) -> dict[str, str]:
        """Return the subset of each name."""
        return {name: field.name for field in fields(self) for name in getattr(self, field.name)}

    def write(self, path: Path, pixels: Mapping[str, str] | None = None) -> None:
        """Write the split as CSV: `name`, `part`, and a hash of each image where it is given."""
        header = ["name", "part", *(["pixels"] if pixels else [])]
        rows = (
            [name, part, *([pixels[name]] if pixels else [])]
            for name, part in self.subsets().items()
        )
        text = csv_text(header, rows)
        write_atomically(path, lambda file: file.write(text.encode()))


def split_names(names: Sequence[str], recipe: SplitRecipe) -> Split:
    """Split the names of pictures; `pleura.dataset.sources.split_pairs` knows volumes too.

    Raises
    ------
    DataError
        A subset would be empty, a patient is unknown, or a split file does not fit the names.
    """
    pairs = [Pair(name, Path(name), Path(name)) for name in names]
    if recipe.method == "file" and recipe.file is not None:
        split = read_split(recipe.file, names)
    elif recipe.method == "grouped":
        split = split_groups(names, patients_of(pairs, recipe), recipe, shuffled=True)
    else:
        split = cut_names(pairs, recipe)
    out = set(recipe.leave_out)
    return require_subsets(without(out, split), f"{len(names)} images, {len(out)} left out")


def without(names: Set[str], split: Split) -> Split:
    """Return a split without some names."""
    kept = (tuple(x for x in getattr(split, f.name) if x not in names) for f in fields(split))
    return Split(*kept)


def cut_names(pairs: Sequence[Pair], recipe: SplitRecipe) -> Split:
    """Cut the names of pairs into subsets, sorted or shuffled; groups of pairs stay whole."""
    shuffled = recipe.method == "shuffled"
    names = sorted(pair.name for pair in pairs)
    groups = {pair.name: pair.group or pair.name for pair in pairs}
    if len(set(groups.values())) < len(names):
        return split_groups(names, groups, recipe, shuffled=shuffled)
    if shuffled:
        random.Random(recipe.seed).shuffle(names)  # noqa: S311  (not a secret)
    first = int(len(names) * recipe.train)
    second = first + int(len(names) * recipe.validation)
    return Split(tuple(names[:first]), tuple(names[first:second]), tuple(names[second:]))


def split_groups(
    names: Sequence[str], groups: Mapping[str, str], recipe: SplitRecipe, *, shuffled: bool
) -> Split:
    """Deal groups of names to the subsets, each to the one with the least of its share.

    The groups come in sorted order, or in one that the recipe's seed decides.
    """
    members: dict[str, list[str]] = {}
    for name in sorted(names):
        members.setdefault(groups[name], []).append(name)
    order = sorted(members)
    if shuffled:
        random.Random(recipe.seed).shuffle(order)  # noqa: S311
    shares = (recipe.train, recipe.validation, 1 - recipe.train - recipe.validation)
    subsets: tuple[list[str], ...] = ([], [], [])
    for group in order:
        full = [len(subset) / share for share, subset in zip(shares, subsets, strict=True)]
        subsets[full.index(min(full))].extend(members[group])
    return Split(*(tuple(sorted(subset)) for subset in subsets))


def require_subsets(split: Split, where: str, *, grouped: bool = False) -> Split:
    """Require every subset to hold an image.

    Raises
    ------
    DataError
        One is empty.
    """
    for field in fields(split):
        if not getattr(split, field.name):
            raise DataError(
                f"the split leaves its {field.name} subset empty",
                where=where,
                hint="slices of one volume, and files of one patient, stay together: give three "
                "volumes (patients) or more, or assign the slices yourself with split.method=file"
                if grouped
                else "give more images (or patients), or other fractions",
            )
    return split


def read_split(path: Path, names: Sequence[str]) -> Split:
    """Read a split from a CSV file with the columns `name` and `part`, for images of these names.

    Unicode form does not count; images that are not listed are in no subset.

    Raises
    ------
    DataError
        The file is unreadable, names an unknown image or part, or names an image twice.
    """
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    there = {composed(name): name for name in names}
    seen: set[str] = set()
    for row in _read_rows(path, ("name", "part")):
        name, part = composed(row["name"]), row["part"]
        if part not in parts:
            raise DataError(
                f"'{part}' is no subset of a split (image '{name}')",
                where=path,
                hint="use train, validation or test",
            )
        if name in seen:
            raise DataError(
                f"'{name}' is listed twice", where=path, hint="list each image in one subset"
            )
        seen.add(name)
        parts[part].append(there.get(name, name))
    unknown = sorted(seen - there.keys())
    if unknown:
        raise DataError(
            f"the split names {len(unknown)} image(s) that are not there: {', '.join(unknown[:5])}",
            where=path,
            hint="correct the names (with suffix), or add the images",
        )
    return require_subsets(Split(*map(tuple, parts.values())), str(path))


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
            f"the list of names cannot be read ({error})", where=path, hint="give a file in UTF-8"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def patients_of(pairs: Sequence[Pair], recipe: SplitRecipe) -> Mapping[str, str]:
    """Return the patient of each pair by name, as the recipe's pattern or file has it.

    Raises
    ------
    DataError
        The patient of an image is not known, or slices of one volume have several.
    """
    found: dict[str, str | None] = {}
    if recipe.patient_file is not None:
        listed: dict[str, str] = {}
        for row in _read_rows(recipe.patient_file, ("name", "patient")):
            name = composed(row["name"])
            if listed.setdefault(name, row["patient"]) != row["patient"]:
                raise DataError(
                    f"'{name}' is listed with two patients",
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
            f"no patient known for {len(missing)} image(s): {', '.join(missing[:5])}",
            where=where,
            hint="name the patient of every image",
        )
    of_volume: dict[Path, str | None] = {}
    for pair in pairs:
        if of_volume.setdefault(pair.image, found[pair.name]) != found[pair.name]:
            raise DataError(
                f"slices of one volume have several patients: {pair.file_name}",
                where=where,
                hint="give all slices of a volume the same patient",
            )
    return {name: str(patient) for name, patient in found.items()}


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            known, rows = reader.fieldnames or [], list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"the table cannot be read ({error})", where=path, hint="give a CSV file in UTF-8"
        ) from error
    missing = [c for c in columns if c not in known]
    if missing:
        raise DataError(
            f"the table has no column '{missing[0]}'",
            where=path,
            hint=f"give it the columns {' and '.join(columns)}",
        )
    # Names stay to the letter: a file's name may begin with a space.
    name, value = columns
    return [{name: csv_value(row[name] or ""), value: (row[value] or "").strip()} for row in rows]
