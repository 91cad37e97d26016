"""Base class of the formats of slices and stacks without geometry."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from pleura.errors import DataError, PleuraError, ScanError, first_line
from pleura.files.atomic import write_atomically
from pleura.files.listing import check_path
from pleura.formats.channels import equal_channels
from pleura.formats.format import VOXEL_TYPES, check_voxel_type
from pleura.formats.raw import check_shape
from pleura.scan.labels import LabelMap
from pleura.scan.orientation import assume_orientation
from pleura.scan.origin import FormatName, Origin
from pleura.scan.scan import Decision, Scan
from pleura.typing import AnyArray


class ImageFormat(ABC):
    """A format of files with one slice or a stack of slices, and without geometry.

    Attributes
    ----------
    name, suffixes, output_suffixes, stores_geometry:
        See `Format`.
    voxel_types:
        dtypes that are written.
    stores_stacks:
        Whether a file can contain several slices.
    is_lossy:
        Whether the compression changes values.
    """

    name: FormatName
    suffixes: tuple[str, ...]
    output_suffixes: tuple[str, ...] = ()
    voxel_types: tuple[str, ...] = VOXEL_TYPES
    stores_geometry = False
    stores_stacks = False
    is_lossy = False

    @abstractmethod
    def decode(self, path: Path, *, labels: bool = False) -> AnyArray:
        """Return the image in a file: (rows, columns) or (rows, columns, channels).

        Raises
        ------
        PleuraError
            The file does not contain one image, or exceeds the limits.
        Exception
            The file is damaged; the errors of decoders differ.
        """

    def decode_stack(self, path: Path) -> AnyArray | None:
        """Return the slices (slices, rows, columns[, channels]) in a file; None for a single slice.

        Raises
        ------
        Exception
            As `decode`.
        """
        return None

    def encode(self, file: IO[bytes], array: AnyArray) -> None:
        """Write a slice (rows, columns), or a stack (slices, rows, columns), to an open file."""
        raise NotImplementedError

    def read(self, path: Path, name: str, *, labels: bool = False) -> Scan:
        """Read one slice, or a stack as a volume.

        A palette is refused unless the file contains ``labels``.

        Raises
        ------
        ScanError, DataError
            The file is truncated or corrupt, in colour, or stored rotated or mirrored.
        """
        check_path(path)
        with _errors_of_decoding(path):
            volume = self.decode_stack(path)
        if volume is None:
            volume = to_grey(self.read_image_file(path, labels=labels), path, labels=labels)[None]
        elif volume.ndim == 4:
            grey = to_grey(volume.reshape(-1, *volume.shape[2:]), path, labels=labels)
            volume = grey.reshape(volume.shape[:3])
        _check_numbers(volume, path)
        check_shape(volume.shape, path, volume.dtype)
        return scan_of_images(name, volume, path, (path,), self)

    def read_image_file(self, path: Path, *, labels: bool = False) -> AnyArray:
        """Read one image: see `pleura.formats.image_files.read_image_file`."""
        with _errors_of_decoding(path):
            check_path(path)
            image = self.decode(path, labels=labels)
        _check_numbers(image, path)
        if image.size == 0 or image.ndim not in (2, 3):
            raise DataError(
                f"the file contains an array of shape {image.shape}, not a single image",
                where=path,
                hint="save one 2-D slice per file",
            )
        return image

    def can_write(self, path: Path, scan: Scan, dtype: DTypeLike | None) -> tuple[Decision, ...]:
        """Check that a file can store the number of slices and the dtype."""
        slices = scan.geometry.shape[0]
        if slices > 1 and not self.stores_stacks:
            raise DataError(
                f"a {self.name} file stores one slice, but the scan has {slices}",
                where=path,
                hint="write .nii.gz, or .tif for a stack of slices",
            )
        check_voxel_type(path, self.name, dtype, self.voxel_types)
        return ()

    def write(self, path: Path, image: Scan | LabelMap) -> None:
        """Write the voxels without geometry, in the order of axes of the scan."""
        array = image.values()
        pixels = array[0] if len(array) == 1 else array
        write_atomically(path, lambda file: self.encode(file, pixels))


def scan_of_images(
    name: str, volume: AnyArray, path: Path, files: tuple[Path, ...], image_format: ImageFormat
) -> Scan:
    """Return slices (slices, rows, columns) of one format as a scan of assumed orientation."""
    origin = Origin(
        format=image_format.name, path=path, files=files, is_lossy=image_format.is_lossy
    )
    scan = assume_orientation(name, volume, origin)
    if not origin.is_lossy:
        return scan
    reason = f"{origin.format}; borders may be inaccurate"
    compression = Decision("pixels", "lossy compression", reason, warning=True)
    return replace(scan, decisions=(*scan.decisions, compression))


def to_grey(image: AnyArray, path: Path, *, labels: bool = False) -> AnyArray:
    """Return an image whose colour channels are equal as (rows, columns); bool becomes uint8.

    Raises
    ------
    ScanError
        The channels differ.
    """
    if image.dtype.kind == "b":
        image = image.astype(np.uint8)
    grey = equal_channels(image)
    if grey is not None:
        return grey
    content, hint = "CT values", "export the CT values themselves (16-bit TIFF or DICOM)"
    if labels:
        content = "labels"
        hint = "save the mask in greyscale: 1 right and 2 left lung, or 255 for both"
    raise ScanError(
        f"the image has {image.shape[2]} colour channels, not {content}", where=path, hint=hint
    )


def _check_numbers(array: AnyArray, path: Path) -> None:
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"values of type {array.dtype} are not intensities",
            where=path,
            hint="save integers or floating-point numbers",
        )


@contextmanager
def _errors_of_decoding(path: Path) -> Iterator[None]:
    """Raise the errors of decoders as DataError; they raise anything for a damaged file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except PleuraError as error:
        raise DataError(error.message, where=path, hint=error.hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            "the header claims an image far larger than a CT slice",
            where=path,
            hint="copy or export the file again",
        ) from error
    except PermissionError as error:
        raise DataError(
            "no permission to read the file", where=path, hint="change its permissions"
        ) from error
    except Exception as error:
        raise DataError(
            f"the image cannot be read: it is truncated or corrupt ({first_line(error)})",
            where=path,
            hint="copy or export the file again, or remove it",
        ) from error
