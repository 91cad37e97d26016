"""The section `data` of a recipe: sources of images, and the classes of their masks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pleura.dataset.context_recipe import ContextRecipe
from pleura.dataset.lungs_recipe import LungsRecipe
from pleura.dataset.recipe_model import RecipeModel
from pleura.dataset.sources import Source
from pleura.masks.selection import LabelPreset, labels_of
from pleura.scan.bit_field import MAX_OVERLAPPING
from pleura.scan.labels import MAX_LABELS, Label

_SIDES = {"right": "left", "rt": "lt", "r": "l", "rul": "lul", "rll": "lll"}
_OTHER_SIDE = {**_SIDES, **{left: right for right, left in _SIDES.items()}, "rml": ""}
"""Word of the other side by each word of a side in the name of a label; a right middle lobe has no
counterpart."""

_SIDE = re.compile(r"right|left|(?<![a-z])(rt|lt|r|l|r[uml]l|l[ul]l)(?![a-z])")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class LabelRecipe(RecipeModel):
    """A class of pixels in masks; text is short for its name."""

    name: str = Field(min_length=1, max_length=64)
    """Name of the class, such as `right lung`."""
    code: tuple[str, str, str] | None = None
    """DICOM code for DICOM SEG: coding scheme, code value and meaning, such as
    `[SCT, 52988006, Lesion]`; `null`: that of a known name, else of tissue."""
    mirrored: int | None = None
    """Value of the class in a mirrored image; `null`: that of the name with right and left
    exchanged, and itself for names without side."""
    masks: str | None = None
    """One mask file per class: folder of the masks of the class, below the folder of the masks. Any
    value but 0 is the class. With a pattern in `data.sources`, the file below the path that the
    pattern of `masks` matches. Where files overlap, the class with the highest value has priority.
    `null`: the classes are the values of one mask."""
    clean: bool = False
    """Remove small components and fill holes after inference, as for lungs."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _possible(self) -> LabelRecipe:
        if not self.name.isprintable() or self.name != self.name.strip():
            raise ValueError("name: must be printable text without spaces at its ends")
        if self.code is not None and not all(0 < len(part) <= 64 for part in self.code):
            raise ValueError("code: must be three texts of 1 to 64 characters")
        if self.masks is not None and not _is_below(self.masks):
            raise ValueError("masks: must be a path below the folder of the masks, without '..'")
        return self


def _is_below(path: str) -> bool:
    """Return whether a path is printable, relative and without '..', on all systems."""
    kinds = PurePosixPath(path), PureWindowsPath(path)
    leaves = any(one.anchor or ".." in one.parts for one in kinds)
    return bool(path) and path.isprintable() and not leaves


LabelValue = Annotated[int, Field(ge=1, le=255)]


class DataRecipe(RecipeModel):
    """Sources and classes of the training data. A list is short for `sources`."""

    sources: tuple[Source, ...] = ()
    """Sets of images below one folder; empty: the folders of images and masks of the training."""
    labels: dict[LabelValue, LabelRecipe] = Field(default={}, max_length=MAX_LABELS)
    """Name of each value in masks, such as `{1: right lung, 2: left lung, 3: lesion}`; empty: every
    value but 0 is lung."""
    lungs: LungsRecipe | None = None
    """Train the network on the lungs alone, which a model finds, such as `{margin: 10}`; `null`:
    on whole images."""
    overlap: bool = False
    """Pixels may belong to several labels, such as a lesion in a lung: the network has an
    independent output (a sigmoid) for each of 2 to 16 labels, instead of a softmax. Requires masks
    that can overlap: one file per class (`masks`), DICOM SEG, RT Structure Sets or .seg.nrrd."""
    context: ContextRecipe = ContextRecipe()
    """Neighbouring slices as further channels of the input (2.5-D); by default none."""

    roi: dict[str, LabelValue] | LabelPreset | None = None
    """Structures of masks that are read, such as `{Lung_R: 1, Lung_L: 2}`: the label by name,
    code or number; for masks without names, by value. `totalsegmentator`, `lungmask` or `moose`:
    the lobes of this tool, for right and left lung. `null`: with `labels` the structures of these
    names, else the lungs."""

    @field_validator("roi", mode="before")
    @classmethod
    def _named(cls, roi: Any) -> Any:
        """Convert numbers of structures to text, which YAML distinguishes."""
        if roi == {}:
            raise ValueError("must contain at least one structure")
        return {str(key): label for key, label in roi.items()} if isinstance(roi, Mapping) else roi

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"sources": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _possible(self) -> DataRecipe:
        names = [label.name.casefold() for label in self.labels.values()]
        if len(set(names)) < len(names):
            raise ValueError("labels: two labels have the same name")
        if "background" in names or "all labels" in names:
            raise ValueError("labels: 'background' and 'all labels' are not names of labels")
        for label in self.labels.values():
            if label.mirrored is not None and label.mirrored not in self.labels:
                raise ValueError(f"labels: mirrored: {label.mirrored} is not a label")
        self._check_overlap()
        if 0 < len(self.class_masks) < len(self.labels):
            raise ValueError("labels: all labels must have the key 'masks', or none")
        if self.class_masks and self.roi is not None:
            raise ValueError("roi: excludes the keys 'masks' of the labels")
        unknown = sorted(labels_of(self.roi) - self.labels.keys()) if self.labels else ()
        if unknown:
            raise ValueError(f"roi: {unknown[0]} is not a value of data.labels")
        self._check_lungs(names)
        return self

    def _check_lungs(self, names: Sequence[str]) -> None:
        if self.lungs is None:
            return
        if not self.labels:
            raise ValueError("lungs: requires labels, such as {1: lesion}")
        if self.context.slices:
            raise ValueError("lungs: excludes neighbouring slices; set context.slices to 0")
        label = self.lungs.label
        if label is not None and (label in self.labels or "lung" in names):
            raise ValueError(f"lungs: label: {label} or the name 'lung' is among the labels")

    def _check_overlap(self) -> None:
        if self.overlap and not 2 <= len(self.labels) <= MAX_OVERLAPPING:
            raise ValueError(f"overlap: requires 2 to {MAX_OVERLAPPING} labels")
        if self.overlap and (self.context.slices or self.lungs is not None):
            raise ValueError("overlap: excludes data.context and data.lungs")

    @property
    def classes(self) -> tuple[Label, ...]:
        """The classes, in order of their values; empty if all masks are lungs."""
        return tuple(
            Label(value, label.name, label.code, clean=label.clean, overlap=self.overlap)
            for value, label in sorted(self.labels.items())
        )

    @property
    def class_masks(self) -> dict[str, str]:
        """The key `masks` by name of the class, in order of their values; empty if it is unset."""
        labels = [label for _, label in sorted(self.labels.items())]
        return {label.name: label.masks for label in labels if label.masks is not None}

    @property
    def outputs(self) -> int:
        """Number of logits of a pixel: 1, or with labels the number of classes with background.

        Classes that may overlap have one logit each, and background has none.
        """
        return len(self.labels) + (not self.overlap)

    @property
    def inputs(self) -> int:
        """Number of channels of the input: a slice and its neighbours."""
        return self.context.slice_context.channels


def mirror_table(data: DataRecipe) -> tuple[int, ...]:
    """Return the class index (0 background) in a mirrored image, by class index.

    Raises
    ------
    ValueError
        A label of one side has no counterpart, or two labels have the same one.
    """
    recipes = [label for _, label in sorted(data.labels.items())]
    values, names = sorted(data.labels), [_normalised(label.name) for label in recipes]
    table = [0]
    for label, name in zip(recipes, names, strict=True):
        other = _other_side(name)
        if label.mirrored is not None:
            table.append(1 + values.index(label.mirrored))
        elif other in names:
            table.append(1 + names.index(other))
        else:
            raise ValueError(
                f"flips exchange right and left, and the label '{label.name}' has no counterpart: "
                "set its key 'mirrored', or augmentation.flip to false"
            )
    if any(table[table[i]] != i for i in range(len(table))):
        raise ValueError("the keys 'mirrored' of the labels contradict each other")
    return tuple(table)


def mirror_bits(table: Sequence[int]) -> tuple[int, ...]:
    """Return the bit field of a pixel in a mirrored image, by its bit field; see `mirror_table`."""
    moved = [1 << (other - 1) for other in table[1:]]
    return tuple(
        sum(bit for i, bit in enumerate(moved) if bits >> i & 1) for bits in range(1 << len(moved))
    )


def _normalised(name: str) -> str:
    """Return a name in lower case, with words that begin with a capital letter separated."""
    return _CAPITAL.sub(" ", name).casefold()


def _other_side(name: str) -> str:
    """Return a normalised name with right and left exchanged; itself if it has no side."""
    return _SIDE.sub(lambda word: _OTHER_SIDE[word.group()], name)


def describe_mirroring(table: Sequence[int], classes: Sequence[Label]) -> str:
    """Return which labels a mirrored image exchanges, as text."""
    names = ["background", *(label.name for label in classes)]
    pairs = [f"{names[i]} and {names[j]}" for i, j in enumerate(table) if i < j]
    return f"exchange {', '.join(pairs)}" if pairs else "keep all labels"
