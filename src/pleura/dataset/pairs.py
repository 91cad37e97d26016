"""Images and their reference masks: paired by name, read, and refused where they are unfit.

An image is a picture, or one axial slice of a volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.scan.geometry import Geometry
from pleura.scan.hounsfield import UnitsOption
from pleura.scan.io import VOLUMES, read
from pleura.scan.pictures import SUFFIXES, Picture, list_pictures, read_picture

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """An image and its reference mask on disk.

    ``name`` is the image's file name. Of a volume, a pair is one axial slice, counted from the
    foot: ``name`` is then as ``chest.nii.gz#045``. ``factor`` is that of stored values to HU. Where
    a person has seen that there is ``no_lung``, the mask is not read.
    """

    name: str
    image: Path
    mask: Path
    index: int | None = None
    factor: float = 1.0
    no_lung: bool = False


@dataclass(frozen=True)
class Pairing:
    """Two folders matched by name: pairs sorted by name, and the files that make none."""

    pairs: tuple[Pair, ...]
    images_alone: tuple[Path, ...]
    masks_alone: tuple[Path, ...]
    namesakes: tuple[tuple[Path, ...], ...]
    """Files of one folder that differ only in their suffix; neither is paired."""


def find_pairs(images: Path, masks: Path) -> list[Pair]:
    """Pair the files of two folders by file name (suffixes may differ), sorted by name.

    A volume (NIfTI, NRRD, MetaImage) gives a pair for each of its axial slices.

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
    return [one for pair in pairing.pairs for one in slices_of(pair)]


def slices_of(pair: Pair) -> Iterator[Pair]:
    """Yield a picture's pair as it is, and a volume's or a DICOM file's as one pair a slice.

    Raises
    ------
    DataError
        A volume cannot be read.
    """
    if not _is_volume(pair.image):
        yield pair
        return
    grid = read(pair.image, units="hu").geometry
    for i in range(grid.to_canonical().apply_to(grid).shape[0]):
        yield replace(pair, name=f"{pair.name}#{i:03d}", index=i)


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
    image, mask = _read_picture_pair(pair) if pair.index is None else _read_slice_pair(pair)
    if pair.factor != 1:
        image = np.rint(image / pair.factor).astype(np.int16)
    return image, mask


def _read_picture_pair(pair: Pair) -> tuple[Picture, Mask]:
    image = read_image(pair.image)
    if pair.no_lung:
        return image, np.zeros(image.shape, np.uint8)
    mask = read_mask(pair.mask)
    check_sizes(pair, image.shape, mask.shape)
    return image, mask


def _read_slice_pair(pair: Pair) -> tuple[Picture, Mask]:
    volume, grid = _volume(pair.image, "auto")
    image = volume[pair.index]
    if pair.no_lung:
        return image, np.zeros(image.shape, np.uint8)
    labels, own = _volume(pair.mask, "hu")
    if not own.fits(grid):
        raise DataError(
            f"image and mask lie on different grids: {grid.difference(own)}",
            where=f"{pair.image} and {pair.mask}",
            fix="export the mask on the image's own grid",
        )
    return image, (labels[pair.index] > 0).astype(np.uint8)


@lru_cache(maxsize=2)
def _volume(path: Path, units: UnitsOption) -> tuple[NDArray[np.int16], Geometry]:
    """Read a volume as canonical axial slices; image and mask stay until the next ones."""
    scan = read(path, units=units)
    order = scan.geometry.to_canonical()
    return np.ascontiguousarray(order.apply(scan.hu())), order.apply_to(scan.geometry)


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith((*VOLUMES, ".dcm"))


def check_sizes(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Hold a mask's shape to its image's.

    Raises
    ------
    DataError
        The two differ in size.
    """
    if image != mask:
        sizes = ["x".join(str(side) for side in shape[:2]) for shape in (image, mask)]
        raise DataError(
            f"image and mask differ in size: {' and '.join(sizes)}",
            where=f"{pair.image} and {pair.mask}",
            fix="export both on the same grid",
        )


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in list_pictures(folder, (*SUFFIXES, *VOLUMES)):
        found.setdefault(_stem(path), []).append(path)
    return found


def _stem(path: Path) -> str:
    ends = [s for s in VOLUMES if path.name.lower().endswith(s)]
    return path.name[: -max(map(len, ends))] if ends else path.stem


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
