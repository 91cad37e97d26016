"""Several sets of images as one: where each lies, what its values are, which part it plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from pleura.dataset.pairs import Pair, find_pairs, slices_of
from pleura.dataset.splits import Split, SplitRecipe, split_names
from pleura.errors import DataError

SHIPPED = Path(__file__).parents[1] / "recipes"
"""Where masks lie that ship with the recipes."""


class Source(BaseModel):
    """A set of images with masks, below the folder that the training is given."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    images: str
    """A folder, or a pattern of files with one `*`, such as `lctsc/*/ct.nii.gz`."""
    masks: str | None
    """The masks' folder, or their pattern: what `*` stands for makes the pair; `null` where a
    person has seen that there is no lung in any of the images. A pattern that starts with `pleura:`
    is of masks that ship with pleura."""
    factor: PositiveFloat = 1.0
    """Stored values are HU times this."""
    part: Literal["split", "train"] = "split"
    """`split`: dealt out as the recipe's split says; `train`: all for training."""
    every: PositiveInt = 1
    """Of a volume, every so many slices."""
    only: tuple[str, ...] = Field(())
    """Names of images (what `*` stands for), where not all are used."""
    leave_out: tuple[str, ...] = Field(())
    """Names of images, or of patients where there is a pattern, that are not used."""


def collect_pairs(images: Path, masks: Path | None, sources: Sequence[Source]) -> list[Pair]:
    """Return all pairs of two folders, or of the sources below ``images`` where ``masks`` is None.

    Raises
    ------
    DataError
        A set is missing or cannot be paired.
    """
    if masks is not None or not sources:
        return find_pairs(images, images if masks is None else masks)
    return [
        pair
        for source in sources
        for pair in _pairs_of(source, images)
        if pair.name not in source.leave_out
    ]


def split_pairs(
    images: Path, masks: Path | None, sources: Sequence[Source], recipe: SplitRecipe
) -> Split:
    """Split the same pairs; each source by itself, what it leaves out counted but in no part.

    Raises
    ------
    DataError
        As `collect_pairs`, or a part of the split would be empty.
    """
    if masks is not None or not sources:
        return split_names([pair.name for pair in collect_pairs(images, masks, ())], recipe)
    parts: dict[str, list[str]] = {field.name: [] for field in fields(Split)}
    for source in sources:
        names = [pair.name for pair in _pairs_of(source, images)]
        split = Split(tuple(names), (), ())
        if source.part == "split":
            split = split_names(names, recipe)
        for part, chosen in parts.items():
            chosen += [name for name in getattr(split, part) if name not in source.leave_out]
    return Split(**{part: tuple(names) for part, names in parts.items()})


def _pairs_of(source: Source, root: Path) -> list[Pair]:
    if "*" not in source.images and source.masks is not None:
        found = find_pairs(root / source.images, root / source.masks)
    else:
        found = [one for pair in _matched(source, root) for one in slices_of(pair)]
    chosen = [pair for pair in found if pair.index is None or pair.index % source.every == 0]
    return [replace(pair, factor=source.factor) for pair in chosen]


def _matched(source: Source, root: Path) -> list[Pair]:
    """Pair the files of two patterns by what their `*` stands for."""
    before, _, after = source.images.partition("*")
    pairs = []
    for image in sorted(root.glob(source.images)):
        relative = image.relative_to(root).as_posix()
        name = relative[len(before) : len(relative) - len(after)]
        if name in source.leave_out or (source.only and name not in source.only):
            continue
        if source.masks is None:
            pairs.append(Pair(name, image, image, no_lung=True))
            continue
        pattern = source.masks.replace("*", name)
        ships = pattern.startswith("pleura:")
        mask = SHIPPED / pattern.removeprefix("pleura:") if ships else root / pattern
        if not mask.exists():
            raise DataError("an image without mask", where=image, fix=f"add {mask}")
        pairs.append(Pair(name, image, mask))
    if not pairs:
        raise DataError(
            "no image of this pattern",
            where=root / source.images,
            fix="give the folder that holds the recipe's sets (recipe key 'data')",
        )
    return pairs
