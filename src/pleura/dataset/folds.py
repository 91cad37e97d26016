"""The folds of a cross-validation, in which all images of a patient are in one fold."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pleura.dataset.pair_names import find_names
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.splits import SplitRecipe, find_patients
from pleura.dataset.subsets import Split
from pleura.errors import DataError
from pleura.files.atomic import write_text
from pleura.files.tables import csv_text
from pleura.names import counted
from pleura.scan.bit_field import has_label
from pleura.scan.labels import Label, class_labels

MIN_FOLDS = 3
"""One fold each for training, validation and test."""

VALIDATION_FRACTION = 0.1
"""Smallest fraction of all images in a validation subset, unless the fold has fewer."""


@dataclass(frozen=True)
class Folds:
    """The fold and the patient of each image.

    Parameters
    ----------
    count:
        Number of folds.
    fold_of:
        Index of the fold by name of the image, in the order of the pairs.
    patient_of:
        Patient by name of the image. Without patients, the volume or the image.
    """

    count: int
    fold_of: Mapping[str, int]
    patient_of: Mapping[str, str]

    def split(self, fold: int) -> Split:
        """Return the split with a fold as test subset.

        The validation subset is the first patients of the next fold that have together at least
        `VALIDATION_FRACTION` of all images, or the whole fold.
        """
        subsets: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
        validation = self._validation_patients((fold + 1) % self.count)
        for name, own in self.fold_of.items():
            chosen = "validation" if self.patient_of[name] in validation else "training"
            subsets["test" if own == fold else chosen].append(name)
        return Split(*map(tuple, subsets.values()))

    def _validation_patients(self, fold: int) -> set[str]:
        images = Counter(self.patient_of[n] for n, own in self.fold_of.items() if own == fold)
        chosen: set[str] = set()
        needed = VALIDATION_FRACTION * len(self.fold_of)
        for patient, count in images.items():
            if needed > 0:
                chosen.add(patient)
                needed -= count
        return chosen

    def splits(self, training_patients: int | None = None, seed: int = 0) -> list[Split]:
        """Return the split of each fold.

        Parameters
        ----------
        training_patients:
            Number of patients of each training subset, in a random order that depends only on the
            fold and the seed: a larger subset contains the smaller ones. None: all patients.
        seed:
            Seed of the order.

        Raises
        ------
        DataError
            A fold has fewer patients for training.
        """
        splits = [self.split(fold) for fold in range(self.count)]
        if training_patients is None:
            return splits
        return [
            replace(split, training=self._names_of(split, training_patients, f"{seed} {fold}"))
            for fold, split in enumerate(splits)
        ]

    def _names_of(self, split: Split, number: int, seed: str) -> tuple[str, ...]:
        """Return the training images of the first patients in a random order."""
        patients = list(dict.fromkeys(self.patient_of[name] for name in split.training))
        if not 1 <= number <= len(patients):
            raise DataError(
                f"{counted(number, 'training patient')} requested, and one of {self.count} folds "
                f"has {len(patients)}",
                where="training patients",
                hint=f"choose 1 to {len(patients)} training patients, or more folds",
            )
        random.Random(seed).shuffle(patients)  # noqa: S311  (not a secret)
        chosen = set(patients[:number])
        return tuple(name for name in split.training if self.patient_of[name] in chosen)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the patient of each image."""
        patients = json.dumps(dict(self.patient_of), sort_keys=True)
        return hashlib.sha256(patients.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write a CSV table with the columns `name`, `patient` and `fold`, which starts at 1."""
        rows = [[name, self.patient_of[name], str(i + 1)] for name, i in self.fold_of.items()]
        write_text(path, csv_text(["name", "patient", "fold"], rows))


def assign_folds(pairs: Sequence[Pair], count: int, recipe: SplitRecipe, where: Path) -> Folds:
    """Assign each patient to the fold with the fewest images, largest patients first.

    Parameters
    ----------
    pairs:
        All pairs.
    count:
        Number of folds, at least 3.
    recipe:
        Its patients and its excluded images; by default each image, each volume and all DICOM files
        of a patient are one patient.
    where:
        The folder of the images, for errors.

    Raises
    ------
    DataError
        There are fewer patients than folds, a patient is unknown, or an excluded image is unknown.
    """
    excluded = find_names(pairs, recipe.exclude, "split.exclude")
    pairs = [pair for pair in pairs if pair.name not in excluded]
    stated = recipe.patient_pattern is not None or recipe.patient_file is not None
    patient_of = find_patients(pairs, recipe) if stated else _patients_of_files(pairs)
    images: dict[str, list[str]] = {}
    for name, patient in patient_of.items():
        images.setdefault(patient, []).append(name)
    if count < MIN_FOLDS or len(images) < count:
        noun = "patient" if stated or len(images) < len(pairs) else "image"
        raise DataError(
            f"cross-validation with {count} folds is not possible with "
            f"{counted(len(images), noun)}",
            where=where,
            hint=f"choose {MIN_FOLDS} or more folds, with at least one {noun} per fold",
        )
    sizes = [0] * count
    fold_of_patient: dict[str, int] = {}
    for patient in sorted(images, key=lambda one: -len(images[one])):  # ties: order of the pairs
        fold = sizes.index(min(sizes))
        fold_of_patient[patient] = fold
        sizes[fold] += len(images[patient])
    fold_of = {pair.name: fold_of_patient[patient_of[pair.name]] for pair in pairs}
    return Folds(count, fold_of, patient_of)


def require_labels(
    splits: Sequence[Split], pairs: Sequence[Pair], labels: tuple[Label, ...]
) -> None:
    """Require images with each label in the training subset of each fold.

    Raises
    ------
    DataError
        A fold has no training image with a label, or a pair cannot be read.
    """
    if not labels:
        return
    reader = PairReader(labels)
    labels_of = class_labels(labels)
    used = {name for split in splits for name in split.training}
    present: dict[str, set[str]] = {}
    for pair in pairs:
        if pair.name in used:
            mask = reader.read(pair)[1]
            present[pair.name] = {n for n, v in labels_of.items() if has_label(mask, v).any()}
    for fold, split in enumerate(splits):
        found = set[str]().union(*(present[name] for name in split.training))
        for label in labels:
            if label.name not in found:
                raise DataError(
                    f"the training subset of fold {fold + 1} has no image with the label "
                    f"{label.value} ({label.name})",
                    where="recipe key data.labels",
                    hint="add patients with this label, or remove it from data.labels",
                )


def _patients_of_files(pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the file of the first pair of each group, so that no name in a header is written."""
    first: dict[str, str] = {}
    return {p.name: first.setdefault(p.group or str(p.image), p.file_name) for p in pairs}
