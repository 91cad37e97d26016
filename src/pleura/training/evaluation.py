"""Evaluate a training run on image-mask pairs, on the network's grid and on each image's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair, find_pairs
from pleura.dataset.preprocessing import (
    preprocess_label_map,
    preprocess_mask,
    resample_probability,
    resize_nearest,
)
from pleura.dataset.scan_folders import is_dicom_scan
from pleura.errors import DataError
from pleura.evaluation.cases import Case, CaseTable, Subset
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.metrics import accuracy
from pleura.evaluation.model import CaseArrays, EvaluationCallbacks
from pleura.evaluation.probability import ProbabilityHistogram, any_class, class_histograms
from pleura.evaluation.scores import ALL_LABELS, Score, score_masks, score_overlap
from pleura.figures.cases import choose_cases
from pleura.figures.plots import CaseImages, cases_figure, save_figure
from pleura.files.hashing import hash_files
from pleura.files.records import write_json
from pleura.scan.bit_field import has_label
from pleura.scan.labels import class_labels
from pleura.segmentation.lung_region import SliceRegion
from pleura.training.predictor import Predictor, sigmoid, softmax
from pleura.training.run import Run, open_run
from pleura.training.run_evaluation import RunEvaluation
from pleura.typing import AnyArray, BoolArray, FloatArray, StrPath


def evaluate(
    run: Run | StrPath,
    images: StrPath,
    masks: StrPath,
    *,
    subset: Subset = "test",
    output: StrPath | None = None,
    cases: CaseTable | None = None,
    callbacks: EvaluationCallbacks | None = None,
) -> RunEvaluation:
    """Evaluate a run on a subset of its own split, or on all pairs of other folders.

    Write ``cases.csv``, ``evaluation.json`` and ``cases.png``.

    Parameters
    ----------
    run:
        A run, or its folder.
    images, masks:
        Folders of images and reference masks.
    subset:
        Subset of the run's split; ``all`` evaluates every pair.
    output:
        Folder to write to; ``RUN/evaluation-SUBSET`` if None.
    cases:
        Patients and groups by image name; by default each image is one patient, and all slices of
        a volume are one patient.
    callbacks:
        Functions that are called during the evaluation.

    Returns
    -------
    RunEvaluation
        The scores on the grid of the network, and on the grids of the images.

    Raises
    ------
    DataError
        The pairs cannot be read, or the run's split has images that are missing.
    RunError
        The run cannot be loaded.

    Warns
    -----
    DataWarning
        Some cases are not in ``cases``.
    """
    run = run if isinstance(run, Run) else open_run(run)
    table, callbacks = cases or CaseTable(), callbacks or EvaluationCallbacks()
    data = run.recipe.data
    found = find_pairs(images, masks, data.class_masks, data.roi)
    pairs = {pair.name: pair for pair in found}
    names = _names(run, list(pairs), subset)
    files = {file: i for i, file in enumerate(dict.fromkeys(pairs[n].image for n in names))}
    names.sort(key=lambda name: files[pairs[name].image])  # each volume is decoded once
    table.warn_unknown(names)
    evaluator = _Evaluator(run, callbacks)
    for i, name in enumerate(names):
        pair = pairs[name]
        # The folder of a DICOM scan may have the name of the patient.
        file_name = pair.file_name if is_dicom_scan(pair.image) else pair.image.name
        evaluator.add(table.case(name, file_name), pair)
        if callbacks.on_progress is not None:
            callbacks.on_progress(i + 1, len(names))
    paths = (path for name in names for path in (pairs[name].image, *pairs[name].masks))
    result = evaluator.result(subset, hash_files(dict.fromkeys(paths), names=True))
    folder = Path(output or run.folder / f"evaluation-{subset}")
    result.write_csv(folder / "cases.csv")
    write_json(folder / "evaluation.json", result.to_dict())
    _write_figure(evaluator, result, pairs, folder / "cases.png")
    return result


class _Evaluator:
    """Predict pairs one after another and collect the scores."""

    def __init__(self, run: Run, callbacks: EvaluationCallbacks) -> None:
        self.predictor = Predictor(run)
        self.reader = PairReader(run.classes, run.recipe.data.context.slice_context)
        self._callbacks = callbacks
        # The classes of several have their own thresholds.
        self._thresholds = sorted({*run.recipe.evaluation.thresholds, run.threshold})
        if run.classes:
            self._thresholds = [run.threshold]
        self._classes = class_labels(run.classes)
        self._overlap = run.recipe.data.overlap
        self._grid = run.recipe.evaluation.additional_size
        grids = ("network", "native", *([] if self._grid is None else [grid_name(self._grid)]))
        self._overlaps: dict[str, dict[float, list[Score]]] = {
            grid: {threshold: [] for threshold in self._thresholds} for grid in grids
        }
        self._scores: list[Score] = []
        self._histograms: dict[str, ProbabilityHistogram] = {}
        self._class_histograms: dict[str, dict[str, ProbabilityHistogram]] = {
            name: {} for name in self._classes
        }
        self._losses: dict[str, float] = {}
        self._accuracies: dict[str, float] = {}

    def add(self, case: Case, pair: Pair) -> None:
        """Predict and score one pair."""
        image, mask = self.reader.read(pair)
        preprocessing = self.predictor.preprocessing
        region = self.predictor.region(pair, mask.shape)
        stack = self.reader.read_input(pair, image)
        logits = self.predictor.region_logits(stack, region, str(pair.image))
        if self._classes:
            self._add_classes(case, (image, mask), logits, region)
            return
        target = preprocess_mask(mask, preprocessing)
        probability = sigmoid(logits)
        native = resample_probability(probability, mask.shape, preprocessing)
        maps: dict[str, tuple[BoolArray, FloatArray]] = {
            "network": (target > 0.5, probability),
            "native": (mask > 0, native),
        }
        if self._grid is not None:
            resized = resize_nearest(mask.astype(np.float32), self._grid) > 0
            maps[grid_name(self._grid)] = resized, resize_nearest(native, self._grid)
        for grid, (reference, found) in maps.items():
            for threshold in self._thresholds:
                score = score_overlap(case, found >= threshold, reference)
                self._overlaps[grid][threshold].append(score)
        self._add_binary(case, logits, target)
        self._add_native(case, image, mask, native)

    def _add_binary(self, case: Case, logits: FloatArray, target: FloatArray) -> None:
        """Add loss and accuracy of independent outputs."""
        entropy = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))
        self._losses[case.name] = float(entropy.mean())
        self._accuracies[case.name] = accuracy(target > 0.5, logits > 0)

    def _add_classes(
        self,
        case: Case,
        arrays: tuple[AnyArray, NDArray[np.uint8]],
        logits: FloatArray,
        region: SliceRegion | None,
    ) -> None:
        """Score the class indices of one pair; the network's grid is that of the region."""
        predictor, (image, mask) = self.predictor, arrays
        part = mask if region is None else region.cut_mask(mask)
        target = preprocess_label_map(part, predictor.preprocessing, len(self._classes))
        probability = sigmoid(logits) if self._overlap else softmax(logits)[1:]
        native = predictor.region_probability(logits, mask.shape, region)
        chosen = predictor.mask(native)
        maps = {"network": (target, predictor.mask(probability)), "native": (mask, chosen)}
        if self._grid is not None:
            nearest = (resize_nearest(m.astype(np.float32), self._grid) for m in (mask, chosen))
            first, second = (resized.astype(mask.dtype) for resized in nearest)
            maps[grid_name(self._grid)] = first, second
        for grid, (reference, found) in maps.items():
            scores = self._overlaps[grid][predictor.run.threshold]
            scores.append(score_overlap(case, found > 0, reference > 0, ALL_LABELS))
            scores += [
                score_overlap(case, has_label(found, i), has_label(reference, i), name)
                for name, i in self._classes.items()
            ]
        if self._overlap:
            layers = np.stack([has_label(target, i) for i in self._classes.values()])
            self._add_binary(case, logits, layers.astype(np.float32))
        else:
            likelihood = np.take_along_axis(softmax(logits), target[None].astype(np.intp), 0)
            self._losses[case.name] = float(-np.log(likelihood + 1e-12).mean())
            self._accuracies[case.name] = float((logits.argmax(0) == target).mean())
        self._add_native(case, image, mask, native)

    def _add_native(
        self, case: Case, image: AnyArray, mask: NDArray[np.uint8], probability: FloatArray
    ) -> None:
        prediction = self.predictor.mask(probability)
        if self._callbacks.on_case is not None:
            arrays = image[None], prediction[None], mask[None]
            self._callbacks.on_case(
                CaseArrays(case.name, *arrays, calibrated=False, classes=self._classes)
            )
        self._scores += score_masks(case, prediction[None], mask[None], None, self._classes)
        rounded = np.rint(probability * 255).astype(np.uint8)
        maps = [rounded] if rounded.ndim == 2 else list(rounded)
        self._histograms[case.name] = ProbabilityHistogram.from_arrays(
            any_class(maps, self._overlap), mask > 0
        )
        for name, histogram in class_histograms(maps, mask, self._classes).items():
            self._class_histograms[name][case.name] = histogram

    def result(self, subset: Subset, files: str) -> RunEvaluation:
        """Return the evaluation of the pairs that were added."""
        run = self.predictor.run
        return RunEvaluation(
            tuple(self._scores),
            files,
            threshold=run.threshold,
            histograms=self._histograms,
            class_histograms=self._class_histograms,
            class_thresholds={label.name: label.threshold for label in run.classes},
            provenance={
                "run": run.folder.name,
                "subset": subset,
                "recipe": run.recipe.name,
                "training data": str(run.record["data_fingerprint"])[:16],
            },
            run=run.folder.name,
            subset=subset,
            losses=self._losses,
            accuracies=self._accuracies,
            overlaps={
                grid: {threshold: Comparison(tuple(scores)) for threshold, scores in row.items()}
                for grid, row in self._overlaps.items()
            },
        )


def grid_name(grid: tuple[int, int]) -> str:
    """Return the name of a grid of (rows, columns) in the results, such as ``128x128``."""
    return f"{grid[0]}x{grid[1]}"


def _names(run: Run, names: Sequence[str], subset: Subset) -> list[str]:
    if subset == "all":
        return list(names)
    try:
        return list(getattr(run.split(names), subset))
    except DataError as error:
        raise DataError(
            f"the images differ from those of the run: {error.message}",
            where=error.where,
            hint="pass the images of the run, or add --subset all to evaluate it on other images",
        ) from error


def _write_figure(
    evaluator: _Evaluator, result: RunEvaluation, pairs: Mapping[str, Pair], path: Path
) -> None:
    chosen = choose_cases({score.case: score.metrics["iou"] for score in result.defined()})
    pictures = []
    for case in chosen:
        image, mask = evaluator.reader.read(pairs[case.name])
        predictor, pair = evaluator.predictor, pairs[case.name]
        region = predictor.region(pair, image.shape)
        stack = evaluator.reader.read_input(pair, image)
        logits = predictor.region_logits(stack, region, case.name)
        probability = predictor.region_probability(logits, image.shape, region)
        pictures.append(CaseImages(case, image, mask, evaluator.predictor.mask(probability)))
    if pictures:
        save_figure(cases_figure(pictures), path)
