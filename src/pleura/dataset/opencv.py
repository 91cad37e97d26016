"""OpenCV, an optional dependency: without it, the first use of ``cv2`` raises an error.

Recipes and the types of results can thus be read without OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pleura.errors import PleuraError

if TYPE_CHECKING:
    import cv2
else:
    try:
        import cv2
    except ImportError:

        class _MissingOpenCV:
            def __getattr__(self, name: str) -> object:
                raise PleuraError(
                    "OpenCV is not installed, and training data cannot be processed without it",
                    where=None,
                    hint='pip install "pleura[check]"',
                )

        cv2 = _MissingOpenCV()

__all__ = ["cv2"]
