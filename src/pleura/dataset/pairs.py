"""Pairs of an image and its reference mask.

An image is a 2-D image file or one axial slice of a volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pleura.dataset.scan_folders import (
    is_dicom_scan,
    list_images,
    list_masks,
    match_by_series,
    patient_group,
    public_name,
)
from pleura.dataset.volumes import read_scan
from pleura.errors import DataError
from pleura.formats.matching import match_files, normalize_name
from pleura.formats.registry import VOLUME_SUFFIXES, scan_name
from pleura.masks.selection import RoiSelection
from pleura.names import counted, shorten_list
from pleura.typing import StrPath


@dataclass(frozen=True)
class Pair:
    """An image and its reference mask on disk.

    Parameters
    ----------
    name:
        File name of the image in the Unicode form NFC. For a slice of a volume, followed by the
        slice index: ``chest.nii.gz#045``.
    image, mask:
        The files.
    index:
        Index of the axial slice, from foot to head; None for an image file.
    factor:
        Stored values are HU times this factor.
    no_lung:
        The image is known to show no lung; the mask is not read.
    group:
        Images of one group (the slices of a volume, the DICOM files of a patient) are in the same
        subset of a split.
    class_masks:
        One mask file per class, in the order of the classes; ``mask`` is the first of them. Empty
        if ``mask`` contains all classes.
    roi:
        Structures or values of the mask that are read, as for `read_mask`.
    """

    name: str
    image: Path = field(repr=False)
    mask: Path = field(repr=False)
    index: int | None = None
    factor: float = 1.0
    no_lung: bool = False
    group: str | None = field(default=None, repr=False)
    class_masks: tuple[Path, ...] = field(default=(), repr=False)
    roi: RoiSelection | None = field(default=None, repr=False, hash=False)

    @property
    def masks(self) -> tuple[Path, ...]:
        """All mask files."""
        return self.class_masks or (self.mask,)

    @property
    def file_name(self) -> str:
        """The name without the slice index."""
        return self.name if self.index is None else self.name.rpartition("#")[0]


@dataclass(frozen=True)
class Pairing:
    """The files of two folders, matched by name.

    Parameters
    ----------
    pairs:
        Images with their masks, sorted by name.
    unmatched_images, unmatched_masks:
        Files without a partner.
    ambiguous:
        Groups of files in one folder that share a name; none of them is paired.
    class_name:
        Class of the masks; empty if they contain all classes.
    """

    pairs: tuple[Pair, ...]
    unmatched_images: tuple[Path, ...]
    unmatched_masks: tuple[Path, ...]
    ambiguous: tuple[tuple[Path, ...], ...]
    class_name: str = ""

    @property
    def mask_noun(self) -> str:
        """What the masks are called in messages."""
        return f"mask of the class '{self.class_name}'" if self.class_name else "mask"


def find_pairs(
    images: StrPath,
    masks: StrPath,
    class_masks: Mapping[str, str] | None = None,
    roi: RoiSelection | None = None,
) -> list[Pair]:
    """Pair the files of two folders by file name.

    Suffix, case, Unicode form and an ending such as ``_mask`` are ignored (see `match_files`). A
    volume (NIfTI, NRRD, MetaImage) results in one pair per axial slice. If the folder of the images
    contains no image file, its folders and zips are DICOM scans, which masks may also refer to by
    their series; the name of such a scan that contains words of the patient's name is a hash.

    Parameters
    ----------
    images, masks:
        The folders.
    class_masks:
        For one mask file per class: the folder of the masks of each class, below ``masks``, by name
        of the class.
    roi:
        Structures or values of the masks to read, as for `read_mask`.

    Returns
    -------
    list of Pair
        Sorted by name.

    Raises
    ------
    DataError
        A folder is unreadable or empty, a name is not unique, a partner is missing, a volume
        cannot be read, or both folders are the same.

    Examples
    --------
    >>> import pleura
    >>> pairs = pleura.find_pairs("tests/data/sample/images", "tests/data/sample/masks")
    >>> len(pairs), pairs[0].name
    (60, 'LCTSC-101_013.tif')
    """
    pairings = match_all_folders(Path(images), Path(masks), class_masks)
    for name, pairing in pairings.items():
        _require_matched(pairing, Path(images), Path(masks) / (class_masks or {}).get(name, ""))
    return [one for pair in with_roi(join_classes(pairings), roi) for one in expand_slices(pair)]


def _require_matched(pairing: Pairing, images: Path, masks: Path) -> None:
    for first, second, *_ in pairing.ambiguous:
        raise DataError(
            f"two files share the name '{scan_name(first)}': {first.name} and {second.name}",
            where=first.parent,
            hint="keep one file per name",
        )
    if not pairing.pairs:
        raise DataError(
            "no image has a mask with the same name",
            where=f"{images} and {masks}",
            hint="name each mask like its image, for example images/017.tif and masks/017.tif",
        )
    for files, partner in (
        (pairing.unmatched_images, pairing.mask_noun),
        (pairing.unmatched_masks, "image"),
    ):
        if files:
            names = shorten_list([path.name for path in files])
            raise DataError(
                f"{counted(len(files), 'file')} without {partner}: {names}",
                where=files[0].parent,
                hint=f"add each missing {partner} under the same name, or remove the file",
            )


def find_images(folder: Path) -> list[Pair]:
    """Return the images of a folder as pairs without a mask, sorted by name.

    Raises
    ------
    DataError
        The folder is unreadable or empty, or a volume cannot be read.
    """
    files = list_images(folder)
    pairs = [Pair(normalize_name(path.name), path, path, no_lung=True) for path in files]
    return [one for pair in pairs for one in expand_slices(pair)]


def expand_slices(pair: Pair) -> Iterator[Pair]:
    """Yield one pair per slice of a volume or DICOM file; a pair of image files is unchanged.

    Raises
    ------
    DataError
        A volume cannot be read.
    """
    if not _is_volume(pair.image):
        yield pair
        return
    scan = read_scan(pair.image, "hu")
    grid, group = scan.geometry, patient_group(scan) or str(pair.image)
    if is_dicom_scan(pair.image):
        pair = replace(pair, name=public_name(pair.name, scan))
    for i in range(grid.to_canonical().apply_to(grid).shape[0]):
        yield replace(pair, name=f"{pair.name}#{i:03d}", index=i, group=group)


def match_folders(images: Path, masks: Path) -> Pairing:
    """Match the files of two folders by name; missing partners are not an error.

    Raises
    ------
    DataError
        A folder is unreadable or empty, or both are the same.
    """
    files = list_images(images), list_masks(masks)
    if images.samefile(masks):
        raise DataError(
            "images and masks are the same folder",
            where=images,
            hint="move the masks to a separate folder",
        )
    matching = match_files(*files, (images, masks))
    by_series: dict[Path, Path] = {}
    if any(map(is_dicom_scan, matching.unmatched_first)):
        by_series = match_by_series(matching.unmatched_first, matching.unmatched_second)
    matched = [*((image, mask) for _, image, mask in matching.pairs)]
    matched += [(image, mask) for mask, image in by_series.items()]
    pairs = [Pair(normalize_name(image.name), image, mask) for image, mask in matched]
    return Pairing(
        pairs=tuple(sorted(pairs, key=lambda pair: pair.name)),
        unmatched_images=tuple(x for x in matching.unmatched_first if x not in by_series.values()),
        unmatched_masks=tuple(x for x in matching.unmatched_second if x not in by_series),
        ambiguous=matching.ambiguous,
    )


def match_all_folders(
    images: Path, masks: Path, class_masks: Mapping[str, str] | None
) -> dict[str, Pairing]:
    """Match the images with the masks of each class; the only key is empty for one folder of masks.

    Raises
    ------
    DataError
        As `match_folders`.
    """
    if not class_masks:
        return {"": match_folders(images, masks)}
    return {
        name: replace(match_folders(images, masks / folder), class_name=name)
        for name, folder in class_masks.items()
    }


def join_classes(pairings: Mapping[str, Pairing]) -> tuple[Pair, ...]:
    """Return the images that have a mask of each class, as one pair each."""
    first = next(iter(pairings.values()))
    if not first.class_name:
        return first.pairs
    masks = [{pair.image: pair.mask for pair in pairing.pairs} for pairing in pairings.values()]
    return tuple(
        replace(pair, class_masks=tuple(by_image[pair.image] for by_image in masks))
        for pair in first.pairs
        if all(pair.image in by_image for by_image in masks)
    )


def with_roi(pairs: Iterable[Pair], roi: RoiSelection | None) -> list[Pair]:
    """Return pairs with structures or values of their masks to read."""
    return [replace(pair, roi=roi) for pair in pairs]


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith((*VOLUME_SUFFIXES, ".dcm")) or is_dicom_scan(path)
