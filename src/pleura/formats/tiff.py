"""TIFF files (TIFF 6.0): one slice, or a stack of pages.

tifffile decodes uncompressed and deflated pages. For LZW and other compressions it needs a large
optional package, so those pages are decoded by the libtiff in Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
import tifffile
from isal import isal_zlib
from PIL import Image

from pleura.errors import DataError
from pleura.files.limits import check_claimed_size
from pleura.formats.channels import palette_labels
from pleura.formats.image_format import ImageFormat
from pleura.scan.origin import FormatName
from pleura.typing import AnyArray

_MAX_PAGES = 1 << 14
_UNCOMPRESSED = (1,)
_DEFLATED = (8, 32946)
_LIBTIFF = (2, 3, 4, 5, 6, 7, 32773)
"""Compressions that libtiff decodes in every build of Pillow: bilevel, LZW, JPEG, PackBits."""


class TiffFormat(ImageFormat):
    """TIFF files: one slice, or a stack of pages.

    Files that are sparse, rotated, mirrored or inverted are refused.
    """

    name: FormatName = "TIFF"
    suffixes: tuple[str, ...] = (".tif", ".tiff")
    output_suffixes: tuple[str, ...] = (".tif", ".tiff")
    stores_stacks = True

    def decode(self, path: Path, *, labels: bool = False) -> AnyArray:
        """Return the only page; a palette is refused unless the image contains ``labels``."""
        with _open(path) as tiff:
            pages = _pages(path, tiff)
            if len(pages) > 1:
                raise DataError(
                    f"the TIFF is a stack of {len(pages)} pages, not a single slice",
                    where=path,
                    hint="save one slice per file",
                )
            _check_pages(path, pages, palette=labels)
            if pages[0].photometric == tifffile.PHOTOMETRIC.PALETTE:
                with Image.open(path, formats=["TIFF"]) as image:
                    return palette_labels(image, path)
            page: AnyArray = _decode(path, pages)[0]
            planes = page.ndim == 3 and pages[0].planarconfig == tifffile.PLANARCONFIG.SEPARATE
            return np.moveaxis(page, 0, -1) if planes else page

    def decode_stack(self, path: Path) -> AnyArray | None:
        """Return the pages, or the slices that follow a single page, as in files of ImageJ."""
        with _open(path) as tiff:
            pages = _pages(path, tiff)
            if len(pages) == 1:
                return _decode_contiguous(path, tiff)
            if len({(page.shape, page.dtype) for page in pages}) > 1:
                raise DataError(
                    "the TIFF pages have different sizes or types, so they are not a volume",
                    where=path,
                    hint="save one slice per file",
                )
            _check_pages(path, pages)
            return _decode(path, pages)

    def encode(self, file: IO[bytes], array: AnyArray) -> None:
        """Write a slice, or a stack of pages, to an open file."""
        differences = array.ndim == 2 and array.dtype.kind in "iu"
        tifffile.imwrite(
            file,
            array,
            photometric="minisblack",
            compression="zlib",
            predictor=2 if differences else None,
        )


TIFF = TiffFormat()


def _open(path: Path) -> tifffile.TiffFile:
    # OME metadata may name other files, which would be read.
    return tifffile.TiffFile(path, is_ome=False)


def _decode_contiguous(path: Path, tiff: tifffile.TiffFile) -> AnyArray | None:
    """Return the slices after a single page, stored in one block; None for a single slice."""
    try:
        first, series = tiff.pages.first, tiff.series[0]
        slices = int(series.size // first.size)
    # tifffile raises many kinds of errors for unusual metadata; the page may be readable.
    except Exception:  # noqa: BLE001
        return None
    if slices <= 1:
        return None
    _check_tags(path, first)
    check_claimed_size(series.nbytes, path.stat().st_size, path, ratio=1)
    return np.reshape(series.asarray(), (slices, *first.shape))


def _pages(path: Path, tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    if len(tiff.pages) == 0:
        raise ValueError("the file has no pages")
    if len(tiff.pages) > _MAX_PAGES:
        raise DataError(
            f"the TIFF has {len(tiff.pages)} pages, more than supported",
            where=path,
            hint="save one scan per file",
        )
    return [page.aspage() for page in tiff.pages]


def _check_pages(path: Path, pages: Sequence[tifffile.TiffPage], *, palette: bool = False) -> None:
    """Refuse pages that claim more than the file contains, before they are decoded."""
    for page in pages:
        _check_tags(path, page, palette=palette)
        if not page.databytecounts or 0 in page.databytecounts or 0 in page.dataoffsets:
            raise DataError(
                "pixels are missing in the TIFF: it is truncated or sparse",
                where=path,
                hint="save it again, with all pixels",
            )
    size = path.stat().st_size
    plain = all(page.compression in _UNCOMPRESSED for page in pages)
    packed = sum(sum(page.databytecounts) for page in pages)
    check_claimed_size(packed, size, path, ratio=1)  # strips must not share data
    voxels = [(math.prod(page.shape), page) for page in pages]
    if plain:
        stored = sum(-(-count * page.bitspersample // 8) for count, page in voxels)
        check_claimed_size(stored, size, path, ratio=1)
    check_claimed_size(sum(count * _dtype(page).itemsize for count, page in voxels), size, path)


def _dtype(page: tifffile.TiffPage) -> np.dtype[Any]:
    if page.dtype is None:
        raise ValueError(f"{page.bitspersample} bits per pixel")
    return np.dtype(page.dtype)


def _decode(path: Path, pages: Sequence[tifffile.TiffPage]) -> AnyArray:
    compressions = {int(page.compression) for page in pages}
    if not compressions <= {*_UNCOMPRESSED, *_DEFLATED}:
        try:
            return _decode_with_libtiff(path, pages)
        except OSError as error:
            unusual = sorted(compressions - {*_UNCOMPRESSED, *_DEFLATED, *_LIBTIFF})
            if not unusual:
                raise
            raise DataError(
                f"Pillow {PIL.__version__} cannot decode compression {unusual[0]} of the TIFF",
                where=path,
                hint="save the file again with deflate, or upgrade Pillow",
            ) from error
    volume = np.empty((len(pages), *pages[0].shape), _dtype(pages[0]))
    for i, page in enumerate(pages):
        if page.compression in _DEFLATED:
            _check_strips(path, page)
        volume[i] = page.asarray()
    return volume


def _check_strips(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a strip or tile that inflates to more than its pixels: tifffile inflates all of it."""
    limit = math.prod(page.chunks) * _dtype(page).itemsize
    with path.open("rb") as file:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(offset)
            decoder = isal_zlib.decompressobj(15)
            decoder.decompress(file.read(count), limit)
            if decoder.unconsumed_tail or len(decoder.decompress(b"", 1)):
                raise ValueError("a strip contains more than its pixels")


def _decode_with_libtiff(path: Path, pages: Sequence[tifffile.TiffPage]) -> AnyArray:
    volume = np.empty((len(pages), *pages[0].shape), _dtype(pages[0]))
    with Image.open(path, formats=["TIFF"]) as image:
        for i, page in enumerate(pages):
            image.seek(i)
            decoded = np.asarray(image)
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and decoded.ndim == 3:
                decoded = np.moveaxis(decoded, -1, 0)
            if not _is_exact(decoded, page):
                raise DataError(
                    f"values of type {page.dtype} with compression {int(page.compression)} "
                    "cannot be decoded exactly",
                    where=path,
                    hint="save it uncompressed, or with deflate",
                )
            volume[i] = decoded.astype(volume.dtype)
    return volume


def _is_exact(decoded: AnyArray, page: tifffile.TiffPage) -> bool:
    """Return whether Pillow has decoded the values themselves.

    It scales values of 2 and 4 bits, reduces colours of 16 bits to 8, and exchanges the bytes of
    big-endian values other than uint16.
    """
    dtype = _dtype(page)
    exchanged = page.parent.byteorder == ">" and dtype.itemsize > 1 and dtype != np.uint16
    complete = decoded.shape == page.shape and decoded.itemsize >= dtype.itemsize
    return complete and page.bitspersample in (1, 8, 12, 16, 32) and not exchanged


def _check_tags(path: Path, page: tifffile.TiffPage, *, palette: bool = False) -> None:
    """Refuse a page that is rotated, mirrored or inverted, or has an unexpected ``palette``."""
    orientation = page.tags.valueof(274, default=1)
    if orientation != 1:
        raise DataError(
            f"the TIFF is stored rotated or mirrored (orientation {orientation})",
            where=path,
            hint="save it upright: not all programs apply this tag",
        )
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not palette:
        raise DataError(
            "the TIFF contains palette colours, not CT values",
            where=path,
            hint="export the CT values themselves (16-bit TIFF)",
        )
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        raise DataError(
            "the TIFF is stored inverted, white as 0",
            where=path,
            hint="save it with black as 0: not all programs invert it",
        )
