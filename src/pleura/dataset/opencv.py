"""OpenCV, an optional dependency: without it, the first use of ``cv2`` raises an error.

Recipes and the types of results can be imported without OpenCV.
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
                    "OpenCV is not installed; it is required to process training data",
                    where=None,
                    hint='run pip install "pleura[check]"',
                )

        cv2 = _MissingOpenCV()

__all__ = ["cv2"]
