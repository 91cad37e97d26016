"""The data of a training, which are read, split and checked before its first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pleura.dataset.check_report import describe_model_input
from pleura.dataset.lung_input import LungInput
from pleura.dataset.overlap import near_duplicate_warning, resolve_duplicates
from pleura.dataset.pair_names import find_names
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import PreprocessedPairs, preprocess_pairs
from pleura.dataset.sources import collect_pairs, split_pairs
from pleura.dataset.subsets import Split
from pleura.dataset.units import pair_units
from pleura.errors import DataError, RunError
from pleura.names import counted
from pleura.scan.bit_field import has_label
from pleura.scan.labels import Label, class_labels
from pleura.training.lungs import lungs_of_run, open_lungs, remove_without_lung
from pleura.training.recipe import Recipe
from pleura.training.run import Run, open_run
from pleura.typing import Progress, StrPath


@dataclass(frozen=True)
class TrainingData:
    """All pairs, preprocessed, and their split, in which no image is in two subsets.

    ``units`` and ``warnings`` are for the run's record.
    """

    pairs: list[Pair]
    prepared: PreprocessedPairs
    split: Split
    units: dict[str, Any]
    warnings: tuple[str, ...]
    pretraining_hashes: frozenset[str] = frozenset()
    """Hashes of the training images of the run that provides the initial weights."""
    lungs: LungInput | None = None
    """The lungs of a cascade."""


def load_data(
    images: StrPath,
    masks: StrPath | None,
    recipe: Recipe,
    progress: Progress | None = None,
    run: Run | None = None,
    initial_weights: StrPath | None = None,
) -> TrainingData:
    """Read the data of a training, or of a ``run`` that is resumed, and check it.

    ``initial_weights`` is a run folder or a model file; the training images of a model file are not
    known.

    Raises
    ------
    DataError
        The data cannot be used, or an image is in two subsets.
    RunError
        The images or masks differ from those with which the run was started.
    """
    where = Path(images), None if masks is None else Path(masks)
    data = recipe.data
    pairs = collect_pairs(*where, data.sources, data.class_masks, data.roi)
    split = None
    if run is None:
        split = split_pairs(*where, data.sources, recipe.split, data.class_masks)
    lungs = open_lungs(recipe, pairs) if run is None else lungs_of_run(run)
    context = data.context.slice_context
    prepared = preprocess_pairs(pairs, recipe.preprocessing, progress, data.classes, context, lungs)
    if run is not None and prepared.fingerprint != run.record["data_fingerprint"]:
        raise RunError(
            "the images or masks differ from those with which the run was started",
            where=images,
            hint="pass the same data, or start a new run in another folder",
        )
    if split is None:
        assert run is not None  # noqa: S101  (for mypy)
        split = run.split(prepared.names)
    apart = resolve_duplicates(pairs, prepared, split, recipe.split)
    pretraining = _training_hashes(initial_weights)
    _require_unseen(pretraining, prepared, apart, str(initial_weights))
    usable, without_lung = remove_without_lung(apart, prepared, Path(images))
    if not any(mask.any() for mask in prepared.masks):
        raise DataError(
            "all masks are empty" if lungs is None else "all masks are empty inside the lungs",
            where=images if masks is None else masks,
            hint="pass masks with 0 outside and 255 (or 1) inside the lungs"
            if lungs is None
            else "`pleura check --recipe` lists the part of each label outside the lungs",
        )
    _require_labels(prepared, usable, recipe.data.classes)
    units = pair_units(named(pairs, usable.training))
    if recipe.simulation is not None and units.kind not in ("HU", "unknown"):
        raise DataError(
            f"the simulation requires images in HU: {units.reason}",
            where=images,
            hint="convert them (docs/explanation/units.md), or add --set simulation=null",
        )
    keys = ("kind", "formula", "scale", "offset", "grey_limits")
    record = {key: getattr(units, key) for key in keys}
    noted = tuple(_warnings(pairs, prepared, split, apart, recipe))
    noted = (*noted, *without_lung)
    if units.kind in ("grey", "mixed", "wrapped HU"):
        noted = (*noted, describe_model_input(units))
    return TrainingData(pairs, prepared, usable, record, noted, pretraining, lungs)


def _training_hashes(initial_weights: StrPath | None) -> frozenset[str]:
    if initial_weights is None or not Path(initial_weights).is_dir():
        return frozenset()
    return frozenset(open_run(initial_weights).training_hashes())


def _require_unseen(
    pretraining: Set[str], prepared: PreprocessedPairs, split: Split, initial_weights: str
) -> None:
    """Refuse to test on training images of the run that provides the initial weights."""
    hashes = prepared.pixel_hashes()
    known = [name for name in split.test if hashes[name] in pretraining]
    if known:
        raise DataError(
            f"{counted(len(known), 'image')} of the test subset in the training subset of the "
            f"run with the initial weights: {_some(known)}",
            where=initial_weights,
            hint="use the split of that run (--set split.method=file --set "
            "split.file=RUN/split.csv), "
            "or choose other initial weights",
        )


def _require_labels(prepared: PreprocessedPairs, split: Split, labels: Sequence[Label]) -> None:
    """Refuse a label that no training image has."""
    absent = dict(zip(class_labels(labels).values(), labels, strict=True))
    for row in prepared.rows(split.training) if labels else ():
        absent = {k: v for k, v in absent.items() if not has_label(prepared.masks[row], k).any()}
    missing = [*absent.values()]
    if missing:
        listed = " and ".join(f"{label.value} ({label.name})" for label in missing)
        noun = "label" if len(missing) == 1 else "labels"
        raise DataError(
            f"no training image has the {noun} {listed}",
            where="recipe key data.labels",
            hint="remove it from data.labels, change the split, or add images; `pleura check "
            "--recipe` lists the labels of each subset",
        )


def named(pairs: Sequence[Pair], names: Sequence[str]) -> list[Pair]:
    """Return the pairs with these names, in the order of the pairs."""
    wanted = set(names)
    return [pair for pair in pairs if pair.name in wanted]


def _warnings(
    pairs: Sequence[Pair], prepared: PreprocessedPairs, split: Split, apart: Split, recipe: Recipe
) -> Iterator[str]:
    """Yield properties of the data that make the results unreliable."""
    split_names, used = split.subset_by_name(), apart.subset_by_name()
    left_out = find_names(pairs, recipe.split.exclude, "split.exclude")
    unlisted = [p.name for p in pairs if p.name not in split_names and p.name not in left_out]
    if unlisted:
        text = counted(len(unlisted), "image is", "images are")
        it = "it" if len(unlisted) == 1 else "them"
        yield f"{text} not used, because the split file does not list {it}: {_some(unlisted)}"
    copies = [name for name in split_names if name not in used]
    if copies:
        text = counted(len(copies), "image is", "images are")
        yield f"{text} not used, because other subsets contain copies: {_some(copies)}"
    if similar := near_duplicate_warning(prepared, apart):
        yield similar


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
