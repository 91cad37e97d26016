"""Images and their reference masks: paired by name, read, and refused where they are unfit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.scan.pictures import Picture, list_pictures, read_picture

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """An image and its reference mask on disk; ``name`` is the image's file name."""

    name: str
    image: Path
    mask: Path


def find_pairs(images: Path, masks: Path) -> list[Pair]:
    """Pair the pictures of two folders by file name (suffixes may differ), sorted by name.

    Raises
    ------
    DataError
        A folder is unreadable or empty, a name stands twice, or a partner is missing.
    """
    by_image = _by_stem(images)
    by_mask = _by_stem(masks)
    if not by_image.keys() & by_mask.keys():
        raise DataError(
            "no image has a mask of the same name",
            where=f"{images} and {masks}",
            fix="name each mask as its image, for example images/017.tif and masks/017.tif",
        )
    for have, want, kind in ((by_image, by_mask, "mask"), (by_mask, by_image, "image")):
        lonely = sorted(have.keys() - want.keys())
        if lonely:
            raise DataError(
                f"{len(lonely)} file(s) without {kind}: {_some([have[s].name for s in lonely])}",
                where=images if kind == "mask" else masks,
                fix=f"add each missing {kind} under the same name, or move its partner away",
            )
    pairs = [Pair(image.name, image, by_mask[stem]) for stem, image in by_image.items()]
    return sorted(pairs, key=lambda pair: pair.name)


def read_image(path: Path) -> Picture:
    """Read one image as (rows, columns), in its stored dtype and units.

    Raises
    ------
    DataError
        The file is unreadable, not grey, constant, or holds NaN or infinity.
    """
    image = read_picture(path)
    if image.ndim == 3:
        raise DataError(
            f"a colour picture with {image.shape[2]} channels, not CT values",
            where=path,
            fix="export the CT values themselves (16-bit TIFF), not a screenshot",
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError(
            "the image holds NaN or infinite values",
            where=path,
            fix="replace them, for example by -1024 outside the scanned field",
        )
    if image.min() == image.max():
        raise DataError(
            f"the image is constant: every value is {image.flat[0]}",
            where=path,
            fix="export the slice again, or leave it out together with its mask",
        )
    return image


def read_mask(path: Path) -> Mask:
    """Read one mask as (rows, columns) of 0 and 1: values divided by their maximum.

    An all-zero mask is a slice without lung and is accepted.

    Raises
    ------
    DataError
        The file is unreadable, has several channels or grey levels, or is constant but not zero.
    """
    mask = read_picture(path)
    if mask.ndim == 3:
        raise DataError(
            f"a colour picture with {mask.shape[2]} channels, not a mask",
            where=path,
            fix="save the mask with one channel, 0 outside and 255 (or 1) inside the lungs",
        )
    values = np.unique(mask)
    if len(values) == 1 and values[0] != 0:
        raise DataError(
            f"the mask is constant: every value is {values[0]}",
            where=path,
            fix="draw it again, or leave it out together with its image",
        )
    if len(values) > 2 or values[0] != 0:
        raise DataError(
            f"the mask has {len(values)} grey levels ({_some([str(v) for v in values])})",
            where=path,
            fix="save it losslessly with 0 outside and one other value inside the lungs",
        )
    return np.not_equal(mask, 0).astype(np.uint8)


def read_pair(pair: Pair) -> tuple[Picture, Mask]:
    """Read image and mask of a pair, both (rows, columns).

    Raises
    ------
    DataError
        As `read_image` and `read_mask`, or the two differ in size.
    """
    image, mask = read_image(pair.image), read_mask(pair.mask)
    if image.shape != mask.shape:
        raise DataError(
            f"image and mask differ in size: {_size(image)} and {_size(mask)}",
            where=f"{pair.image} and {pair.mask}",
            fix="export both on the same grid",
        )
    return image, mask


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in list_pictures(folder):
        if path.stem in found:
            raise DataError(
                f"two files share the name '{path.stem}': {found[path.stem].name} and {path.name}",
                where=folder,
                fix="keep one file a name",
            )
        found[path.stem] = path
    return found


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _size(picture: Picture) -> str:
    return f"{picture.shape[0]}x{picture.shape[1]}"
