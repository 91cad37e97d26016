"""Postprocessing and flags of models with several classes.

What is known of lungs only does not apply: gas, sides, usual volumes, landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ModelError
from pleura.masks.mask import Flag
from pleura.scan.bit_field import has_label
from pleura.scan.labels import Label, class_labels
from pleura.scan.scan import Scan
from pleura.segmentation.flags import DECISION_TOPICS
from pleura.segmentation.postprocessing import clean_mask


def require_lung_model(classes: Sequence[Label], dense: bool) -> None:
    """Refuse options for lungs with a model of several classes.

    Raises
    ------
    ModelError
        Dense lung is requested.
    """
    if classes and dense:
        raise ModelError(
            "dense lung can be included in masks of lungs only; the model has other classes",
            where=None,
            hint="omit --dense include",
        )


def clean_classes(
    labels: NDArray[np.uint8], hu: NDArray[np.int16], classes: Sequence[Label]
) -> NDArray[np.uint8]:
    """Remove small components and fill holes of each class that requests it.

    Holes of a class are filled where they are background, so that no other class is replaced;
    classes that may overlap are cleaned by themselves.

    Parameters
    ----------
    labels:
        uint8 (slices, rows, columns), canonical axial: values of the classes; or uint16: a bit
        field of classes that may overlap.
    hu:
        int16: HU at every ``HU_STEP``-th row and column.
    classes:
        The classes.
    """
    for label in classes:
        if label.clean:
            value = class_labels(classes)[label.name] if label.overlap else label.value
            before = has_label(labels, value)
            after = clean_mask(before.copy(), hu, calibrated=False)
            if label.overlap:
                bit = labels.dtype.type(value)
                labels[...] = np.where(after, labels | bit, labels & ~bit)
            else:
                labels[before & ~after] = 0
                labels[after & (labels == 0)] = value
    return labels


def find_class_flags(labels: NDArray[np.uint8], scan: Scan) -> tuple[Flag, ...]:
    """Return the flags of a mask with several classes, one per name."""
    messages: dict[str, list[str]] = {}
    for flag in _flags(labels, scan):
        messages.setdefault(flag.name, []).append(flag.message)
    return tuple(Flag(name, "; ".join(texts)) for name, texts in messages.items())


def _flags(labels: NDArray[np.uint8], scan: Scan) -> Iterator[Flag]:
    found = bool(labels.any())
    for decision in scan.warnings:
        if decision.topic in DECISION_TOPICS and (found or decision.topic != "orientation"):
            yield Flag(decision.topic, f"{decision.choice}: {decision.reason}")
    if not found:
        yield Flag("nothing_found", "no voxel has a label")
