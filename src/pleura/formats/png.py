"""PNG files (https://www.w3.org/TR/png)."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

from pleura.formats.image_format import ImageFormat
from pleura.formats.pillow import decode_with_pillow
from pleura.scan.origin import FormatName
from pleura.typing import AnyArray


class PngFormat(ImageFormat):
    """PNG files: one slice of 8 or 16 bits."""

    name: FormatName = "PNG"
    suffixes: tuple[str, ...] = (".png",)
    output_suffixes: tuple[str, ...] = (".png",)
    voxel_types: tuple[str, ...] = ("u1", "u2")

    def decode(self, path: Path, *, labels: bool = False) -> AnyArray:
        """Return the image; a palette is replaced by its colours, or by ``labels``."""
        return decode_with_pillow(path, "PNG", labels=labels)

    def encode(self, file: IO[bytes], array: AnyArray) -> None:
        """Write a slice (rows, columns) to an open file."""
        Image.fromarray(array).save(file, format="png")


PNG = PngFormat()
