"""Values that functions accept as a scan: paths, arrays and images of other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.scan import Scan
from pleura.typing import AnyArray


class SimpleITKImage(Protocol):
    """The part of ``SimpleITK.Image`` that is read."""

    def GetSize(self) -> Sequence[int]: ...  # noqa: N802

    def GetSpacing(self) -> Sequence[float]: ...  # noqa: N802

    def GetOrigin(self) -> Sequence[float]: ...  # noqa: N802

    def GetDirection(self) -> Sequence[float]: ...  # noqa: N802


class NibabelImage(Protocol):
    """The part of ``nibabel.spatialimages.SpatialImage`` that is read."""

    @property
    def affine(self) -> NDArray[Any] | None: ...

    @property
    def dataobj(self) -> Any: ...


class HighdicomVolume(Protocol):
    """The part of ``highdicom.Volume`` that is read."""

    @property
    def affine(self) -> NDArray[Any]: ...

    @property
    def array(self) -> NDArray[Any]: ...


ScanLike: TypeAlias = Scan | str | Path | AnyArray | SimpleITKImage | NibabelImage | HighdicomVolume
"""A `Scan`, a path that `read` accepts, an array, or an image of another library."""


def as_scan(value: ScanLike) -> Scan:
    """Return a scan of any value that `ScanLike` lists.

    Raises
    ------
    ScanError, DataError
        The value is not a scan, or its file cannot be read.
    """
    if isinstance(value, Scan):
        return value
    return from_array(value) if isinstance(value, np.ndarray) else read(value)
