"""Loaded models, reused from scan to scan."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pleura.cohort.options import SegmentationOptions
from pleura.engine.engine import model_path
from pleura.segmentation.segmenter import Segmenter


class SegmenterPool:
    """Loaded segmenters that threads of one process reuse.

    A segmenter is used by one thread at a time. The pool loads another one when all segmenters
    with the same options are in use, or when the model file has changed. `ThreadWorkers` owns one
    pool; with Dask, each `distributed.Worker` owns one.
    """

    def __init__(self) -> None:
        self._idle: dict[tuple[SegmentationOptions, int], queue.SimpleQueue[Segmenter]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def segmenter(self, options: SegmentationOptions) -> Iterator[Segmenter]:
        """Yield a segmenter, which returns to the pool afterwards.

        Raises
        ------
        ModelError
            The model cannot be loaded.
        """
        file = model_path(options.model)
        modified = file.stat().st_mtime_ns if file.is_file() else 0
        key = replace(options, units="auto", window=None, flip=False), modified
        with self._lock:
            idle = self._idle.setdefault(key, queue.SimpleQueue())
        try:
            segmenter = idle.get_nowait()
        except queue.Empty:
            segmenter = options.load_segmenter()
        try:
            yield segmenter
        finally:
            idle.put(segmenter)

    def clear(self) -> None:
        """Release all segmenters that are not in use."""
        with self._lock:
            self._idle.clear()
