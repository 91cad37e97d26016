"""Temporary levels of the loggers of other packages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """Set the level of a logger, and restore it at the end.

    Parameters
    ----------
    name:
        Name of the logger; ``root`` for the root logger.
    level:
        Level below which its messages are suppressed.
    """
    logger = logging.getLogger(name) if name != "root" else logging.root
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
