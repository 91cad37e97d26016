"""Evaluate the masks and the probabilities of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engine.engine import model_path
from pleura.engine.model_file import read_metadata
from pleura.errors import DataError
from pleura.evaluation.alignment import align
from pleura.evaluation.cases import Case, CaseTable
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.matching import match_cases
from pleura.evaluation.probability import (
    THRESHOLDS,
    Calibration,
    ProbabilityHistogram,
    any_class,
    calibration_curve,
    class_histograms,
)
from pleura.evaluation.scores import Score, score_masks
from pleura.figures.html import html_table
from pleura.files.hashing import hash_files
from pleura.formats.read import read
from pleura.intensity.mapping import IntensityMapping
from pleura.intensity.window import Units
from pleura.masks.classes import read_classes
from pleura.masks.exchanged import detect_exchanged
from pleura.masks.labels import read_stored_mask
from pleura.masks.mask import Mask
from pleura.masks.selection import RoiSelection, require_class_labels, require_lung_labels
from pleura.names import shorten_list
from pleura.scan.scan import Scan
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import Progress, StrPath


@dataclass(frozen=True, eq=False)
class CaseArrays:
    """Arrays of one evaluated case, for a figure.

    Parameters
    ----------
    case:
        Name of the case.
    image, prediction, reference:
        Image and labels, all (slices, rows, columns).
    calibrated:
        Whether the image is in HU.
    classes:
        Label by name of several classes; empty for lungs.
    """

    case: str
    image: NDArray[Any]
    prediction: NDArray[Any]
    reference: NDArray[Any]
    calibrated: bool = True
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationCallbacks:
    """Functions that an evaluation calls.

    Parameters
    ----------
    on_progress:
        Called with the number of cases that are done, and of all cases.
    on_case:
        Called with the arrays of each case.
    """

    on_progress: Progress | None = None
    on_case: Callable[[CaseArrays], None] | None = None


@dataclass(frozen=True, repr=False)
class ModelEvaluation(Comparison):
    """Scores of a model's masks, with its thresholds and calibration.

    Parameters
    ----------
    scores, fingerprint, label_decisions:
        See `Comparison`.
    threshold:
        Smallest probability of a lung pixel; 0.5 with several classes.
    histograms:
        Histogram of the network's probabilities, before postprocessing, by case. With several
        classes, of the probability of any class.
    class_histograms:
        The same for each of several classes, by name and case.
    class_thresholds:
        Threshold of each of several classes, by name: see `pleura.Label`.
    flags:
        Names of the quality flags, by case.
    provenance:
        What was evaluated, such as the name and version of the model.
    """

    threshold: float = 0.5
    histograms: Mapping[str, ProbabilityHistogram] = field(default_factory=dict)
    class_histograms: Mapping[str, Mapping[str, ProbabilityHistogram]] = field(default_factory=dict)
    class_thresholds: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def calibration(self) -> Calibration:
        """The calibration over the pixels of all cases."""
        return calibration_curve(list(self.histograms.values()))

    def threshold_curve(self, region: str | None = None) -> list[dict[str, float]]:
        """Return mean IoU and Dice over cases at each of `THRESHOLDS`.

        Choose a threshold with the validation set only, not with the test set.

        Parameters
        ----------
        region:
            The name of one of several classes: its probability against the threshold, whatever the
            probabilities of other classes are. By default lung, or any class.
        """
        by_case = self.histograms if region is None else self.class_histograms[region]
        overlaps = np.array([h.overlap() for h in by_case.values()])  # (cases, 2, 19)
        defined = np.isfinite(overlaps)
        means = np.where(defined, overlaps, 0).sum(0) / np.maximum(defined.sum(0), 1)
        return [
            {"threshold": threshold, "iou": float(iou), "dice": float(dice)}
            for threshold, iou, dice in zip(THRESHOLDS, *means, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores, statistics, thresholds and calibration, for JSON."""
        return {
            "provenance": dict(self.provenance),
            "threshold": self.threshold,
            **super().to_dict(),
            "flags": {case: list(flags) for case, flags in self.flags.items() if flags},
            "threshold_curve": self.threshold_curve(),
            "calibration": asdict(self.calibration),
            **self._classes_dict(),
        }

    def _classes_dict(self) -> dict[str, Any]:
        if not self.class_histograms:
            return {}
        return {
            "classes": {
                name: {
                    "threshold": self.class_thresholds[name],
                    "threshold_curve": self.threshold_curve(name),
                    "calibration": asdict(calibration_curve(list(by_case.values()))),
                }
                for name, by_case in self.class_histograms.items()
            }
        }

    def _repr_html_(self) -> str:
        facts = {**self.provenance, "threshold": f"{self.threshold:.3g}"}
        return html_table((), list(facts.items())) + super()._repr_html_()


def calibration_text(calibration: Calibration) -> str:
    """Return the calibration errors as text."""
    return (
        f"calibration error {calibration.expected_error:.4f}, "
        f"{calibration.uncertain_expected_error:.4f} over "
        f"the {100 * calibration.uncertain_fraction:.1f} % of pixels with a probability of "
        "0.02 to 0.98"
    )


def evaluate_model(
    model: StrPath | None,
    images: StrPath,
    masks: StrPath,
    *,
    units: Units | IntensityMapping = "auto",
    roi: RoiSelection | None = None,
    cases: CaseTable | None = None,
    callbacks: EvaluationCallbacks | None = None,
) -> ModelEvaluation:
    """Evaluate the whole segmentation with a model: units, network, postprocessing, sides.

    Parameters
    ----------
    model:
        A model file, or the name of a shipped model; None is the default model.
    images, masks:
        Two files, or two folders matched by name.
    units:
        Units of the images, their `Window`, or their conversion to HU.
    roi:
        Structures or values of the masks to read, as for `read_mask`; labels are those of lungs, or
        of the classes of the model.
    cases:
        Patients and groups of the cases; by default each case is one patient.
    callbacks:
        Functions that are called during the evaluation.

    Returns
    -------
    ModelEvaluation

    Raises
    ------
    ModelError
        The file is not a model of pleura.
    ScanError, DataError
        An image or mask cannot be read, has no partner, or is on another grid.

    Warns
    -----
    DataWarning
        Some cases are not in ``cases``.
    """
    table, callbacks = cases or CaseTable(), callbacks or EvaluationCallbacks()
    metadata = read_metadata(model_path(model))
    try:
        pairs = match_cases(Path(images), Path(masks), "image")
    except DataError:
        if metadata.classes:
            _refuse_class_folders(Path(masks), Path(images))
        raise
    table.warn_unknown(name for name, *_ in pairs)
    scores: list[Score] = []
    histograms: dict[str, ProbabilityHistogram] = {}
    by_class: dict[str, dict[str, ProbabilityHistogram]] = {}
    flags: dict[str, tuple[str, ...]] = {}
    with Segmenter(model) as segmenter:
        if segmenter.classes:
            require_class_labels(roi, segmenter.classes)
        else:
            require_lung_labels(roi)
        for i, (name, image, mask) in enumerate(pairs):
            mapping = units if isinstance(units, IntensityMapping) else None
            with detect_exchanged(image, mask):
                scan = read(image, units="hu" if isinstance(units, IntensityMapping) else units)
                grid = scan.geometry, scan.origin
                if segmenter.classes:
                    reference = read_classes(mask, segmenter.classes, *grid, roi)
                else:
                    reference = read_stored_mask(mask, *grid, roi=roi, unknown_as_lung=True)
            scan = scan if mapping is None else _with_intensity(scan, mapping)
            case = _evaluate_case(segmenter, table.case(name), scan, reference, callbacks)
            scores += case.scores
            histograms[name], flags[name] = case.histogram, case.flags
            for label, histogram in case.class_histograms.items():
                by_class.setdefault(label, {})[name] = histogram
            if callbacks.on_progress is not None:
                callbacks.on_progress(i + 1, len(pairs))
        classes = segmenter.classes
        threshold = 0.5 if classes else segmenter.threshold_level / 255
    return ModelEvaluation(
        tuple(scores),
        hash_files((file for _, *files in pairs for file in files), names=True),
        threshold=threshold,
        histograms=histograms,
        class_histograms=by_class,
        class_thresholds={label.name: label.threshold for label in classes},
        flags=flags,
        provenance={
            "model": f"{metadata.name} {metadata.version}",
            "weights": metadata.weights_sha256[:16],
            "images": Path(images).name,
            "masks": Path(masks).name,
        },
    )


def _with_intensity(scan: Scan, mapping: IntensityMapping) -> Scan:
    """Return a scan with another conversion to HU, without the decision about its own."""
    decisions = tuple(one for one in scan.decisions if one.topic != "units")
    return replace(scan, intensity=mapping, decisions=decisions)


@dataclass(frozen=True, eq=False)
class _EvaluatedCase:
    scores: list[Score]
    histogram: ProbabilityHistogram
    flags: tuple[str, ...]
    class_histograms: Mapping[str, ProbabilityHistogram]


def _refuse_class_folders(masks: Path, images: Path) -> None:
    """Refuse a folder with one folder of masks per class, which only a run folder describes.

    Raises
    ------
    DataError
        Several of its folders, without that of the images, contain files of the same names.
    """
    entries = sorted(masks.iterdir()) if masks.is_dir() else []
    folders = [one for one in entries if one.is_dir() and one.resolve() != images.resolve()]
    names = [{path.name for path in folder.iterdir()} for folder in folders]
    if any(a & b for a, b in combinations(names, 2)):
        raise DataError(
            "a model file cannot be evaluated with one folder of masks per label: "
            + shorten_list([folder.name for folder in folders]),
            where=masks,
            hint="evaluate the run (pleura evaluate RUN IMAGES MASKS), or pass masks that contain "
            "all labels",
        )


def _evaluate_case(
    segmenter: Segmenter, case: Case, scan: Scan, reference: Mask, callbacks: EvaluationCallbacks
) -> _EvaluatedCase:
    aligned = align(reference, scan, "mask and image", "resample the mask to the grid of the image")
    result = segmenter.segment(scan, keep_probability=True, warn=False)
    probability = np.asarray(result.probability)
    maps = [probability] if probability.ndim == 3 else list(probability.swapaxes(0, 1))
    maps = [aligned.second.apply(one) for one in maps]
    prediction = np.ascontiguousarray(aligned.second.apply(result.labels))
    expected = aligned.first.apply(reference.labels)
    classes = {label.name: label.value for label in segmenter.classes}
    if classes:  # a cascade may label the lungs, which no reference has
        prediction[~np.isin(prediction, [*classes.values()])] = 0
    if callbacks.on_case is not None:
        image = aligned.second.apply(scan.hu())
        arrays = CaseArrays(case.name, image, prediction, expected, classes=classes)
        callbacks.on_case(arrays)
    return _EvaluatedCase(
        score_masks(case, prediction, expected, aligned.spacing, classes),
        ProbabilityHistogram.from_arrays(any_class(maps, result.overlap), expected > 0),
        tuple(flag.name for flag in result.flags),
        class_histograms(maps, expected, classes),
    )
