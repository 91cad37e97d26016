"""Data sources of a recipe: several sets of images and masks that form one data set."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pleura.dataset.pair_names import find_names
from pleura.dataset.pairs import Pair, expand_slices, find_images, find_pairs, with_roi
from pleura.dataset.recipe_model import RecipeModel
from pleura.dataset.splits import SplitRecipe, find_patients, split_by_fraction, split_by_group
from pleura.dataset.subsets import SUBSETS, Split, read_split, require_nonempty
from pleura.errors import DataError
from pleura.formats.matching import name_key, normalize_name
from pleura.masks.selection import RoiSelection
from pleura.names import counted, shorten_list

PACKAGE_MASKS = Path(__file__).parents[1] / "recipes"
"""Folder of the masks in the package, which patterns that start with ``pleura:`` refer to."""


class Source(RecipeModel):
    """A set of images with masks, below the folder that the training is given."""

    images: str
    """A folder, or a file pattern with one `*`, such as `lctsc/*/ct.nii.gz`."""
    masks: str | None
    """The folder of the masks, or their pattern: images and masks are paired by what `*` matches.
    `null`: no image shows lung, as checked by a person. A pattern that starts with `pleura:`
    matches masks in the package. With one file per class (`data.labels.masks`), the folder that
    contains the masks of the classes."""
    scale_factor: PositiveFloat = 1.0
    """Stored values are HU times this factor."""
    subset: Literal["split", "training"] = "split"
    """`split`: divided by the recipe's `split`; `training`: all for training."""
    slice_step: PositiveInt = 1
    """Use every n-th slice of a volume."""
    include: tuple[str, ...] = Field(())
    """Names of the images to use (file names, or what `*` matches); empty: all."""
    exclude: tuple[str, ...] = Field(())
    """Names of images (as in `include`) or of slices to exclude from all subsets."""

    @model_validator(mode="after")
    def _possible(self) -> Source:
        if not f"{self.images}{self.masks or ''}".isprintable():
            raise ValueError("images and masks must not contain control characters")
        stars = self.images.count("*")
        if stars > 1 or (self.masks or "").count("*") > stars:
            raise ValueError(
                "images and masks must be two folders, or two patterns with one `*` each"
            )
        if stars and PurePath(self.images).is_absolute():
            raise ValueError("images: a pattern must be a relative path")
        return self


def collect_pairs(
    images: Path,
    masks: Path | None,
    sources: Sequence[Source],
    class_masks: Mapping[str, str] | None = None,
    roi: RoiSelection | None = None,
) -> list[Pair]:
    """Return all pairs of two folders, or of data sources.

    Parameters
    ----------
    images:
        Folder of the images, or the root folder of the sources.
    masks:
        Folder of the masks; None to use the sources.
    sources:
        The data sources of a recipe.
    class_masks:
        As for `find_pairs`; the folders are below the masks of each source.
    roi:
        Structures or values of the masks to read, as for `read_mask`.

    Returns
    -------
    list of Pair
        With unique names: if two sources have images of the same name, these are named by their
        paths below ``images``.

    Raises
    ------
    DataError
        A source is missing or cannot be paired, there are neither masks nor sources, or an image is
        in two sources.
    """
    groups = _collect(images, masks, sources, class_masks)
    return with_roi([pair for group in groups for pair in group.included], roi)


def split_pairs(
    images: Path,
    masks: Path | None,
    sources: Sequence[Source],
    recipe: SplitRecipe,
    class_masks: Mapping[str, str] | None = None,
) -> Split:
    """Split the pairs that `collect_pairs` returns.

    Each source is split by itself, except by the methods `file` and `grouped`. Excluded images are
    in no subset, but count for the fractions. The slices of a volume, and the DICOM files of a
    patient, are in one subset.

    Parameters
    ----------
    images, masks, sources, class_masks:
        As for `collect_pairs`.
    recipe:
        How to split.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        As `collect_pairs`; a subset is empty; or an excluded name, or a name in the split file, is
        unknown.
    """
    return _split_groups(_collect(images, masks, sources, class_masks), recipe)


def split_listed_pairs(pairs: Sequence[Pair], recipe: SplitRecipe) -> Split:
    """Split pairs as `split_pairs` splits the pairs of two folders."""
    return _split_groups([_SourcePairs(list(pairs), set(), only_training=False)], recipe)


def _split_groups(groups: Sequence[_SourcePairs], recipe: SplitRecipe) -> Split:
    pairs = [pair for group in groups for pair in group.pairs]
    excluded = {name for group in groups for name in group.excluded}
    excluded |= find_names(pairs, recipe.exclude, "split.exclude or --exclude")
    split = _split_sources(groups, recipe)
    if recipe.method in ("sorted", "shuffled"):
        _require_disjoint_groups(pairs, split)
    where = f"{counted(len(pairs), 'image')}, {len(excluded)} excluded"
    return require_nonempty(split.without(excluded), where, grouped=any(p.group for p in pairs))


@dataclass(frozen=True)
class _SourcePairs:
    """The pairs of a data source."""

    pairs: list[Pair]
    excluded: set[str]
    only_training: bool

    @property
    def included(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.name not in self.excluded]


def _collect(
    images: Path,
    masks: Path | None,
    sources: Sequence[Source],
    class_masks: Mapping[str, str] | None,
) -> list[_SourcePairs]:
    if masks is not None:
        return [_SourcePairs(find_pairs(images, masks, class_masks), set(), only_training=False)]
    if not sources:
        raise DataError(
            "the folder of the masks is missing",
            where=images,
            hint="pass the folder of the masks, or a recipe with data sources (recipe key 'data')",
        )
    found = [_find_source_pairs(source, images, class_masks) for source in sources]
    counts = Counter(name_key(pair.name) for pairs in found for pair in pairs)
    groups = []
    for source, pairs in zip(sources, found, strict=True):
        unique = [p if counts[name_key(p.name)] == 1 else _named_by_path(p, images) for p in pairs]
        excluded = find_names(unique, source.exclude, f"exclude of {source.images}")
        groups.append(_SourcePairs(unique, excluded, source.subset == "training"))
    counts = Counter(name_key(pair.name) for group in groups for pair in group.pairs)
    for group in groups:
        for pair in group.pairs:
            if counts[name_key(pair.name)] > 1:
                raise DataError(
                    "the image is in two data sources",
                    where=pair.image,
                    hint="exclude it from one of them (recipe key 'data': include, exclude)",
                )
    return groups


def _named_by_path(pair: Pair, root: Path) -> Pair:
    path = pair.image.relative_to(root) if pair.image.is_relative_to(root) else pair.image
    return replace(pair, name=normalize_name(path.as_posix()) + pair.name[len(pair.file_name) :])


def _split_sources(groups: Sequence[_SourcePairs], recipe: SplitRecipe) -> Split:
    training = [pair.name for group in groups if group.only_training for pair in group.pairs]
    splittable = [group for group in groups if not group.only_training]
    names = [pair.name for group in splittable for pair in group.pairs]
    if recipe.file is not None and recipe.method == "file":
        listed = read_split(recipe.file, [*names, *training])
        wrong = sorted({*training} & {*listed.validation, *listed.test})
        if wrong:
            raise DataError(
                f"{counted(len(wrong), 'image')} of a source with 'subset: training' in another "
                "subset: "
                f"{shorten_list(wrong)}",
                where=recipe.file,
                hint="list them as training, or set the subset of the source to split",
            )
        rest = [name for name in training if name not in set(listed.training)]
        return replace(listed, training=(*listed.training, *rest))
    if recipe.method == "grouped":
        pairs = [pair for group in groups for pair in group.pairs]
        patients = find_patients(pairs, recipe)
        split = split_by_group(names, patients, recipe, shuffled=True)
        _require_disjoint_patients(training, split, patients)
        splits = [split]
    else:
        splits = [split_by_fraction(group.pairs, recipe) for group in splittable]
    joined = Split(
        *(tuple(name for split in splits for name in getattr(split, s)) for s in SUBSETS)
    )
    return replace(joined, training=(*joined.training, *training))


def _require_disjoint_groups(pairs: Sequence[Pair], split: Split) -> None:
    subset = split.subset_by_name()
    first: dict[str, Pair] = {}
    for pair in pairs:
        if pair.group is None or pair.name not in subset:
            continue
        other = first.setdefault(pair.group, pair)
        if subset[other.name] != subset[pair.name]:
            raise DataError(
                f"images of one patient are in two subsets, {subset[other.name]} and "
                f"{subset[pair.name]}: "
                f"{other.name} and {pair.name}",
                where=pair.image,
                hint="specify patients (split.method=grouped) or subsets (split.method=file)",
            )


def _require_disjoint_patients(
    training: Sequence[str], split: Split, patients: Mapping[str, str]
) -> None:
    training_patients = {patients[name] for name in training}
    shared = sorted({patients[n] for n in (*split.validation, *split.test)} & training_patients)
    if shared:
        raise DataError(
            f"{counted(len(shared), 'patient')} of a source with 'subset: training' in validation "
            "or "
            f"test: {shorten_list(shared)}",
            where="recipe key 'data'",
            hint="exclude the patients from one source, or set the subset of the source to split",
        )


def _find_source_pairs(
    source: Source, root: Path, class_masks: Mapping[str, str] | None
) -> list[Pair]:
    if "*" in source.images:
        excluded = {name_key(name) for name in source.exclude}
        found = [
            one
            for pair in _match_patterns(source, root, class_masks or {})
            for one in ([pair] if name_key(pair.name) in excluded else expand_slices(pair))
        ]
    elif source.masks is None:
        found = find_images(root / source.images)
    else:
        found = find_pairs(root / source.images, root / source.masks, class_masks)
    if source.include:
        wanted = find_names(found, source.include, f"include of {source.images}")
        found = [pair for pair in found if pair.name in wanted]
    chosen = [pair for pair in found if pair.index is None or pair.index % source.slice_step == 0]
    return [replace(pair, factor=source.scale_factor) for pair in chosen]


def _match_patterns(source: Source, root: Path, class_masks: Mapping[str, str]) -> list[Pair]:
    """Pair the files of two patterns by the text that their `*` matches."""
    before, _, after = source.images.partition("*")
    pairs = []
    for image in sorted(root.glob(f"{glob.escape(before)}*{glob.escape(after)}")):
        relative = image.relative_to(root).as_posix()
        name = normalize_name(relative[len(before) : len(relative) - len(after)])
        if source.include and name_key(name) not in {name_key(one) for one in source.include}:
            continue  # its mask may be missing
        if source.masks is None:
            pairs.append(Pair(name, image, image, no_lung=True))
            continue
        pattern = source.masks.replace("*", relative[len(before) : len(relative) - len(after)])
        in_package = pattern.startswith("pleura:")
        mask = PACKAGE_MASKS / pattern.removeprefix("pleura:") if in_package else root / pattern
        files = {label: mask / path for label, path in class_masks.items()}
        for label, file in (files or {"": mask}).items():
            if not file.exists() and name not in source.exclude:
                noun = f"mask of the class '{label}'" if label else "mask"
                raise DataError(f"the image has no {noun}", where=image, hint=f"add {file}")
        pairs.append(Pair(name, image, [*files.values(), mask][0], class_masks=(*files.values(),)))
    if source.masks is not None and "*" not in source.masks and len(pairs) > 1:
        raise DataError(
            f"{len(pairs)} images match the same mask",
            where=root / source.masks,
            hint="use * also in the pattern of the masks (recipe key 'data')",
        )
    if not pairs:
        raise DataError(
            "no image matches the pattern",
            where=root / source.images,
            hint="pass the folder that contains the data sources (recipe key 'data')",
        )
    return pairs
