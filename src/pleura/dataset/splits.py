"""Which pairs are trained on, validated on, and kept for the test."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pleura.errors import DataError
from pleura.scan.pictures import write_atomically


class SplitRecipe(BaseModel):
    """How a set is split; parts are cut as ``int(n * fraction)``, the test part takes the rest."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    method: Literal["sorted", "shuffled", "grouped", "file"] = "sorted"
    """`sorted`: in order of names; `shuffled`: by `seed`; `grouped`: shuffled, all images of one
    patient in one part; `file`: read from `file`."""
    train: float = Field(0.6, gt=0, lt=1)
    """Fraction of the images for training; not for `file`."""
    validation: float = Field(0.2, gt=0, lt=1)
    """Fraction of the images for validation; the test part takes the rest."""
    seed: int = 0
    """For `shuffled` and `grouped`."""
    patient_pattern: str | None = None
    """Regular expression on the file name; its first group (or the whole match) is the patient."""
    patient_file: Path | None = None
    """CSV with the columns `name` and `patient`."""
    file: Path | None = None
    """CSV with the columns `name` and `part` (train, validation or test)."""
    leave_out: tuple[str, ...] = ()
    """Names of images that are in no part; they are counted where the parts are cut."""

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
    """Names of the images of each part."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write the split as CSV with the columns `name` and `part`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", "part"])
        for part in fields(self):
            writer.writerows([name, part.name] for name in getattr(self, part.name))
        write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def split_names(names: Sequence[str], recipe: SplitRecipe) -> Split:
    """Split the names of a set.

    Raises
    ------
    DataError
        A part would be empty, a patient is unknown, or a split file does not fit the names.
    """
    if recipe.method == "file":
        assert recipe.file is not None  # noqa: S101  (the recipe's validator has seen to it)
        return _without(recipe.leave_out, read_split(recipe.file, names), len(names))
    return _without(recipe.leave_out, _cut(sorted(names), recipe), len(names))


def _without(left_out: Sequence[str], split: Split, n: int) -> Split:
    out = set(left_out)
    parts = {
        f.name: tuple(x for x in getattr(split, f.name) if x not in out) for f in fields(split)
    }
    return _no_part_empty(Split(**parts), f"{n} images, {len(out)} left out")


def _cut(ordered: list[str], recipe: SplitRecipe) -> Split:
    if recipe.method == "grouped":
        return _split_groups(ordered, _patients(ordered, recipe), recipe)
    if recipe.method == "shuffled":
        random.Random(recipe.seed).shuffle(ordered)  # noqa: S311  (no secret hangs on it)
    first = int(len(ordered) * recipe.train)
    second = first + int(len(ordered) * recipe.validation)
    return Split(tuple(ordered[:first]), tuple(ordered[first:second]), tuple(ordered[second:]))


def read_split(path: Path, names: Sequence[str]) -> Split:
    """Read a split from a CSV file with the columns `name` and `part`, and hold it to the names.

    Raises
    ------
    DataError
        The file is unreadable, names an unknown image or part, or names an image twice.
    """
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for row in _read_rows(path, ("name", "part")):
        name, part = row["name"], row["part"]
        if part not in parts:
            raise DataError(
                f"'{part}' is no part of a split",
                where=path,
                fix="use train, validation or test",
            )
        if name in seen:
            raise DataError(f"'{name}' stands twice", where=path, fix="give each image one part")
        seen.add(name)
        parts[part].append(name)
    unknown = sorted(seen - set(names))
    if unknown:
        raise DataError(
            f"the split names {len(unknown)} image(s) that are not there: {', '.join(unknown[:5])}",
            where=path,
            fix="correct the names (with suffix), or add the images",
        )
    split = Split(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]))
    return _no_part_empty(split, str(path))


def _patients(names: Sequence[str], recipe: SplitRecipe) -> Mapping[str, str]:
    if recipe.patient_file is not None:
        rows = _read_rows(recipe.patient_file, ("name", "patient"))
        listed = {row["name"]: row["patient"] for row in rows}
        found = {name: listed.get(name) for name in names}
    else:
        pattern = re.compile(recipe.patient_pattern or "")
        matches = {name: pattern.search(name) for name in names}
        found = {n: m and (m.group(1) if pattern.groups else m.group()) for n, m in matches.items()}
    missing = [name for name, patient in found.items() if not patient]
    if missing:
        raise DataError(
            f"no patient known for {len(missing)} image(s): {', '.join(missing[:5])}",
            where=recipe.patient_file or f"pattern {recipe.patient_pattern}",
            fix="name the patient of every image",
        )
    return {name: str(patient) for name, patient in found.items()}


def _split_groups(names: Sequence[str], patients: Mapping[str, str], recipe: SplitRecipe) -> Split:
    """Deal patients out in shuffled order, each to the part that has least of its share."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(patients[name], []).append(name)
    order = sorted(groups)
    random.Random(recipe.seed).shuffle(order)  # noqa: S311
    shares = (recipe.train, recipe.validation, 1 - recipe.train - recipe.validation)
    parts: tuple[list[str], ...] = ([], [], [])
    for patient in order:
        full = [len(part) / share for share, part in zip(shares, parts, strict=True)]
        parts[full.index(min(full))].extend(groups[patient])
    return Split(*(tuple(sorted(part)) for part in parts))


def _no_part_empty(split: Split, where: str) -> Split:
    for part in fields(split):
        if not getattr(split, part.name):
            raise DataError(
                f"the split leaves its {part.name} part empty",
                where=where,
                fix="give more images (or patients), or other fractions",
            )
    return split


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            known, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the table cannot be read ({error})", where=path, fix="give a CSV file in UTF-8"
        ) from error
    missing = [c for c in columns if c not in known]
    if missing:
        raise DataError(
            f"the table has no column '{missing[0]}'",
            where=path,
            fix=f"give it the columns {' and '.join(columns)}",
        )
    # Names stay to the letter: a file's name may begin with a space.
    name, value = columns
    return [{name: row[name] or "", value: (row[value] or "").strip()} for row in rows]
