"""The neighbouring slices that a model takes, gathered from the slices of a scan."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pleura.scan.context import SliceContext
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Decision, Scan

Batches = Iterator[tuple[int, list[NDArray[np.int16]]]]
"""First slice and arrays of batches in order: HU, and if it differs the input of the model."""


def neighbour_table(scan: Scan, geometry: Geometry, context: SliceContext) -> NDArray[np.intp]:
    """Return the index of each channel of each canonical axial slice, (slices, channels).

    Parameters
    ----------
    scan:
        The scan, whose missing slices are no neighbours.
    geometry:
        Its canonical axial grid.
    context:
        The neighbouring slices of the model.
    """
    spacing = geometry.orthogonal_spacing[0] if geometry.spacing_known else None
    return context.neighbours(geometry.shape[0], spacing, scan.missing_axial_slices)


def add_neighbours(batches: Batches, table: NDArray[np.intp]) -> Batches:
    """Yield batches whose last array is the input with neighbours (n, channels, rows, columns).

    A batch is yielded when the neighbours of all its slices have been read. Slices are kept only
    until the last batch that needs them.

    Parameters
    ----------
    batches:
        Consecutive batches of all slices.
    table:
        Index of each channel of each slice.
    """
    waiting: deque[tuple[int, list[NDArray[np.int16]]]] = deque()
    first, kept = 0, np.empty(0, np.int16)  # the index of the first slice that is kept
    for batch in batches:
        read = batch[1][-1]
        kept = np.concatenate([kept, read]) if len(kept) else read
        waiting.append(batch)
        while waiting:
            start, arrays = waiting[0]
            indices = table[start : start + len(arrays[0])]
            if indices.max() >= first + len(kept):
                break
            waiting.popleft()
            stacks = kept[indices - first]
            rest = table[start + len(arrays[0]) :]
            if len(rest):
                first, kept = int(rest.min()), kept[int(rest.min()) - first :]
            yield start, [arrays[0], stacks]


def with_context_decision(scan: Scan, context: SliceContext) -> Scan:
    """Return a scan with the decision on neighbouring slices, if the model takes them."""
    if not context.slices:
        return scan
    geometry = scan.geometry.to_canonical().apply_to(scan.geometry)
    decision = _decision(context, geometry)
    return replace(scan, decisions=(*scan.decisions, decision))


def _decision(context: SliceContext, geometry: Geometry) -> Decision:
    topic = "neighbouring slices"
    if geometry.shape[0] == 1:
        reason = f"the scan has one slice, and the model takes {context.channels}"
        return Decision(topic, "the slice itself", reason, warning=True)
    if context.distance is None:
        return Decision(topic, "adjacent slices", "as in the training of the model")
    trained = f"the model was trained with {context.distance:g} mm between channels"
    if not geometry.spacing_known:
        reason = f"the distance of the slices is unknown; {trained}"
        return Decision(topic, "adjacent slices", reason, warning=True)
    spacing = geometry.orthogonal_spacing[0]
    offsets = context.offsets(spacing)[context.slices + 1 :]
    distances = ", ".join(f"{offset * spacing:.3g}" for offset in offsets)
    differs = abs(offsets[0] * spacing - context.distance) > context.distance / 2
    return Decision(topic, f"those at {distances} mm", trained, warning=differs)
