"""One scan to one mask: slices streamed through the model, cleaned, right told from left."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.engine.engine import Engine, model_path
from pleura.engine.runtimes import Precision, Runtime, cores
from pleura.errors import MaskWarning, ScanError
from pleura.figures.preview import preview_picture
from pleura.formats.read import from_array, read
from pleura.masks.mask import Flag, Mask
from pleura.names import printable
from pleura.scan.geometry import Geometry, Reorientation
from pleura.scan.labels import BOTH, LEFT, RIGHT
from pleura.scan.orientation import shape_of
from pleura.scan.scan import AIR, Decision, Scan
from pleura.segmentation.clean import STEP, box_of, keep_lungs, tell_sides
from pleura.segmentation.continuity import find_jumps
from pleura.segmentation.flags import find_flags
from pleura.segmentation.landmarks import Landmarks, find_landmarks, sampling_step
from pleura.typing import Progress

BATCH = 8
"""Slices that are read, and then inferred, at a time."""

UNSURE = 51, 205
"""Of 255: between these the model is not sure; probabilities of 0.2 and 0.8."""

SMALLEST = 16
"""Rows and columns of an axial slice, at least."""

ScanLike = Any
"""A `Scan`, a path, an array, or an image of SimpleITK or nibabel."""


@dataclass(frozen=True)
class Segmentation:
    """A mask, what was decided on the way, why not to trust it, and the seconds of each stage."""

    mask: Mask
    decisions: tuple[Decision, ...]
    flags: tuple[Flag, ...]
    seconds: dict[str, float]
    model: str
    """What the model is called."""
    probability: NDArray[np.uint8] | None = None
    """Of lung, times 255, before cleaning, on the scan's grid; where it was asked for."""

    def preview(self) -> NDArray[np.uint8]:
        """Draw the scan with its mask, as one picture (rows, columns, RGB).

        Raises
        ------
        ScanError
            The scan's voxels cannot be read.
        """
        scan = self.mask.scan
        order = scan.geometry.to_canonical()
        told = self.to_dict()
        sizes = told["volume_ml"] or told["voxels"]
        unit = "ml" if told["volume_ml"] else "pixels"
        lines = [
            ", ".join(f"{side} {size:.0f} {unit}" for side, size in sizes.items()),
            told["grid"],
            told["units"],
            *(f"! {flag.name}: {flag.message}" for flag in self.flags),
        ]
        hu, labels = order.apply(scan.hu()), order.apply(self.mask.labels)
        return preview_picture(hu, labels, order.apply_to(scan.geometry).spacing, lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the voxels as what JSON can hold."""
        mask = self.mask
        labels = {"right": RIGHT, "left": LEFT} if mask.sides else {"lung": BOTH}
        known = mask.geometry.spacing_known
        return {
            "scan": printable(mask.scan.name),
            "grid": str(mask.geometry),
            "units": str(mask.scan.intensity),
            "volume_ml": {k: round(mask.volume_ml(v), 1) for k, v in labels.items()}
            if known
            else None,
            "voxels": {k: int(np.count_nonzero(mask.labels == v)) for k, v in labels.items()},
            "flags": {flag.name: flag.message for flag in self.flags},
            "decisions": [asdict(decision) for decision in self.decisions],
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "versions": {"pleura": pleura.__version__, "model": self.model},
        }


class Segmenter:
    """A model loaded once for many scans; a context manager, and callable.

    Threads may share a segmenter: they take turns in the network, and read and clean at the same
    time. It also works in processes that are forked later, by a helper process in each.

    Parameters
    ----------
    model:
        A file that `export` wrote, or the name of a model that comes with pleura: ``default``,
        which None means too, or ``accurate``, three networks that are slower and a little better.
    threads:
        Processor threads; all cores if None.
    threshold:
        Probability from which on a voxel is lung; the model's own if None.
    sides:
        Tell right from left; else both lungs are one label.
    runtime:
        ``onnxruntime`` (an extra) runs the model on a graphics card.

    Raises
    ------
    ModelError
        The file is no model of pleura, or the runtime is not installed.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        threads: int | None = None,
        precision: Precision = "auto",
        threshold: float | None = None,
        sides: bool = True,
        runtime: Runtime = "openvino",
    ) -> None:
        self.threads = threads or cores()
        self.engine = Engine(model_path(model), self.threads, precision, runtime)
        own = self.engine.threshold
        self.threshold = own if threshold is None else int(np.ceil(threshold * 255))
        self.sides = sides

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model's memory."""
        self.engine.release()

    def __call__(self, scan: ScanLike, progress: Progress | None = None) -> Mask:
        """Return the mask of a scan; see `segment`."""
        result = self.segment(scan, progress, warn=False)
        _warn_about(result.mask)
        return result.mask

    def segment(
        self,
        scan: ScanLike,
        progress: Progress | None = None,
        *,
        keep_probability: bool = False,
        warn: bool = True,
    ) -> Segmentation:
        """Segment the lungs of a scan.

        Parameters
        ----------
        scan:
            A `Scan`, a path, an array, or an image of SimpleITK or nibabel: see `read`.
        progress:
            Called with the number of slices that are done, and of all.
        keep_probability:
            Also return the probability of lung.
        warn:
            Emit a `MaskWarning` for each flag and each decision that may change the mask.

        Raises
        ------
        ScanError, DataError
            There is no scan, its voxels cannot be read, or its axial slices are too small.
        """
        begin = time.perf_counter()
        scan = _scan_of(scan)
        order = scan.geometry.to_canonical()
        geometry = order.apply_to(scan.geometry)
        rows, columns = geometry.shape[1:]
        if min(rows, columns) < SMALLEST:
            raise ScanError(
                f"an axial slice of this scan has {rows}x{columns} voxels",
                where=scan.source or scan.name,
                hint="give axial slices, or the whole volume: a coronal or sagittal slice alone, "
                "or a thumbnail, shows too little",
            )
        seen = _Seen.of(geometry, keep_probability)
        waiting = 0.0
        for start, stop, slices, result in self._inferred(scan, order, geometry):
            before = time.perf_counter()
            inferred = result()
            waiting += time.perf_counter() - before
            seen.take(start, stop, slices, inferred, self.threshold)
            if progress is not None:
                progress(stop, geometry.shape[0])
        read = time.perf_counter()
        calibrated = scan.intensity.calibrated
        lung = keep_lungs(seen.lung, seen.sampled, calibrated=calibrated)
        labels = (
            tell_sides(lung, seen.sampled, geometry, self.threads)
            if self.sides
            else lung.astype(np.uint8)
        )
        share = seen.unsure / max(int(np.count_nonzero(labels)), 1)
        step = sampling_step(geometry.shape)
        coarse = labels[:, ::step, ::step] > 0
        found = find_landmarks(seen.coarse, coarse) if calibrated else Landmarks()
        flags = find_flags(
            labels,
            scan,
            geometry,
            share,
            found.contradictions(),
            find_jumps(_present(seen.sampled, scan), geometry.steps[0]) if calibrated else "",
            sides=self.sides,
        )
        record = self.engine.record
        drawn_by = f"pleura, model {record.name}", record.version
        back = np.ascontiguousarray(order.undo(labels))
        mask = Mask(back, scan, self.sides, drawn_by, scan.decisions, flags)
        if warn:
            _warn_about(mask)
        done = time.perf_counter()
        seconds = {"read": read - begin - waiting, "network": waiting, "clean": done - read}
        kept = seen.probability
        probability = None if kept is None else np.ascontiguousarray(order.undo(kept))
        return Segmentation(mask, scan.decisions, flags, seconds, record.name, probability)

    def _inferred(
        self, scan: Scan, order: Reorientation, geometry: Geometry
    ) -> Iterator[tuple[int, int, NDArray[np.int16], Callable[[], NDArray[np.uint8]]]]:
        """Yield batches with a function that waits for their probability.

        The network works on the next batch while the caller deals with one.
        """
        slices, rows, columns = geometry.shape
        get_ready = partial(self.engine.prepare, (min(BATCH, slices), rows, columns))
        with ThreadPoolExecutor(1) as network:
            ahead = None
            for start, stop, batch in _batches(scan, order, geometry, get_ready):
                result = network.submit(self.engine.probability, batch).result
                if ahead is not None:
                    yield ahead
                ahead = start, stop, batch, result
            if ahead is not None:
                yield ahead


@dataclass
class _Seen:
    """What is kept of a scan's slices as they pass."""

    lung: NDArray[np.bool_]
    sampled: NDArray[np.int16]
    coarse: NDArray[np.int16]
    probability: NDArray[np.uint8] | None
    unsure: int = 0

    @classmethod
    def of(cls, geometry: Geometry, keep_probability: bool) -> _Seen:
        slices, rows, columns = geometry.shape
        step = sampling_step(geometry.shape)
        return cls(
            np.empty(geometry.shape, np.bool_),
            np.empty((slices, -(-rows // STEP), -(-columns // STEP)), np.int16),
            np.empty((slices, -(-rows // step), -(-columns // step)), np.int16),
            np.empty(geometry.shape, np.uint8) if keep_probability else None,
        )

    def take(
        self,
        start: int,
        stop: int,
        hu: NDArray[np.int16],
        probability: NDArray[np.uint8],
        threshold: int,
    ) -> None:
        self.lung[start:stop] = probability >= threshold
        self.sampled[start:stop] = hu[:, ::STEP, ::STEP]
        step = sampling_step(self.lung.shape)
        self.coarse[start:stop] = hu[:, ::step, ::step]
        self.unsure += int(np.count_nonzero((probability > UNSURE[0]) & (probability < UNSURE[1])))
        if self.probability is not None:
            self.probability[start:stop] = probability


def segment(scan: ScanLike, model: str | Path | None = None) -> Mask:
    """Segment the lungs of one scan: 1 right, 2 left, on the scan's own grid.

    For many scans, a `Segmenter` loads the model once.

    Parameters
    ----------
    scan:
        A `Scan`; a path, as `read` takes it; an image of SimpleITK or nibabel, with its geometry;
        or an array (rows, columns) or (slices, rows, columns), which `from_array` can be given a
        spacing and an orientation for.
    model:
        As for `Segmenter`.

    Returns
    -------
    Mask
        Its ``flags`` and ``decisions`` tell whether to check it.

    Warns
    -----
    MaskWarning
        For each flag, and each decision that may change the mask.

    Raises
    ------
    ScanError, DataError
        There is no scan, or its voxels cannot be read.
    ModelError
        The file is no model of pleura.
    """
    with Segmenter(model) as segmenter:
        mask = segmenter.segment(scan, warn=False).mask
    _warn_about(mask)
    return mask


def _warn_about(mask: Mask) -> None:
    for text in mask.warnings:
        warnings.warn(text, MaskWarning, stacklevel=3)


def _scan_of(what: Any) -> Scan:
    if isinstance(what, Scan):
        return what
    return from_array(what) if isinstance(what, np.ndarray) else read(what)


def _present(sampled: NDArray[np.int16], scan: Scan) -> NDArray[np.int16]:
    """Leave out slices that are missing in the scan, which are constant."""
    return sampled[[np.ptp(one) > 0 for one in sampled]] if scan.absent else sampled


def lung_alone(mask: Mask, *, crop: bool = False) -> tuple[NDArray[np.int16], Geometry]:
    """Return the scan in HU with all but lung set to -1024, and its grid; ``crop`` cuts the box.

    Raises
    ------
    ScanError
        The scan's voxels cannot be read.
    """
    inside = mask.labels > 0
    hu = np.where(inside, mask.scan.hu(), np.int16(AIR))
    box = box_of(inside) if crop else None
    if box is None:
        return hu, mask.geometry
    cut = np.ascontiguousarray(hu[box])
    affine = mask.geometry.affine.copy()
    affine[:3, 3] = mask.geometry.world([side.start for side in box])
    return cut, replace(mask.geometry, shape=shape_of(cut), affine=affine)


def _batches(
    scan: Scan, order: Reorientation, geometry: Geometry, meanwhile: Callable[[], None]
) -> Iterator[tuple[int, int, NDArray[np.int16]]]:
    """Yield canonical axial slices in HU, the next ones read while these are used.

    While the first ones are read, ``meanwhile`` is called.
    """
    total = geometry.shape[0]
    streams = order.axes[0] == 0
    whole = None if streams else order.apply(scan.hu())

    def load(start: int) -> tuple[int, int, NDArray[np.int16]]:
        stop = min(start + BATCH, total)
        if whole is not None:
            return start, stop, np.ascontiguousarray(whole[start:stop])
        first, last = (total - stop, total - start) if order.flipped[0] else (start, stop)
        return start, stop, np.ascontiguousarray(order.apply(scan.hu(first, last)))

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(load, 0)
        meanwhile()
        for start in range(0, total, BATCH):
            batch = ahead.result()
            if start + BATCH < total:
                ahead = reader.submit(load, start + BATCH)
            yield batch
