"""JPEG files (ITU-T T.81), which are read but not written: the compression changes values."""

from __future__ import annotations

from pathlib import Path

from pleura.formats.image_format import ImageFormat
from pleura.formats.pillow import decode_with_pillow
from pleura.scan.origin import FormatName
from pleura.typing import AnyArray


class JpegFormat(ImageFormat):
    """JPEG files: one slice of 8 bits."""

    name: FormatName = "JPEG"
    suffixes: tuple[str, ...] = (".jpg", ".jpeg")
    is_lossy = True

    def decode(self, path: Path, *, labels: bool = False) -> AnyArray:
        """Return the image."""
        return decode_with_pillow(path, "JPEG", labels=labels)


JPEG = JpegFormat()
