"""Segmentation of the lungs of one scan."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import replace
from functools import cached_property
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pleura.engine.engine import DENSE_MODEL, Engine, model_path
from pleura.engine.model_file import (
    SHIPPED_MODELS,
    ModelMetadata,
    read_lung_model,
    read_metadata,
)
from pleura.engine.process_state import PROCESS
from pleura.engine.runtimes import Precision, Runtime, available_cpus
from pleura.errors import MaskWarning
from pleura.files.limits import require_memory
from pleura.formats.scan_like import ScanLike, as_scan
from pleura.masks.mask import Mask
from pleura.names import printable
from pleura.scan.geometry import Geometry
from pleura.scan.labels import Label, may_overlap
from pleura.scan.scan import Decision, Scan
from pleura.segmentation.cascade import Cascade
from pleura.segmentation.classes import clean_classes, find_class_flags, require_lung_model
from pleura.segmentation.dense import (
    DenseOption,
    count_added,
    dense_decision,
    include_dense,
    require_hu,
)
from pleura.segmentation.inference import SlicePredictions, needed_memory, predict_slices
from pleura.segmentation.lung_flags import find_lung_flags
from pleura.segmentation.model_input import check_slice_size, with_input_decision
from pleura.segmentation.postprocessing import clean_mask, label_sides
from pleura.segmentation.result import Segmentation
from pleura.typing import AnyArray, BoolArray, Progress, StrPath

_logger = logging.getLogger(__name__)


class Segmenter:
    """A model that is loaded once and segments many scans.

    A segmenter is a context manager, and calling it is the same as calling `segment`. Threads may
    share a segmenter: scans are read, predicted and postprocessed at the same time. A
    segmenter also works in processes that are forked later; each of them starts a subprocess.

    Parameters
    ----------
    model:
        A file that `export` wrote, or the name of a shipped model: ``default`` (the default) or
        ``accurate``, an ensemble of three networks that is slower and slightly more accurate. Both
        leave images in grey values to the shipped model ``greyscale``.
    threads:
        CPU threads; all cores by default.
    precision:
        Floating-point precision of OpenVINO; ``auto`` is bfloat16 on CPUs that are fast in it (with
        AMX, or AMD with AVX512-BF16), else float32.
    threshold:
        Smallest probability (0 to 1) of a lung voxel, or of each class; the thresholds of the model
        by default.
    sides:
        Label the right lung 1 and the left lung 2; otherwise both lungs are 1. No effect on a model
        with several classes.
    dense:
        ``include`` adds consolidated and collapsed lung, and masses at the pleura, without pleural
        effusion where it can be distinguished: the space that lung should fill. Requires HU. Takes
        twice the time.
    runtime:
        ``openvino`` for CPUs, or ``onnxruntime`` (an extra) for GPUs.

    Attributes
    ----------
    engine:
        The loaded model.
    threshold_level:
        Smallest probability, times 255, of a lung voxel.
    classes:
        The classes of the model with their thresholds; empty for lungs.
    sides:
        Whether right and left lung have different labels.

    Raises
    ------
    ModelError
        The file is not a model of pleura, or the runtime is not installed.
    """

    def __init__(
        self,
        model: StrPath | None = None,
        *,
        threads: int | None = None,
        precision: Precision = "auto",
        threshold: float | None = None,
        sides: bool = True,
        dense: DenseOption = "exclude",
        runtime: Runtime = "openvino",
    ) -> None:
        self.threads: int = threads or available_cpus()
        self._options = self.threads, precision, runtime
        self.engine: Engine = Engine(model_path(model), *self._options)
        self.classes: tuple[Label, ...] = self.engine.metadata.classes
        require_lung_model(self.classes, dense == "include")
        if threshold is not None:
            self.classes = tuple(replace(one, threshold=threshold) for one in self.classes)
        default = self.engine.threshold_level
        self.threshold_level: int = default if threshold is None else int(np.ceil(threshold * 255))
        self.sides = sides
        self._greyscale: Engine | None = None
        self._is_shipped = model is None or str(model) in SHIPPED_MODELS
        self._cascade: Cascade | None = None
        if self.engine.metadata.lungs is not None:
            content = read_lung_model(model_path(model))
            self._cascade = Cascade(Engine(content, *self._options), self.engine)
        self._dense_engine: Engine | None = None
        if dense == "include":
            self._dense_engine = Engine(DENSE_MODEL, *self._options)

    def __repr__(self) -> str:
        model = self.engine.metadata
        return f"Segmenter({model.name} {model.version}; {self.threads} threads)"

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
        """Release the memory of the models."""
        self.engine.release()
        lungs = None if self._cascade is None else self._cascade.lungs
        for engine in filter(None, (self._greyscale, self._dense_engine, lungs)):
            engine.release()

    @property
    def output_classes(self) -> tuple[Label, ...]:
        """The classes of masks: ``classes``, and the lungs if a cascade labels them, too."""
        stage = self.engine.metadata.lungs
        lungs = () if stage is None or stage.label is None else (Label(stage.label, "lung"),)
        return (*self.classes, *lungs)

    @cached_property
    def greyscale_metadata(self) -> ModelMetadata | None:
        """The description of the model for grey values; None if the model is not a shipped one."""
        return read_metadata(model_path("greyscale")) if self._is_shipped else None

    def engine_for(self, scan: Scan) -> Engine:
        """Return the model that segments a scan: ``greyscale`` for grey values, else ``engine``."""
        if scan.intensity.distinguishes_lung or not self._is_shipped:
            return self.engine
        with PROCESS.lock:
            if self._greyscale is None:
                self._greyscale = Engine(model_path("greyscale"), *self._options)
            return self._greyscale

    def segment(
        self,
        scan: ScanLike,
        progress: Progress | None = None,
        *,
        keep_probability: bool = False,
        release_voxels: bool = False,
        warn: bool = True,
    ) -> Segmentation:
        """Segment the lungs, or the classes of the model, of a scan.

        Parameters
        ----------
        scan:
            A `Scan`, a path, an array, or an image of SimpleITK, nibabel or highdicom.
        progress:
            Called with the number of slices that are done, and of all slices.
        keep_probability:
            Also return the probability of lung, or of each class.
        release_voxels:
            Release the memory of the voxels of a file as they are segmented. They are read again
            if they are needed, for example to measure the lungs.
        warn:
            Emit a `MaskWarning` for each flag and each decision that may change the mask.

        Raises
        ------
        ScanError, DataError
            The value is not a scan, its voxels cannot be read, its axial slices are too small, the
            memory does not suffice, or it is in HU and the model takes grey values of any window.
        """
        start = time.perf_counter()
        scan = as_scan(scan)
        if dense := self._dense_engine is not None:
            require_hu(scan)
        engine = self.engine_for(scan)
        scan = with_input_decision(scan, engine.metadata)
        order = scan.geometry.to_canonical()
        geometry = order.apply_to(scan.geometry)
        check_slice_size(scan, geometry)
        maps = max(len(self.classes), 1) if keep_probability else 0
        maps += self._cascade is not None  # the lungs
        maps += may_overlap(self.classes)  # two bytes per voxel
        size = needed_memory(scan, engine, self.threads, maps, dense=dense, release=release_voxels)
        require_memory(size, "its segmentation", scan.source or scan.name)
        if self._cascade is not None:
            predictions = self._cascade.predict(
                scan,
                self.classes,
                keep_probability=keep_probability,
                release_voxels=release_voxels,
                progress=progress,
            )
        else:
            predictions = predict_slices(
                engine,
                scan,
                self.classes or self.threshold_level,
                dense_engine=self._dense_engine,
                keep_probability=keep_probability,
                release_voxels=release_voxels,
                progress=progress,
            )
        predicted = time.perf_counter()
        labels, added = self._labels(predictions, scan, geometry)
        if self.classes:
            flags = find_class_flags(labels, scan)
        else:
            flags = find_lung_flags(labels, scan, geometry, predictions, sides=self.sides)
        decisions = list(scan.decisions)
        if added is not None:
            decisions.append(dense_decision(added, geometry))
        if self._options[2] == "onnxruntime":
            decisions.append(Decision("device", *engine.device))

        def to_scan_grid(array: AnyArray) -> AnyArray:
            return np.ascontiguousarray(order.undo(array))

        labels = to_scan_grid(labels)
        done = time.perf_counter()
        waiting, model = predictions.waiting_seconds, engine.metadata
        segmentation = Segmentation(
            labels=labels,
            scan=scan,
            sides=self.sides and not self.classes,
            classes=self.output_classes,
            algorithm=(f"pleura, model {model.name}", model.version),
            decisions=tuple(decisions),
            flags=flags,
            dense_voxels=added,
            model=model.name,
            seconds={
                "read": predicted - start - waiting,
                "inference": waiting,
                "postprocessing": done - predicted,
            },
            probability=predictions.undo_probability(order),
        )
        _logger.info("Segmented %d slices in %.1f s", len(labels), done - start)
        for text in segmentation.warnings:
            _logger.warning("%s: %s", printable(scan.name), text)
        if warn:
            _warn(segmentation)
        return segmentation

    __call__ = segment

    def _labels(
        self, predictions: SlicePredictions, scan: Scan, geometry: Geometry
    ) -> tuple[NDArray[np.uint8], dict[str, int] | None]:
        """Return canonical axial labels, and the voxels of dense lung by region if requested."""

        def labels_of(lung: BoolArray) -> NDArray[np.uint8]:
            if self.sides:
                return label_sides(lung, predictions.hu, geometry, self.threads)
            return lung.view(np.uint8)

        if self.classes:
            labels = clean_classes(predictions.take_lung(), predictions.hu, self.classes)
            stage = self.engine.metadata.lungs
            if stage is not None and stage.label is not None and predictions.lungs is not None:
                labels[predictions.lungs & (labels == 0)] = stage.label
            return labels, None
        calibrated = scan.intensity.calibrated
        lung = clean_mask(predictions.take_lung(), predictions.hu, calibrated=calibrated)
        if predictions.dense is None:
            return labels_of(lung), None
        with_dense = include_dense(lung, predictions.dense, predictions.hu)
        labels = labels_of(with_dense.copy())  # it may be `lung`
        return labels, count_added(labels, lung, sides=self.sides)


def segment(scan: ScanLike, model: StrPath | None = None) -> Segmentation:
    """Segment the lungs of one scan; `Segmenter` loads the model only once for many scans.

    Parameters
    ----------
    scan:
        A `Scan`; a path that `read` accepts; an image of SimpleITK, nibabel or highdicom;
        or an array (rows, columns) or (slices, rows, columns). For an array with spacing and
        orientation, use `from_array`.
    model:
        As for `Segmenter`.

    Returns
    -------
    Segmentation
        A mask on the grid of the scan: 1 right lung, 2 left lung. Check the mask if it has
        ``flags`` or ``warnings``.

    Warns
    -----
    MaskWarning
        For each flag, and each decision that may change the mask.

    Raises
    ------
    ScanError, DataError
        The value is not a scan, or its voxels cannot be read.
    ModelError
        The file is not a model of pleura.

    Examples
    --------
    >>> import pleura
    >>> lungs = pleura.segment("tests/data/sample/volume/ct.nii.gz")
    >>> lungs.labels.shape, lungs.flags
    ((65, 128, 128), ())
    """
    with Segmenter(model) as segmenter:
        segmentation = segmenter.segment(scan, warn=False)
    _warn(segmentation)
    return segmentation


def _warn(mask: Mask) -> None:
    for text in mask.warnings:
        warnings.warn(text, MaskWarning, stacklevel=3)
