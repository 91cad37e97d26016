"""Several sets of images as one: where each is, what its values are, and its subset."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pleura.dataset.pairs import Pair, expand_slices, find_images, find_pairs
from pleura.dataset.recipe_model import RecipeModel
from pleura.dataset.splits import (
    SUBSETS,
    Split,
    SplitRecipe,
    find_patients,
    read_split,
    require_nonempty,
    split_by_fraction,
    split_by_group,
)
from pleura.errors import DataError
from pleura.formats.matching import composed, same_name
from pleura.formats.read import scan_name

SHIPPED = Path(__file__).parents[1] / "recipes"
"""Where masks lie that ship with the recipes."""


class Source(RecipeModel):
    """A set of images with masks, below the folder that the training is given."""

    images: str
    """A folder, or a file pattern with one `*`, such as `lctsc/*/ct.nii.gz`."""
    masks: str | None
    """The folder of the masks, or their pattern: image and mask pair by what `*` matches. `null`:
    no image shows lung, checked by a person. A pattern that starts with `pleura:` is of masks in
    the package."""
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
            raise ValueError("images and masks: paths that can be written down")
        stars = self.images.count("*")
        if stars > 1 or (self.masks or "").count("*") > stars:
            raise ValueError("images and masks: two folders, or two patterns with one `*` each")
        if stars and PurePath(self.images).is_absolute():
            raise ValueError("images: a pattern is relative to the folder that is given")
        return self


def collect_pairs(images: Path, masks: Path | None, sources: Sequence[Source]) -> list[Pair]:
    """Return all pairs of two folders, or of the sources below ``images`` where ``masks`` is None.

    Names are unique: where two sources have an image of one name, both are named by their paths
    below ``images``.

    Raises
    ------
    DataError
        A set is missing or cannot be paired, there are neither masks nor sources, or an image is in
        two sources.
    """
    return [pair for part in _collect(images, masks, sources) for pair in part.used]


def split_pairs(
    images: Path, masks: Path | None, sources: Sequence[Source], recipe: SplitRecipe
) -> Split:
    """Split the same pairs; each source by itself unless a file or patients decide.

    What the recipe or a source leaves out is counted but in no subset. The slices of a volume, and
    the DICOM files of a patient, stay together.

    Raises
    ------
    DataError
        As `collect_pairs`; a subset would be empty; or a name that is to be left out, or is in the
        split file, is not there.
    """
    parts = _collect(images, masks, sources)
    pairs = [pair for part in parts for pair in part.all]
    left_out = {name for part in parts for name in part.left_out}
    left_out |= find_names(pairs, recipe.exclude, "split.exclude or --exclude")
    split = _split_parts(parts, recipe)
    if recipe.method in ("sorted", "shuffled"):
        _require_groups_apart(pairs, split)
    what = f"{len(pairs)} images, {len(left_out)} left out"
    return require_nonempty(split.without(left_out), what, grouped=any(p.group for p in pairs))


def find_names(pairs: Sequence[Pair], wanted: Sequence[str], where: str) -> set[str]:
    """Return the names of pairs that are ``wanted``: by name, file name, or name without suffix.

    A volume's name is that of all its slices.

    Raises
    ------
    DataError
        A name is of no pair, or of several images.
    """
    known: dict[str, dict[Path, set[str]]] = {}
    for pair in pairs if wanted else ():
        for alias in _aliases(pair):
            known.setdefault(same_name(alias), {}).setdefault(pair.image, set()).add(pair.name)
    found: set[str] = set()
    unknown = [name for name in wanted if same_name(name) not in known]
    if unknown:
        raise DataError(
            f"{len(unknown)} name(s) of no image: {', '.join(unknown[:5])}",
            where=where,
            hint="correct the names, or remove them",
        )
    for name in wanted:
        files = known[same_name(name)]
        if len(files) > 1:
            raise DataError(
                f"'{name}' is the name of {len(files)} images",
                where=where,
                hint=f"write {' or '.join(sorted(min(names) for names in files.values()))}",
            )
        found |= next(iter(files.values()))
    return found


def _aliases(pair: Pair) -> set[str]:
    names = {pair.name, pair.file_name, PurePath(pair.file_name).name, pair.image.name}
    return names | {scan_name(pair.image), f"{pair.image.name}{pair.name[len(pair.file_name) :]}"}


@dataclass(frozen=True)
class _Part:
    """The pairs of a source."""

    all: list[Pair]
    left_out: set[str]
    train: bool

    @property
    def used(self) -> list[Pair]:
        return [pair for pair in self.all if pair.name not in self.left_out]


def _collect(images: Path, masks: Path | None, sources: Sequence[Source]) -> list[_Part]:
    if masks is not None:
        return [_Part(find_pairs(images, masks), set(), train=False)]
    if not sources:
        raise DataError(
            "the masks are missing",
            where=images,
            hint="give the folder of the masks too, or a recipe that names its sets under 'data'",
        )
    found = [_pairs_of(source, images) for source in sources]
    counts = Counter(same_name(pair.name) for pairs in found for pair in pairs)
    parts = []
    for source, pairs in zip(sources, found, strict=True):
        unique = [p if counts[same_name(p.name)] == 1 else _by_path(p, images) for p in pairs]
        left_out = find_names(unique, source.exclude, f"exclude of {source.images}")
        parts.append(_Part(unique, left_out, train=source.subset == "training"))
    twice = Counter(same_name(pair.name) for part in parts for pair in part.all)
    for part in parts:
        for pair in part.all:
            if twice[same_name(pair.name)] > 1:
                raise DataError(
                    "an image is in two sources",
                    where=pair.image,
                    hint="leave it out of one (recipe key 'data': include, exclude)",
                )
    return parts


def _by_path(pair: Pair, root: Path) -> Pair:
    path = pair.image.relative_to(root) if pair.image.is_relative_to(root) else pair.image
    return replace(pair, name=composed(path.as_posix()) + pair.name[len(pair.file_name) :])


def _split_parts(parts: Sequence[_Part], recipe: SplitRecipe) -> Split:
    fixed = [pair.name for part in parts if part.train for pair in part.all]
    dealt = [pair for part in parts if not part.train for pair in part.all]
    names = [pair.name for pair in dealt]
    if recipe.file is not None and recipe.method == "file":
        listed = read_split(recipe.file, [*names, *fixed])
        wrong = sorted({*fixed} & {*listed.validation, *listed.test})
        if wrong:
            raise DataError(
                f"{len(wrong)} image(s) of a source with 'subset: training' are in another subset: "
                f"{', '.join(wrong[:5])}",
                where=recipe.file,
                hint="list them as training, or set the source's subset to split",
            )
        rest = [name for name in fixed if name not in set(listed.training)]
        return replace(listed, training=(*listed.training, *rest))
    if recipe.method == "grouped":
        every = [pair for part in parts for pair in part.all]
        patients = find_patients(every, recipe)
        split = split_by_group(names, patients, recipe, shuffled=True)
        _require_patients_apart(fixed, split, patients)
        found = [split]
    else:
        found = [split_by_fraction(part.all, recipe) for part in parts if not part.train]
    joined = Split(*(tuple(name for split in found for name in getattr(split, s)) for s in SUBSETS))
    return replace(joined, training=(*joined.training, *fixed))


def _require_groups_apart(pairs: Sequence[Pair], split: Split) -> None:
    subset = split.subset_by_name()
    first: dict[str, Pair] = {}
    for pair in pairs:
        if pair.group is None or pair.name not in subset:
            continue
        other = first.setdefault(pair.group, pair)
        if subset[other.name] != subset[pair.name]:
            raise DataError(
                f"images of one patient are in {subset[other.name]} and {subset[pair.name]}: "
                f"{other.name} and {pair.name}",
                where=pair.image,
                hint="name the patients (split.method=grouped), or the subsets (split.method=file)",
            )


def _require_patients_apart(
    fixed: Sequence[str], split: Split, patients: Mapping[str, str]
) -> None:
    trained = {patients[name] for name in fixed}
    shared = sorted({patients[n] for n in (*split.validation, *split.test)} & trained)
    if shared:
        raise DataError(
            f"{len(shared)} patient(s) of a source with 'subset: training' are also in validation "
            f"or test: {', '.join(shared[:5])}",
            where="recipe key 'data'",
            hint="leave the patients out of one source, or set the source's subset to split",
        )


def _pairs_of(source: Source, root: Path) -> list[Pair]:
    if "*" in source.images:
        out = {same_name(name) for name in source.exclude}
        found = [
            one
            for pair in _matched(source, root)
            for one in ([pair] if same_name(pair.name) in out else expand_slices(pair))
        ]
    elif source.masks is None:
        found = find_images(root / source.images)
    else:
        found = find_pairs(root / source.images, root / source.masks)
    if source.include:
        wanted = find_names(found, source.include, f"include of {source.images}")
        found = [pair for pair in found if pair.name in wanted]
    chosen = [pair for pair in found if pair.index is None or pair.index % source.slice_step == 0]
    return [replace(pair, factor=source.scale_factor) for pair in chosen]


def _matched(source: Source, root: Path) -> list[Pair]:
    """Pair the files of two patterns by what their `*` stands for."""
    before, _, after = source.images.partition("*")
    pairs = []
    for image in sorted(root.glob(f"{glob.escape(before)}*{glob.escape(after)}")):
        relative = image.relative_to(root).as_posix()
        name = composed(relative[len(before) : len(relative) - len(after)])
        if source.include and same_name(name) not in {same_name(one) for one in source.include}:
            continue  # before its mask is asked for
        if source.masks is None:
            pairs.append(Pair(name, image, image, no_lung=True))
            continue
        pattern = source.masks.replace("*", relative[len(before) : len(relative) - len(after)])
        ships = pattern.startswith("pleura:")
        mask = SHIPPED / pattern.removeprefix("pleura:") if ships else root / pattern
        if not mask.exists() and name not in source.exclude:
            raise DataError("an image without mask", where=image, hint=f"add {mask}")
        pairs.append(Pair(name, image, mask))
    if source.masks is not None and "*" not in source.masks and len(pairs) > 1:
        raise DataError(
            f"{len(pairs)} images would share one mask",
            where=root / source.masks,
            hint="write * in the pattern of the masks too (recipe key 'data')",
        )
    if not pairs:
        raise DataError(
            "no image of this pattern",
            where=root / source.images,
            hint="give the folder that holds the recipe's sets (recipe key 'data')",
        )
    return pairs
