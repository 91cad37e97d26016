"""Inference on the slices of a scan, in batches that are read while the network runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pleura.engine.classes import choose_labels
from pleura.engine.cpu import MAX_STREAMS
from pleura.engine.engine import Engine
from pleura.engine.model_file import ModelMetadata
from pleura.scan.geometry import Geometry, Reorientation
from pleura.scan.labels import Label, label_dtype
from pleura.scan.scan import Scan
from pleura.segmentation.context import Batches, add_neighbours, neighbour_table
from pleura.segmentation.landmarks import sampling_step
from pleura.segmentation.model_input import ReadSlices, input_reader
from pleura.segmentation.postprocessing import HU_STEP
from pleura.typing import AnyArray, BoolArray, Progress

BATCH_SIZE = 16
"""Slices per batch."""

BATCHES_IN_MEMORY = 3
"""Batches that are read, predicted and postprocessed at the same time."""

BYTES_PER_VOXEL, BYTES_PER_BATCHED_VOXEL, BYTES_PER_PIXEL, BYTES = 2.3, 3.5, 20, 96 << 20
"""Memory of a segmentation without the voxels of the scan: per voxel (a mask, sampled HU and
postprocessing), per voxel of three batches (one is read, one predicted, one stored), per pixel of
the slice of each stream (intermediate results), and of each model."""

LOW_CONFIDENCE = 51, 205
"""Probabilities (times 255) between 0.2 and 0.8."""

MAX_STEP = 8
"""Maximum distance of the slices that are predicted first, in slices; it divides the batch size."""

PROBE_DISTANCE = 12.5
"""Maximum distance in mm of the slices that are predicted first; lungs are higher."""


@dataclass
class SlicePredictions:
    """Predictions of the canonical axial slices of a scan, before postprocessing.

    Attributes
    ----------
    lung:
        bool (slices, rows, columns); with several classes the labels, as in `LabelMap`.
    hu:
        int16: HU at every ``HU_STEP``-th row and column.
    landmark_hu:
        int16: HU at every row and column that `find_landmarks` needs.
    probability:
        uint8 (slices, rows, columns): probability of lung times 255, or None; of a model with
        several classes (slices, classes, rows, columns).
    low_confidence_voxels:
        Number of voxels with a probability in ``LOW_CONFIDENCE``; 0 with several classes.
    dense:
        bool (slices, rows, columns): lung with dense disease; None unless it was requested.
    lungs:
        bool (slices, rows, columns): the lungs that a cascade found; None for other models.
    waiting_seconds:
        Time in which the caller waited for the network.
    """

    lung: AnyArray
    hu: NDArray[np.int16]
    landmark_hu: NDArray[np.int16]
    probability: NDArray[np.uint8] | None
    low_confidence_voxels: int = 0
    dense: BoolArray | None = None
    waiting_seconds: float = 0.0
    lungs: BoolArray | None = None

    def take_lung(self) -> AnyArray:
        """Return ``lung`` and keep no reference to it, so that its memory can be released."""
        lung, self.lung = self.lung, np.empty((0, 0, 0), np.bool_)
        return lung

    def undo_probability(self, order: Reorientation) -> NDArray[np.uint8] | None:
        """Return ``probability`` in the order of the scan; None if it was not requested."""
        if self.probability is None:
            return None
        if self.probability.ndim == 3:
            return np.ascontiguousarray(order.undo(self.probability))
        return np.stack([order.undo(one) for one in self.probability.swapaxes(0, 1)], 1)

    @classmethod
    def empty(cls, geometry: Geometry, keep: bool, classes: Sequence[Label]) -> SlicePredictions:
        slices, rows, columns = geometry.shape
        step = sampling_step(geometry.shape)
        maps = (slices, len(classes), rows, columns) if classes else geometry.shape
        return cls(
            np.empty(geometry.shape, label_dtype(classes) if classes else np.bool_),
            np.empty((slices, -(-rows // HU_STEP), -(-columns // HU_STEP)), np.int16),
            np.empty((slices, -(-rows // step), -(-columns // step)), np.int16),
            np.empty(maps, np.uint8) if keep else None,
        )

    def store(
        self,
        start: int,
        hu: NDArray[np.int16],
        probability: NDArray[np.uint8],
        threshold: int | Sequence[Label],
    ) -> None:
        """Store a batch of slices, the first of which has the index ``start``."""
        batch = slice(start, start + len(hu))
        self.hu[batch] = hu[:, ::HU_STEP, ::HU_STEP]
        step = sampling_step(self.lung.shape)
        self.landmark_hu[batch] = hu[:, ::step, ::step]
        if isinstance(threshold, int):
            self.lung[batch] = probability >= threshold
            low, high = LOW_CONFIDENCE
            self.low_confidence_voxels += int(
                np.count_nonzero((probability > low) & (probability < high))
            )
        else:
            self.lung[batch] = choose_labels(np.moveaxis(probability, 1, 0), threshold)
        if self.probability is not None:
            self.probability[batch] = probability


def predict_slices(
    engine: Engine,
    scan: Scan,
    threshold: int | Sequence[Label],
    *,
    dense_engine: Engine | None = None,
    keep_probability: bool = False,
    release_voxels: bool = False,
    progress: Progress | None = None,
) -> SlicePredictions:
    """Run a model on all slices of a scan.

    Parameters
    ----------
    engine:
        The model.
    scan:
        The scan. Its slices are reordered to canonical axial slices.
    threshold:
        Smallest probability of lung, times 255; or the classes of the model with their thresholds.
    dense_engine:
        A model that also predicts lung with dense disease, to run as well.
    keep_probability:
        Also return the probability.
    release_voxels:
        Release the memory of the voxels of the scan as they are predicted.
    progress:
        Called with the number of slices that are done, and of all slices.

    Raises
    ------
    ScanError
        The voxels cannot be read, or cannot be converted to the units of the model.
    ModelError
        The model cannot run on slices of this size.
    """
    order = scan.geometry.to_canonical()
    geometry = order.apply_to(scan.geometry)
    classes = () if isinstance(threshold, int) else threshold
    predictions = SlicePredictions.empty(geometry, keep_probability, classes)
    engines = [engine]
    if dense_engine is not None:
        engines.append(dense_engine)
        predictions.dense = np.empty(geometry.shape, np.bool_)
    for start, hu, probabilities in _run_batches(engines, scan, order, release_voxels):
        before = time.perf_counter()
        results = probabilities()
        predictions.waiting_seconds += time.perf_counter() - before
        predictions.store(start, hu, results[0], threshold)
        if dense_engine is not None and predictions.dense is not None:
            is_lung = results[1] >= dense_engine.threshold_level
            predictions.dense[start : start + len(hu)] = is_lung
        if progress is not None:
            progress(start + len(hu), geometry.shape[0])
    return predictions


def needed_memory(
    scan: Scan, engine: Engine, threads: int, maps: int, *, dense: bool, release: bool
) -> int:
    """Return an upper bound of the bytes that a segmentation needs, without the voxels of the scan.

    Parameters
    ----------
    scan, engine, threads:
        The scan, the model, and its CPU threads.
    maps:
        Number of maps of probability that are kept.
    dense:
        Whether the model of dense lung runs as well.
    release:
        Whether the memory of voxels is released as they are predicted, if the scan allows that.
    """
    order = scan.geometry.to_canonical()
    grid = order.apply_to(scan.geometry)
    slices, rows, columns = grid.shape
    per_voxel = BYTES_PER_VOXEL + maps + 2 * dense
    if order.axes[0] != 0:
        per_voxel += 2  # all HU, int16
    elif release and scan.release is not None:
        per_voxel -= 1  # voxels have at least one byte
    batched = BATCHES_IN_MEMORY * BATCH_SIZE
    planes = per_voxel * slices + min(slices, batched) * BYTES_PER_BATCHED_VOXEL
    planes += (1 + dense) * min(slices, threads, MAX_STREAMS) * BYTES_PER_PIXEL
    context = engine.metadata.context
    if context.slices:
        reach = 2 * max(context.offsets(grid.orthogonal_spacing[0]))
        planes += 2 * (min(reach, slices) + batched * context.channels)  # int16
    return int(planes * rows * columns) + (1 + dense) * BYTES


def _run_batches(
    engines: Sequence[Engine], scan: Scan, order: Reorientation, release_voxels: bool
) -> Iterator[tuple[int, NDArray[np.int16], Callable[[], list[NDArray[np.uint8]]]]]:
    """Yield first slice, HU and a function that waits for the probabilities, for each batch.

    The networks run on the next batch while the caller processes the current one.
    """
    geometry = order.apply_to(scan.geometry)
    _, rows, columns = geometry.shape
    read = releasing_reader(scan, engines[0].metadata, release_voxels)
    shape = 1, rows, columns

    def compile_models() -> None:
        for engine in engines:
            engine.prepare(shape)

    # What is known of lungs does not hold for other classes, which may be in single slices.
    step = 1 if engines[0].metadata.classes else _probe_step(geometry)
    is_empty = False

    def run(arrays: list[NDArray[np.int16]]) -> list[NDArray[np.uint8]]:
        """Return the probabilities of the first model, and of those whose input are HU."""
        nonlocal is_empty
        inputs = [arrays[-1], *[arrays[0]] * (len(engines) - 1)]
        results, is_empty = _predict_batch(engines, inputs, step, is_empty)
        return results

    batches = read_batches(read, order, geometry, compile_models)
    if (context := engines[0].metadata.context).slices:
        batches = add_neighbours(batches, neighbour_table(scan, geometry, context))
    with ThreadPoolExecutor(1) as network:
        submitted = None
        for start, arrays in batches:
            result = network.submit(run, arrays).result
            if submitted is not None:
                yield submitted
            submitted = start, arrays[0], result
        if submitted is not None:
            yield submitted


def releasing_reader(scan: Scan, model: ModelMetadata, release_voxels: bool) -> ReadSlices:
    """Return an `input_reader` that releases the voxels of slices that it has read."""
    read, release = input_reader(scan, model), scan.release
    if release is None or not release_voxels:
        return read

    def read_and_release(start: int, stop: int | None) -> list[NDArray[np.int16]]:
        arrays = read(start, stop)
        release(start, scan.geometry.shape[0] if stop is None else stop)
        return arrays

    return read_and_release


def _probe_step(geometry: Geometry) -> int:
    """Return the distance in slices of the slices that are predicted first, a power of two."""
    if not geometry.spacing_known:
        return 1
    step = MAX_STEP
    while step > 1 and step * geometry.orthogonal_spacing[0] > PROBE_DISTANCE:
        step //= 2
    return step


def _predict_batch(
    engines: Sequence[Engine], inputs: Sequence[NDArray[np.int16]], step: int, is_empty: bool
) -> tuple[list[NDArray[np.uint8]], bool]:
    """Return the probabilities of each model for a batch, and whether its last slice is empty.

    Every ``step``-th slice is predicted first. If it and the previous one contain no lung, the
    slices between them are skipped; their probability is 0.

    Parameters
    ----------
    engines, inputs:
        Models, and the int16 (slices, rows, columns) or (slices, channels, rows, columns) of each.
    step:
        A divisor of the batch size.
    is_empty:
        Whether the slice before the batch is empty.
    """
    results = [
        np.zeros(engine.output_shape(values.shape), np.uint8)
        for engine, values in zip(engines, inputs, strict=True)
    ]

    def predict(indices: list[int]) -> None:
        """Predict slices, of which the engine runs several at a time."""
        for engine, values, result in zip(engines, inputs, results, strict=True):
            if indices:
                result[indices] = engine.probability(values[indices])

    count = len(inputs[0])
    starts = range(0, count, step)
    last = [min(start + step, count) - 1 for start in starts]
    predict(last)
    empty = [all(result[i].max() <= LOW_CONFIDENCE[0] for result in results) for i in last]
    skipped = [below and above for below, above in pairwise([is_empty, *empty])]
    groups = zip(starts, last, skipped, strict=True)
    predict([i for start, end, skip in groups if not skip for i in range(start, end)])
    return results, empty[-1]


def read_batches(
    read: ReadSlices, order: Reorientation, geometry: Geometry, while_reading: Callable[[], None]
) -> Batches:
    """Yield first slice and arrays of each batch; the next one is read while one is used.

    ``while_reading`` is called while the first batch is read.
    """
    total = geometry.shape[0]
    reoriented = None if order.axes[0] == 0 else [order.apply(array) for array in read(0, None)]

    def load(start: int) -> list[NDArray[np.int16]]:
        stop = min(start + BATCH_SIZE, total)
        if reoriented is not None:
            return [np.ascontiguousarray(array[start:stop]) for array in reoriented]
        first, last = (total - stop, total - start) if order.flipped[0] else (start, stop)
        return [np.ascontiguousarray(order.apply(array)) for array in read(first, last)]

    with ThreadPoolExecutor(1) as reader:
        loading = reader.submit(load, 0)
        while_reading()
        for start in range(0, total, BATCH_SIZE):
            arrays = loading.result()
            if start + BATCH_SIZE < total:
                loading = reader.submit(load, start + BATCH_SIZE)
            yield start, arrays
