"""Types of images of other libraries, which are not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from pleura.typing import AnyArray, StrPath


class SimpleITKImage(Protocol):
    """The part of ``SimpleITK.Image`` that is read."""

    def GetSize(self) -> Sequence[int]: ...  # noqa: N802

    def GetSpacing(self) -> Sequence[float]: ...  # noqa: N802

    def GetOrigin(self) -> Sequence[float]: ...  # noqa: N802

    def GetDirection(self) -> Sequence[float]: ...  # noqa: N802


class NibabelImage(Protocol):
    """The part of ``nibabel.spatialimages.SpatialImage`` that is read."""

    @property
    def affine(self) -> AnyArray | None: ...

    @property
    def dataobj(self) -> Any: ...


class HighdicomVolume(Protocol):
    """The part of ``highdicom.Volume`` that is read."""

    @property
    def affine(self) -> AnyArray: ...

    @property
    def array(self) -> AnyArray: ...


ImageSource: TypeAlias = StrPath | AnyArray | SimpleITKImage | NibabelImage | HighdicomVolume
"""A path that `read` accepts, an array, or an image of another library."""
