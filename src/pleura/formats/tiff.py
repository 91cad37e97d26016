"""TIFF pages and stacks (TIFF 6.0), none of them sparse, turned or inverted.

tifffile decodes uncompressed and deflated pages; LZW and its like it leaves to a large optional
package, so those are decoded by the libtiff that Pillow and OpenCV bring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from isal import isal_zlib
from PIL import Image

from pleura.errors import DataError
from pleura.files.limits import check_claimed_size
from pleura.formats.channels import palette_labels
from pleura.typing import AnyArray

_MAX_PAGES = 1 << 14
_UNCOMPRESSED = (1,)
_DEFLATED = (8, 32946)


def read_tiff(path: Path, *, labels: bool = False) -> AnyArray:
    """Read a TIFF of one page: (rows, columns) or (rows, columns, channels).

    A palette is refused unless the picture holds ``labels``.

    Raises
    ------
    DataError
        It has several pages, lacks data, or is stored in a way that programs disagree about.
    Exception
        It is damaged: tifffile, Pillow and OpenCV have errors of their own.
    """
    with _open(path) as tiff:
        pages = _pages(path, tiff)
        if len(pages) > 1:
            raise DataError(
                f"a TIFF stack of {len(pages)} pages, not a single slice",
                where=path,
                hint="save each slice as a file of its own",
            )
        _check_pages(path, pages, palette=labels)
        if pages[0].photometric == tifffile.PHOTOMETRIC.PALETTE:
            with Image.open(path, formats=["TIFF"]) as image:
                return palette_labels(image, path)
        page: AnyArray = _decode(path, pages)[0]
        planes = page.ndim == 3 and pages[0].planarconfig == tifffile.PLANARCONFIG.SEPARATE
        return np.moveaxis(page, 0, -1) if planes else page


def count_tiff_slices(path: Path) -> int:
    """Return the number of slices: pages, or what lies behind a single page, as ImageJ writes it.

    Raises
    ------
    Exception
        The file is damaged.
    """
    with _open(path) as tiff:
        return max(len(tiff.pages), _behind_first(tiff))


def read_tiff_stack(path: Path) -> AnyArray:
    """Read a TIFF of several slices: (slices, rows, columns).

    Raises
    ------
    DataError
        It lacks data, is stored in a way that programs disagree about, or its pages differ.
    Exception
        It is damaged.
    """
    with _open(path) as tiff:
        pages = _pages(path, tiff)
        if len(pages) == 1:
            first, series = pages[0], tiff.series[0]
            _check_tags(path, first)
            check_claimed_size(series.nbytes, path.stat().st_size, path, ratio=1)
            return np.reshape(series.asarray(), (_behind_first(tiff), *first.shape))
        if len({(page.shape, page.dtype) for page in pages}) > 1:
            raise DataError(
                "TIFF pages of different sizes or types are no volume",
                where=path,
                hint="save each slice as a file of its own",
            )
        _check_pages(path, pages)
        return _decode(path, pages)


def _open(path: Path) -> tifffile.TiffFile:
    # OME metadata may name other files, which would be read.
    return tifffile.TiffFile(path, is_ome=False)


def _behind_first(tiff: tifffile.TiffFile) -> int:
    return int(tiff.series[0].size // tiff.pages.first.size)


def _pages(path: Path, tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    if len(tiff.pages) == 0:
        raise ValueError("no picture in it")
    if len(tiff.pages) > _MAX_PAGES:
        raise DataError(
            f"a TIFF of {len(tiff.pages)} pages", where=path, hint="save the slices of one scan"
        )
    return [page.aspage() for page in tiff.pages]


def _check_pages(path: Path, pages: Sequence[tifffile.TiffPage], *, palette: bool = False) -> None:
    """Refuse pages that claim more than the file holds, before anything is decoded."""
    for page in pages:
        _check_tags(path, page, palette=palette)
        if not page.databytecounts or 0 in page.databytecounts or 0 in page.dataoffsets:
            raise DataError(
                "the TIFF lacks some or all of its pixels: it is sparse or was never whole",
                where=path,
                hint="save it again, with all pixels",
            )
    size = path.stat().st_size
    plain = all(page.compression in _UNCOMPRESSED for page in pages)
    packed = sum(sum(page.databytecounts) for page in pages)
    check_claimed_size(packed, size, path, ratio=1)  # strips may not share their data either
    claimed = sum(math.prod(page.shape) * _dtype(page).itemsize for page in pages)
    check_claimed_size(claimed, size, path, **({"ratio": 1} if plain else {}))


def _dtype(page: tifffile.TiffPage) -> np.dtype[Any]:
    if page.dtype is None:
        raise ValueError(f"{page.bitspersample} bits a pixel")
    return np.dtype(page.dtype)


def _decode(path: Path, pages: Sequence[tifffile.TiffPage]) -> AnyArray:
    if any(page.compression not in (*_UNCOMPRESSED, *_DEFLATED) for page in pages):
        return _decode_with_libtiff(path, pages)
    volume = np.empty((len(pages), *pages[0].shape), _dtype(pages[0]))
    for i, page in enumerate(pages):
        if page.compression in _DEFLATED:
            _check_strips(path, page)
        volume[i] = page.asarray()
    return volume


def _check_strips(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a strip or tile that unpacks to more than its pixels: tifffile unpacks it whole."""
    most = math.prod(page.chunks) * _dtype(page).itemsize
    with path.open("rb") as file:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(offset)
            decoder = isal_zlib.decompressobj(15)
            decoder.decompress(file.read(count), most)
            if decoder.unconsumed_tail or len(decoder.decompress(b"", 1)):
                raise ValueError("a strip holds more than its pixels")


def _decode_with_libtiff(path: Path, pages: Sequence[tifffile.TiffPage]) -> AnyArray:
    with Image.open(path, formats=["TIFF"]) as probe:
        for i in range(len(pages)):
            probe.seek(i)
            probe.load()  # OpenCV decodes half of a damaged stream without a word
    content = np.fromfile(path, np.uint8)
    success, decoded = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
    if not success or len(decoded) != len(pages):
        raise ValueError(f"libtiff cannot decode compression {pages[0].compression}")
    volume = np.stack(decoded)
    return volume[..., [2, 1, 0, 3][: volume.shape[-1]]] if volume.ndim == 4 else volume


def _check_tags(path: Path, page: tifffile.TiffPage, *, palette: bool = False) -> None:
    """Refuse a TIFF page that is stored turned or inverted, or has a palette if not asked for."""
    orientation = page.tags.valueof(274, default=1)
    if orientation != 1:
        raise DataError(
            f"the TIFF is stored turned or mirrored (orientation {orientation})",
            where=path,
            hint="save it upright: programs disagree on whether they turn it back",
        )
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not palette:
        raise DataError(
            "a TIFF of palette colours, not CT values",
            where=path,
            hint="export the CT values themselves (16-bit TIFF)",
        )
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        raise DataError(
            "the TIFF is stored inverted, white as 0",
            where=path,
            hint="save it with black as 0: programs disagree on whether they turn it back",
        )
