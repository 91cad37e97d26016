"""The split of a data set into subsets for training, validation and test."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pleura.dataset.pairs import Pair
from pleura.dataset.recipe_model import RecipeModel
from pleura.dataset.subsets import Split, read_rows, read_split, require_nonempty
from pleura.errors import DataError
from pleura.formats.matching import normalize_name
from pleura.names import counted, shorten_list


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
            raise ValueError("training_fraction and validation_fraction must sum to less than 1")
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
        split.without(excluded), f"{counted(len(names), 'image')}, {len(excluded)} excluded"
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
        for row in read_rows(recipe.patient_file, ("name", "patient")):
            name = normalize_name(row["name"])
            if listed.setdefault(name, row["patient"]) != row["patient"]:
                raise DataError(
                    f"image '{name}' has two patients",
                    where=recipe.patient_file,
                    hint="list each image only once",
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
            f"{counted(len(missing), 'image')} without patient: {shorten_list(missing)}",
            where=where,
            hint="add the patient of each image",
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
