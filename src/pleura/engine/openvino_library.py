"""The package openvino, imported without its conversion of models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def _without_conversion() -> Iterator[None]:
    """Hide the conversion of models, which is slow to import and sends usage statistics."""
    name = "openvino.tools.ovc"
    imported = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if imported is not None:
            sys.modules[name] = imported


def _convert_model(*arguments: Any, **options: Any) -> ov.Model:
    """Import the conversion of models when another program uses it in this process."""
    from openvino.tools.ovc import convert_model

    return convert_model(*arguments, **options)


with _without_conversion():
    import openvino as ov
    from openvino import opset13, passes
if not hasattr(ov, "convert_model"):
    ov.convert_model = _convert_model

# The bindings import NumPy types when a type is first converted; two threads that do so at the same
# time deadlock.
ov.Tensor(np.zeros(1, np.uint8)).element_type.to_dtype()

__all__ = ["opset13", "ov", "passes"]
