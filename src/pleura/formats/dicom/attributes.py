"""Values of DICOM attributes, of single-frame and multi-frame files, valid or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

_PER_FRAME, _SHARED = Tag(0x5200, 0x9230), Tag(0x5200, 0x9229)


def find_attribute(dataset: Dataset, index: int, sequence: str, keyword: str) -> Any:
    """Return an attribute of a frame, or None.

    Parameters
    ----------
    dataset:
        The data set of a single-frame or multi-frame file.
    index:
        Index of the frame, from 0.
    sequence, keyword:
        Keywords of the functional group (PS3.3 C.7.6.16) and the attribute. The frame's own
        functional groups have priority over the shared ones, and these over the data set.
    """
    if _PER_FRAME not in dataset and _SHARED not in dataset:  # most files: keywords are slow
        return dataset.get(keyword)
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*frames[index : index + 1], *shared[:1]):
        items = groups.get(sequence) or []
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return dataset.get(keyword)


def to_floats(value: Any, n: int) -> tuple[float, ...] | None:
    """Return a value as ``n`` finite numbers; None if it is anything else."""
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return None
    finite = all(abs(v) < 1e9 for v in numbers)  # False for NaN too
    return numbers if len(numbers) == n and finite else None


def to_strings(value: Any) -> tuple[str, ...]:
    """Return one or several values as strings without surrounding spaces; empty for None."""
    if value is None:
        return ()
    values: Sequence[Any] = value if isinstance(value, MultiValue | list | tuple) else [value]
    return tuple(str(v).strip() for v in values)


def to_int(value: Any) -> int:
    """Return a value as an integer; 0 if it is not a number."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
