"""Detection of an image and its mask in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pleura.errors import DataError, ScanError
from pleura.formats.read import read
from pleura.masks.labels import read_mask


@contextmanager
def detect_exchanged(image: Path, mask: Path | None) -> Iterator[None]:
    """Replace an error of reading an image and its mask, if any, if the files are exchanged.

    Raises
    ------
    DataError
        The files are exchanged.
    """
    try:
        yield
    except (ScanError, DataError):
        if mask is not None:
            require_not_exchanged(image, mask)
        raise


def require_not_exchanged(image: Path, mask: Path) -> None:
    """Refuse an image that contains labels if its mask is a CT.

    Raises
    ------
    DataError
        The files are exchanged.
    """
    if _is_mask(image) and _is_ct(mask):
        raise DataError(
            "the image is a mask, and the mask is an image",
            where=f"{image} and {mask}",
            hint="pass the CT first, then its mask",
        )


def _is_mask(path: Path) -> bool:
    try:
        read_mask(path, unknown_as_lung=True)
    except (ScanError, DataError):
        return False
    return True


def _is_ct(path: Path) -> bool:
    try:
        read(path)
    except (ScanError, DataError):
        return False
    return True
