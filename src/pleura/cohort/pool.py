"""Loaded models, reused from scan to scan."""

from __future__ import annotations

import threading
from dataclasses import replace

from pleura.cohort.options import SegmentationOptions
from pleura.engine.engine import model_path
from pleura.segmentation.segmenter import Segmenter


class SegmenterPool:
    """Loaded segmenters that the threads of one process share.

    The pool loads another segmenter for other options, and when the model file has changed.
    `ThreadWorkers` owns one pool; with Dask, each `distributed.Worker` owns one.
    """

    def __init__(self) -> None:
        self._loaded: dict[tuple[SegmentationOptions, int], Segmenter] = {}
        self._lock = threading.Lock()

    def segmenter(self, options: SegmentationOptions) -> Segmenter:
        """Return the segmenter for these options.

        Raises
        ------
        ModelError
            The model cannot be loaded.
        """
        file = model_path(options.model)
        modified = file.stat().st_mtime_ns if file.is_file() else 0
        key = replace(options, units="auto", window=None, flip=False), modified
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = options.load_segmenter()
            return self._loaded[key]

    def clear(self) -> None:
        """Forget all segmenters."""
        with self._lock:
            self._loaded.clear()
