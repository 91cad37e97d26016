"""Objects that must outlive the interpreter."""

from __future__ import annotations

import ctypes


def never_destroy(what: object) -> None:
    """Keep an object to the end of the process, and beyond the interpreter's own end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))
