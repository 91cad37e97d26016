"""Suppression of pydicom's log messages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_suppressed: ContextVar[bool] = ContextVar("_suppressed", default=False)


class _PydicomLogFilter(logging.Filter):
    """Drops messages that are logged inside `suppress_pydicom_log`.

    `suppress_pydicom_log` adds the only instance to the logger ``pydicom``. It has no effect on
    messages of other threads and of other users of pydicom.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not _suppressed.get()


_FILTER = _PydicomLogFilter()


@contextmanager
def suppress_pydicom_log() -> Iterator[None]:
    """Suppress pydicom's messages about invalid values, most of which are in private elements."""
    logging.getLogger("pydicom").addFilter(_FILTER)  # no effect if it is there already
    token = _suppressed.set(True)
    try:
        yield
    finally:
        _suppressed.reset(token)
