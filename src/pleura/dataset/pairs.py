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


@dataclass(frozen=True)
class Pairing:
    """Two folders matched by name: pairs sorted by name, and the files that make none."""

    pairs: tuple[Pair, ...]
    images_alone: tuple[Path, ...]
    masks_alone: tuple[Path, ...]
    namesakes: tuple[tuple[Path, ...], ...]
    """Files of one folder that differ only in their suffix; neither is paired."""


def find_pairs(images: Path, masks: Path) -> list[Pair]:
    """Pair the pictures of two folders by file name (suffixes may differ), sorted by name.

    Raises
    ------
    DataError
        A folder is unreadable or empty, a name stands twice, or a partner is missing.
    """
    pairing = match_names(images, masks)
    for first, second, *_ in pairing.namesakes:
        raise DataError(
            f"two files share the name '{first.stem}': {first.name} and {second.name}",
            where=first.parent,
            fix="keep one file a name",
        )
    if not pairing.pairs:
        raise DataError(
            "no image has a mask of the same name",
            where=f"{images} and {masks}",
            fix="name each mask as its image, for example images/017.tif and masks/017.tif",
        )
    for lonely, kind in ((pairing.images_alone, "mask"), (pairing.masks_alone, "image")):
        if lonely:
            raise DataError(
                f"{len(lonely)} file(s) without {kind}: {_some([path.name for path in lonely])}",
                where=lonely[0].parent,
                fix=f"add each missing {kind} under the same name, or move its partner away",
            )
    return list(pairing.pairs)


def match_names(images: Path, masks: Path) -> Pairing:
    """Match the pictures of two folders by file name, whatever is missing.

    Raises
    ------
    DataError
        A folder is unreadable or empty.
    """
    by_image, by_mask = _by_stem(images), _by_stem(masks)
    both = by_image.keys() & by_mask.keys()
    single = [s for s in both if len(by_image[s]) == len(by_mask[s]) == 1]
    pairs = [Pair(by_image[s][0].name, by_image[s][0], by_mask[s][0]) for s in single]
    files = [*by_image.values(), *by_mask.values()]
    return Pairing(
        pairs=tuple(sorted(pairs, key=lambda pair: pair.name)),
        images_alone=tuple(by_image[s][0] for s in sorted(by_image.keys() - both)),
        masks_alone=tuple(by_mask[s][0] for s in sorted(by_mask.keys() - both)),
        namesakes=tuple(tuple(paths) for paths in files if len(paths) > 1),
    )


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
    if image.dtype.kind == "b":
        raise DataError(
            "a picture of two values is a mask, not an image",
            where=path,
            fix="give the CT values, or swap images and masks",
        )
    if not np.abs(image, dtype=np.float64).max() <= np.finfo(np.float32).max:
        raise DataError(
            "the image holds NaN, infinite or absurdly large values",
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
    if not np.isfinite(mask).all():
        raise DataError(
            "the mask holds NaN or infinite values",
            where=path,
            fix="save it with 0 outside and 255 (or 1) inside the lungs",
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
    check_sizes(pair, image, mask)
    return image, mask


def check_sizes(pair: Pair, image: Picture, mask: Mask) -> None:
    """Hold a mask to its image's grid.

    Raises
    ------
    DataError
        The two differ in size.
    """
    if image.shape != mask.shape:
        raise DataError(
            f"image and mask differ in size: {_size(image)} and {_size(mask)}",
            where=f"{pair.image} and {pair.mask}",
            fix="export both on the same grid",
        )


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in list_pictures(folder):
        found.setdefault(path.stem, []).append(path)
    return found


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _size(picture: Picture) -> str:
    return f"{picture.shape[0]}x{picture.shape[1]}"
