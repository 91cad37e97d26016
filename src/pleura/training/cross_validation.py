"""Cross-validation: each image is predicted by a network that was not trained on its patient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pleura.dataset.folds import Folds, assign_folds, require_labels
from pleura.dataset.pairs import Pair, find_pairs
from pleura.errors import DataWarning, RunError
from pleura.evaluation.cases import CaseTable
from pleura.evaluation.model import CaseArrays, EvaluationCallbacks, ModelEvaluation
from pleura.files.records import read_record, write_json
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.evaluation import evaluate
from pleura.training.export import ExportOptions, export
from pleura.training.fold_training import train_folds
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.options import TrainingOptions
from pleura.training.out_of_fold import MaskWriter
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.training.run import Run
from pleura.training.run_evaluation import RunEvaluation
from pleura.training.settings_record import (
    CROSS_VALIDATION,
    hash_initial_weights,
    hash_pairs,
    write_settings,
)
from pleura.training.versions import versions
from pleura.typing import StrPath


@dataclass(frozen=True)
class CrossValidationOptions:
    """Options of `cross_validate`.

    Parameters
    ----------
    folds:
        Number of folds, at least 3, and so the number of trainings.
    progress, initial_weights:
        As for `TrainingOptions`. The networks of all folds have the same initial weights, which
        must not depend on the images.
    training_patients:
        Train each network on a random choice of this many patients; None: on all.
    seed:
        Seed of this choice.
    """

    folds: int = 5
    progress: bool | None = None
    initial_weights: StrPath | None = None
    training_patients: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class CrossValidation:
    """Result of `cross_validate`.

    Parameters
    ----------
    folder:
        The output folder.
    folds:
        Number of folds.
    runs:
        The runs of the folds; of an interrupted cross-validation those that were started.
    evaluation:
        Scores of all images, each by the network of its fold, at the threshold of this fold. The
        groups are the folds. None if the cross-validation was interrupted.
    model:
        Model file of the ensemble of all networks; None if there is none.
    """

    folder: Path
    folds: int
    runs: tuple[Run, ...]
    evaluation: ModelEvaluation | None = None
    model: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether all networks are trained and evaluated."""
        return self.evaluation is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the folds, and the scores and statistics of all images, for JSON."""
        evaluation = {} if self.evaluation is None else self.evaluation.to_dict()
        return {
            "folds": self.folds,
            "finished": self.finished,
            "runs": [_run_entry(run) for run in self.runs],
            "model": self.model and self.model.name,
            **evaluation,
            "versions": versions(),
        }


def cross_validate(
    images: StrPath,
    masks: StrPath,
    output: StrPath,
    recipe: Recipe | StrPath | None = None,
    options: CrossValidationOptions = CrossValidationOptions(),
    *,
    callbacks: TrainingCallbacks | None = None,
    evaluation_callbacks: EvaluationCallbacks | None = None,
) -> CrossValidation:
    """Train one network per fold, and evaluate each image with the network of its fold.

    In each fold, a tenth of the images, from patients of the next fold, are the validation subset:
    they choose the threshold, and the weights if the recipe selects the best epoch. With
    `data.labels`, they choose thresholds only with `evaluation.tune_threshold`.
    The evaluated images are not used for training or for a choice.

    The same call continues an interrupted cross-validation: finished folds are skipped, and the
    interrupted one is resumed. Ctrl-C (or SIGTERM) stops after the current step.

    Parameters
    ----------
    images, masks:
        Folders of the images and their masks.
    output:
        Folder to write: a run ``fold-N`` per fold, the table ``folds.csv``, the predicted masks in
        ``masks``, the scores ``cases.csv`` and ``evaluation.json``, and the ensemble
        ``model.onnx``.
    recipe:
        Recipe, name of a recipe of this package, or YAML file; None as for `train`. Its split
        defines only the patients
        (`split.patient_file` or `split.patient_pattern`) and the excluded images. Without patients,
        each image, each volume and all DICOM files of a patient are one patient.
    options:
        Number of folds, initial weights, and progress.
    callbacks:
        Functions called during each training.
    evaluation_callbacks:
        Functions called during the evaluation of all images.

    Returns
    -------
    CrossValidation

    Raises
    ------
    DataError
        The data cannot be used, or there are too few patients, or too few with a label.
    RecipeError
        The recipe cannot be used.
    RunError
        The folder contains other files, or a cross-validation with other data or settings.

    Warns
    -----
    DataWarning
        The subsets of a fold contain copies or near duplicates; or the networks cannot be exported.
    """
    images, masks, output = Path(images), Path(masks), Path(output)
    weights = options.initial_weights
    if recipe is None:
        recipe = load_recipe("exercise") if weights is None else fine_tuning_recipe(weights)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    pairs = find_pairs(images, masks, recipe.data.class_masks, recipe.data.roi)
    folds = assign_folds(pairs, options.folds, recipe.split, images)
    splits = folds.splits(options.training_patients, options.seed)
    require_labels(splits, pairs, recipe.data.classes)
    settings = _settings(pairs, folds, recipe, options)
    write_settings(output / CROSS_VALIDATION, settings, "cross-validation")
    folds.write(output / "folds.csv")
    training = TrainingOptions(weights, progress=options.progress)
    runs = train_folds(images, masks, output, recipe, splits, training, callbacks)
    result = CrossValidation(output, folds.count, tuple(runs))
    if not all(run.finished for run in runs):
        return result
    evaluation = _evaluate(
        images, masks, pairs, folds, result, evaluation_callbacks or EvaluationCallbacks()
    )
    result = replace(result, evaluation=evaluation, model=_export(output, runs))
    evaluation.write_csv(output / "cases.csv")
    write_json(output / "evaluation.json", result.to_dict())
    return result


def _settings(
    pairs: Sequence[Pair], folds: Folds, recipe: Recipe, options: CrossValidationOptions
) -> dict[str, Any]:
    """Return what a cross-validation that is continued must have in common with its start."""
    chosen = {"training_patients": [options.training_patients, options.seed]}
    return {
        "format": 1,
        "folds": folds.count,
        "data": hash_pairs(pairs),
        "patients": folds.fingerprint(),
        "recipe": recipe.model_dump(mode="json", exclude={"split"}),
        "initial_weights": hash_initial_weights(options.initial_weights),
        **(chosen if options.training_patients is not None else {}),
    }


def _evaluate(
    images: Path,
    masks: Path,
    pairs: Sequence[Pair],
    folds: Folds,
    started: CrossValidation,
    callbacks: EvaluationCallbacks,
) -> ModelEvaluation:
    """Evaluate the test subset of each run, write its masks, and join the results."""
    by_name = {pair.name: pair for pair in pairs}
    groups = {name: f"fold-{fold + 1}" for name, fold in folds.fold_of.items()}
    writer = MaskWriter(started.folder / "masks", by_name, started.runs[0].classes)
    total, parts = len(folds.fold_of), list[RunEvaluation]()

    def on_case(arrays: CaseArrays) -> None:
        writer.add(arrays)
        if callbacks.on_case is not None:
            callbacks.on_case(arrays)

    for run in started.runs:
        before = sum(len(part.losses) for part in parts)

        def on_progress(done: int, _: int, before: int = before) -> None:
            if callbacks.on_progress is not None:
                callbacks.on_progress(before + done, total)

        part = evaluate(
            run,
            images,
            masks,
            cases=CaseTable(folds.patient_of, groups),
            callbacks=EvaluationCallbacks(on_progress, on_case),
        )
        writer.close()
        parts.append(part)
    return _joined(parts, folds, started)


def _joined(
    parts: Sequence[RunEvaluation], folds: Folds, started: CrossValidation
) -> ModelEvaluation:
    """Join the evaluations of the folds; thresholds are means, as in the ensemble."""
    order = {name: i for i, name in enumerate(folds.fold_of)}
    scores = sorted((s for part in parts for s in part.scores), key=lambda s: order[s.case])
    classes = parts[0].class_thresholds
    return ModelEvaluation(
        tuple(scores),
        read_record(started.folder / CROSS_VALIDATION)["data"],
        threshold=float(np.mean([part.threshold for part in parts])),
        histograms={k: v for part in parts for k, v in part.histograms.items()},
        class_histograms={
            name: {k: v for part in parts for k, v in part.class_histograms[name].items()}
            for name in classes
        },
        class_thresholds={
            name: float(np.mean([part.class_thresholds[name] for part in parts]))
            for name in classes
        },
        provenance={
            "cross-validation": started.folder.resolve().name,
            "folds": str(len(parts)),
            "patients": str(len({*folds.patient_of.values()})),
            "recipe": started.runs[0].recipe.name,
        },
    )


def _export(output: Path, runs: Sequence[Run]) -> Path | None:
    """Export the ensemble, or warn why it cannot be exported."""
    path = output / "model.onnx"
    try:
        export(runs, path, ExportOptions(name=output.resolve().name))
    except RunError as error:
        warnings.warn(f"the ensemble is not exported: {error.message}", DataWarning, stacklevel=3)
        return None
    return path


def _run_entry(run: Run) -> dict[str, Any]:
    """Return the subsets and the thresholds of a run, for JSON."""
    thresholds = {label.name: label.threshold for label in run.classes}
    return {
        "run": run.folder.name,
        "finished": run.finished,
        "subsets": run.record.get("subsets"),
        "threshold": run.threshold,
        **({"thresholds": thresholds} if thresholds else {}),
    }
