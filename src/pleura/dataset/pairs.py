"""Images and their reference masks: paired by name, read, and refused where they are unfit.

An image is a picture, or one axial slice of a volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.volumes import read_labels, read_scan, read_volume
from pleura.errors import DataError
from pleura.formats.channels import equal_channels
from pleura.formats.matching import composed, match_files
from pleura.formats.pictures import SUFFIXES, list_pictures, read_picture
from pleura.formats.read import VOLUMES, scan_name
from pleura.scan.scan import Scan
from pleura.typing import AnyArray


@dataclass(frozen=True)
class Pair:
    """An image and its reference mask on disk.

    ``name`` is the image's file name, in the Unicode form NFC. Of a volume, a pair is one axial
    slice, counted from the foot: ``name`` is then as ``chest.nii.gz#045``. ``factor`` is that of
    stored values to HU. Where a person has seen that there is ``no_lung``, the mask is not read.
    Pairs of one ``group`` (the slices of a volume, the DICOM files of a patient) stay in one subset
    of a split.
    """

    name: str
    image: Path
    mask: Path
    index: int | None = None
    factor: float = 1.0
    no_lung: bool = False
    group: str | None = None

    @property
    def file_name(self) -> str:
        """The name without the slice's index."""
        return self.name if self.index is None else self.name.rpartition("#")[0]


@dataclass(frozen=True)
class Pairing:
    """Two folders matched by name: pairs sorted by name, and the files that make none."""

    pairs: tuple[Pair, ...]
    unmatched_images: tuple[Path, ...]
    unmatched_masks: tuple[Path, ...]
    ambiguous: tuple[tuple[Path, ...], ...]
    """Files of one folder between which the names do not decide; none of them is paired."""


def find_pairs(images: str | Path, masks: str | Path) -> list[Pair]:
    """Pair the files of two folders by file name, sorted by name.

    Suffix, case, Unicode form and an ending such as ``_mask`` do not count (`match_files`). A
    volume (NIfTI, NRRD, MetaImage) gives a pair for each of its axial slices.

    Raises
    ------
    DataError
        A folder is unreadable or empty, a name is not unique, a partner is missing, a volume
        cannot be read, or both folders are the same.
    """
    pairing = match_folders(Path(images), Path(masks))
    for first, second, *_ in pairing.ambiguous:
        raise DataError(
            f"two files share the name '{scan_name(first)}': {first.name} and {second.name}",
            where=first.parent,
            hint="keep one file per name",
        )
    if not pairing.pairs:
        raise DataError(
            "no image has a mask of the same name",
            where=f"{images} and {masks}",
            hint="name each mask as its image, for example images/017.tif and masks/017.tif",
        )
    for lonely, kind in ((pairing.unmatched_images, "mask"), (pairing.unmatched_masks, "image")):
        if lonely:
            raise DataError(
                f"{len(lonely)} file(s) without {kind}: {_some([path.name for path in lonely])}",
                where=lonely[0].parent,
                hint=f"add each missing {kind} under the same name, or move its partner away",
            )
    return [one for pair in pairing.pairs for one in expand_slices(pair)]


def find_images(folder: Path) -> list[Pair]:
    """Return the images of a folder as pairs without a mask, sorted by name.

    Raises
    ------
    DataError
        The folder is unreadable or empty, or a volume cannot be read.
    """
    files = list_pictures(folder, (*SUFFIXES, *VOLUMES))
    pairs = [Pair(composed(path.name), path, path, no_lung=True) for path in files]
    return [one for pair in pairs for one in expand_slices(pair)]


def expand_slices(pair: Pair) -> Iterator[Pair]:
    """Yield a picture's pair as it is, and a volume's or a DICOM file's as one pair per slice.

    Raises
    ------
    DataError
        A volume cannot be read.
    """
    if not _is_volume(pair.image):
        yield pair
        return
    scan = read_scan(pair.image, "hu")
    grid, group = scan.geometry, patient_key(scan) or str(pair.image)
    for i in range(grid.to_canonical().apply_to(grid).shape[0]):
        yield replace(pair, name=f"{pair.name}#{i:03d}", index=i, group=group)


def patient_key(scan: Scan) -> str:
    """Return who was scanned, by the header of a DICOM file; empty where it does not tell."""
    return scan.origin.patient.strip("|^ ")


def match_folders(images: Path, masks: Path) -> Pairing:
    """Match the files of two folders by name, whatever is missing.

    Raises
    ------
    DataError
        A folder is unreadable or empty, or both are the same.
    """
    suffixes = (*SUFFIXES, *VOLUMES)
    files = list_pictures(images, suffixes), list_pictures(masks, suffixes)
    if images.samefile(masks):
        raise DataError(
            "images and masks are the same folder, so that each image would be its own mask",
            where=images,
            hint="move the masks into a folder of their own",
        )
    found = match_files(*files, (images, masks))
    pairs = [Pair(composed(image.name), image, mask) for _, image, mask in found.pairs]
    return Pairing(
        pairs=tuple(sorted(pairs, key=lambda pair: pair.name)),
        unmatched_images=found.first_alone,
        unmatched_masks=found.second_alone,
        ambiguous=found.ambiguous,
    )


def read_image_2d(path: Path) -> AnyArray:
    """Read one image as (rows, columns), in its stored dtype and units.

    Raises
    ------
    DataError
        The file is unreadable, not grey, constant, or holds NaN or infinity.
    """
    stored = read_picture(path)
    image = equal_channels(stored)
    if image is None:
        raise DataError(
            f"a colour picture with {stored.shape[2]} channels, not CT values",
            where=path,
            hint="export the CT values themselves (16-bit TIFF), not a screenshot",
        )
    if image.dtype.kind == "b":
        raise DataError(
            "a picture of two values is a mask, not an image",
            where=path,
            hint="give the CT values, or swap images and masks",
        )
    if not np.abs(image, dtype=np.float64).max() <= np.finfo(np.float32).max:
        raise DataError(
            "the image holds NaN, infinite or absurdly large values",
            where=path,
            hint="replace them, for example by -1024 outside the scanned field",
        )
    if image.min() == image.max():
        raise DataError(
            f"the image is constant: every value is {image.flat[0]}",
            where=path,
            hint="export the slice again, or leave it out together with its mask",
        )
    return image


def read_mask_2d(path: Path) -> NDArray[np.uint8]:
    """Read one mask as (rows, columns) of 0 and 1: values divided by their maximum.

    An all-zero mask is a slice without lung and is accepted. Equal colour channels are one, and a
    palette stands for labels (`pleura.formats.pictures.palette_labels`).

    Raises
    ------
    DataError
        The file is unreadable, has several channels or grey levels, or is constant but not zero.
    """
    stored = read_picture(path, labels=True)
    mask = equal_channels(stored)
    if mask is None:
        raise DataError(
            f"a colour picture with {stored.shape[2]} channels, not a mask",
            where=path,
            hint="save the mask with one channel, 0 outside and 255 (or 1) inside the lungs",
        )
    if not np.isfinite(mask).all():
        raise DataError(
            "the mask holds NaN or infinite values",
            where=path,
            hint="save it with 0 outside and 255 (or 1) inside the lungs",
        )
    values = np.unique(mask)
    if len(values) == 1 and values[0] != 0:
        raise DataError(
            f"the mask is constant: every value is {values[0]}",
            where=path,
            hint="draw it again, or leave it out together with its image",
        )
    if len(values) > 2 or values[0] != 0:
        raise DataError(
            f"the mask has {len(values)} grey levels ({_some([str(v) for v in values])})",
            where=path,
            hint="save it losslessly with 0 outside and one other value inside the lungs",
        )
    return np.not_equal(mask, 0).astype(np.uint8)


def read_pair(pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
    """Read image and mask of a pair, both (rows, columns).

    Raises
    ------
    DataError
        As `read_image_2d` and `read_mask_2d`, or the two differ in size.
    """
    image, mask = _read_picture_pair(pair) if pair.index is None else _read_slice_pair(pair)
    if pair.factor != 1:
        limits = np.iinfo(np.int16)
        image = np.rint((image / pair.factor).clip(limits.min, limits.max)).astype(np.int16)
    return image, mask


def _read_picture_pair(pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
    image = read_image_2d(pair.image)
    if pair.no_lung:
        return image, np.zeros(image.shape, np.uint8)
    mask = read_mask_2d(pair.mask)
    check_sizes(pair, image.shape, mask.shape)
    return image, mask


def _read_slice_pair(pair: Pair) -> tuple[AnyArray, NDArray[np.uint8]]:
    volume, grid = read_volume(pair.image)
    image = volume[pair.index]
    if pair.no_lung:
        return image, np.zeros(image.shape, np.uint8)
    labels, own = read_labels(pair.mask)
    if not own.fits(grid):
        raise DataError(
            f"image and mask lie on different grids: {grid.difference(own)}",
            where=f"{pair.image} and {pair.mask}",
            hint="export the mask on the image's own grid",
        )
    return image, labels[pair.index]


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith((*VOLUMES, ".dcm"))


def check_sizes(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Require image and mask to have the same rows and columns.

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
            hint="export both on the same grid",
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
