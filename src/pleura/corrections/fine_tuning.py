"""Fine-tune a model on corrected masks, and compare it with the model before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pleura.corrections.comparison import ScoreChange, compare_models
from pleura.corrections.training_slices import (
    TrainingSlices,
    corrected_cases,
    read_training_slices,
    write_training_slices,
)
from pleura.engine.engine import model_path
from pleura.engine.model_file import read_metadata
from pleura.errors import RunError
from pleura.figures.html import html_table
from pleura.files.records import read_record, write_json
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.export import ExportOptions, export
from pleura.training.graph_input import graph_input
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.options import TrainingOptions
from pleura.training.processes import is_distributed
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import Run, open_run
from pleura.training.train import require_empty, resume, train
from pleura.typing import Progress, StrPath


@dataclass(frozen=True)
class FineTuningOptions:
    """Options of `fine_tune_on_corrections`.

    Parameters
    ----------
    model:
        Model to fine-tune: a run folder, a model file, or the name of a model.
    recipe:
        Recipe, its name or its file; None takes the recipe of ``model`` with lower learning rates.
    scans:
        Folder or manifest that was segmented; None takes the path that the results record.
    uncorrected_fraction:
        Fraction of the uncorrected slices to train on, from 0 to 1.
    seed:
        Seed of the choice of held-out scans.
    overwrite:
        Replace an existing run.
    progress:
        Show the progress of the training; None in terminals and notebooks only.
    """

    model: StrPath = "default"
    recipe: Recipe | StrPath | None = None
    scans: StrPath | None = None
    uncorrected_fraction: float = 0.1
    seed: int = 0
    overwrite: bool = False
    progress: bool | None = None


@dataclass(frozen=True)
class FineTuningCallbacks:
    """Functions called during `fine_tune_on_corrections`; none changes the result."""

    on_slices: Callable[[TrainingSlices], None] | None = None
    """Called before the training."""
    training: TrainingCallbacks = field(default_factory=TrainingCallbacks)
    on_evaluation: Progress | None = None
    """Called with the number of segmented scans, and of all."""


@dataclass(frozen=True)
class FineTuningResult:
    """A fine-tuned model, and its scores before and after.

    Parameters
    ----------
    run:
        The run; ``run.finished`` is False if the training was interrupted.
    slices:
        The training slices.
    model:
        The exported model file; None if the training was interrupted.
    scores:
        Dice coefficients before and after, of the held-out scans and of the sample scan; empty if
        the training was interrupted.
    """

    run: Run
    slices: TrainingSlices
    model: Path | None = None
    scores: tuple[ScoreChange, ...] = ()

    @property
    def worse(self) -> tuple[ScoreChange, ...]:
        """Scores of the scans on which the fine-tuned model is worse."""
        return tuple(score for score in self.scores if score.is_worse)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to evaluate the model further before it is used."""
        warnings = []
        if self.scores and not self.slices.held_out:
            warnings.append(
                "no scan is held out: correct three or more scans to evaluate the model"
            )
        if self.worse:
            names = ", ".join(score.case for score in self.worse)
            warnings.append(f"the fine-tuned model is worse on {names}: keep the original model")
        return tuple(warnings)

    def __repr__(self) -> str:
        return f"FineTuningResult({self.run.folder}; {len(self.scores)} scores)"

    def __str__(self) -> str:
        if self.model is None:
            return f"training interrupted: {self.run.folder}"
        rows = (f"{s.case:<40} {s.before:.4f}  {s.after:.4f}" for s in self.scores)
        return "\n".join([f"{'Dice of both lungs':<40} before  after", *rows])

    def _repr_html_(self) -> str:
        rows = [(s.case, f"{s.before:.4f}", f"{s.after:.4f}") for s in self.scores]
        return html_table(("Dice of both lungs", "before", "after"), rows, repr(self), numeric=True)


def fine_tune_on_corrections(
    results: StrPath,
    output: StrPath,
    options: FineTuningOptions = FineTuningOptions(),
    *,
    callbacks: FineTuningCallbacks = FineTuningCallbacks(),
) -> FineTuningResult:
    """Fine-tune a model on the corrected masks in a folder of results.

    One corrected scan in five is held out if there are three or more. After the training the run is
    exported as ``model.onnx``, and the models before and after are compared on the held-out scans
    and on the sample scan. Ctrl-C saves the training; `resume_fine_tuning` continues it.

    Parameters
    ----------
    results:
        Output folder of `pleura segment` with masks corrected in `pleura view`.
    output:
        Run folder to write; the training slices are written to ``OUTPUT.corrected``.
    options, callbacks:
        See `FineTuningOptions` and `FineTuningCallbacks`.

    Returns
    -------
    FineTuningResult
        The run, the exported model, and its scores before and after.

    Raises
    ------
    DataError, ScanError
        There are too few corrected slices, or a scan cannot be read.
    RecipeError, RunError, ModelError
        The recipe or the model cannot be used, or the run folder exists.
    """
    _check_one_process()
    _require_hu(options.model)
    output = Path(output).absolute()
    cases = corrected_cases(Path(results), options.scans)
    if not options.overwrite:
        require_empty(output)
    recipe = _recipe_of(options)
    folder = _slices_folder(output)
    fraction, seed = options.uncorrected_fraction, options.seed
    slices = write_training_slices(cases, folder, fraction, seed)
    write_json(folder / "fine_tuning.json", {"model": str(options.model)})
    if callbacks.on_slices is not None:
        callbacks.on_slices(slices)
    split = ("split.method=file", f"split.file={json.dumps(str(slices.split))}")
    run = train(
        slices.images,
        slices.masks,
        output,
        override_recipe(recipe, split),
        options=TrainingOptions(options.model, options.overwrite, options.progress),
        callbacks=callbacks.training,
    )
    return _export_and_compare(run, slices, options.model, callbacks.on_evaluation)


def resume_fine_tuning(
    results: StrPath,
    output: StrPath,
    *,
    scans: StrPath | None = None,
    progress: bool | None = None,
    callbacks: FineTuningCallbacks = FineTuningCallbacks(),
) -> FineTuningResult:
    """Continue an interrupted `fine_tune_on_corrections`, to the same weights.

    Parameters
    ----------
    results, output:
        As passed to `fine_tune_on_corrections`.
    scans, progress, callbacks:
        See `FineTuningOptions` and `FineTuningCallbacks`.

    Returns
    -------
    FineTuningResult
        The run, the exported model, and its scores before and after.

    Raises
    ------
    DataError, ScanError
        The training slices or a scan cannot be read.
    RunError, ModelError
        The run or the model cannot be read.
    """
    _check_one_process()
    output = Path(output).absolute()
    folder = _slices_folder(output)
    slices = read_training_slices(corrected_cases(Path(results), scans), folder)
    run = resume(
        slices.images,
        slices.masks,
        output,
        options=TrainingOptions(progress=progress),
        callbacks=callbacks.training,
    )
    record = read_record(folder / "fine_tuning.json")
    if not record:  # a run of version 0.1.0
        record = {"model": read_record(output / "learning.json").get("start", "default")}
    return _export_and_compare(run, slices, str(record["model"]), callbacks.on_evaluation)


def _export_and_compare(
    run: Run, slices: TrainingSlices, before: StrPath, progress: Progress | None
) -> FineTuningResult:
    """Export a finished run, compare it with the model before, and write ``before-after.json``."""
    if not run.finished:
        return FineTuningResult(run, slices)
    after = run.folder / "model.onnx"
    export(run, after, ExportOptions(data=f"{Path(before).name}, and corrections"))
    if Path(before).is_dir():  # a run folder
        export(before, run.folder / "before.onnx")
        before = run.folder / "before.onnx"
    scores = compare_models(before, after, slices.held_out, progress)
    content = {score.case: {"before": score.before, "after": score.after} for score in scores}
    write_json(run.folder / "before-after.json", content)
    return FineTuningResult(run, slices, after, scores)


def _recipe_of(options: FineTuningOptions) -> Recipe:
    if options.recipe is None:
        return fine_tuning_recipe(options.model)
    return options.recipe if isinstance(options.recipe, Recipe) else load_recipe(options.recipe)


def _require_hu(model: StrPath) -> None:
    """Require a model of lungs in HU, because corrections are masks of lungs, of scans in HU.

    Raises
    ------
    RunError, ModelError
        The model was trained on grey values, has several classes or takes neighbouring slices, or
        cannot be read.
    """
    if Path(model).is_dir():
        run = open_run(model)
        units, window, classes = graph_input(run).units, None, run.classes
        context = run.recipe.data.context.slice_context
    else:
        metadata = read_metadata(model_path(model))
        units, window, classes = metadata.input, metadata.window, metadata.classes
        context = metadata.context
    if classes:
        raise RunError(
            "the model has several classes, but corrections are masks of lungs",
            where=str(model),
            hint="train on the images and masks: pleura train IMAGES MASKS --from MODEL",
        )
    if context.slices:
        raise RunError(
            "the model takes neighbouring slices, but corrections are single slices",
            where=str(model),
            hint="use a model of single slices, or train on volumes and masks",
        )
    if units == "grey" and window is None:
        raise RunError(
            "the model was trained on grey values, but corrected scans are in HU",
            where=str(model),
            hint="use a model for HU, such as `default`, or train on the images and masks",
        )


def _slices_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.corrected")


def _check_one_process() -> None:
    if is_distributed():
        raise RunError(
            "fine-tuning on corrections requires a single process",
            where=None,
            hint="start pleura without torchrun",
        )
