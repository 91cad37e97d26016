"""Evaluate a model or a run, and write the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pleura.evaluation.cases import CaseTable, Subset
from pleura.evaluation.model import CaseArrays, EvaluationCallbacks, ModelEvaluation, evaluate_model
from pleura.intensity.mapping import IntensityMapping
from pleura.intensity.window import Units
from pleura.masks.mask import flag_title
from pleura.masks.selection import RoiSelection
from pleura.report.images import PageImage
from pleura.report.page import Page, PageFlag
from pleura.report.plots import Plot, line_plot
from pleura.report.scores import scores_page, worst_slice
from pleura.training.run_files import is_run
from pleura.typing import Progress, StrPath


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of `evaluate_and_report`.

    Parameters
    ----------
    cases:
        Patients and groups of the cases; by default each case is one patient.
    subset, output:
        Of a run: the evaluated subset, and the folder to write to, as for `pleura.evaluate`.
    units:
        Of a model: units of the images, as for `evaluate_model`.
    roi:
        Structures or values of the masks to read, as for `read_mask`; None: the lungs or classes of
        a model, or those of the recipe of a run (`data.roi`).
    report:
        The HTML report to write; None writes none.
    command:
        The command line that the report shows.
    """

    cases: CaseTable | None = None
    subset: Subset = "test"
    output: StrPath | None = None
    units: Units | IntensityMapping = "auto"
    roi: RoiSelection | None = None
    report: StrPath | None = None
    command: str = ""


def evaluate_and_report(
    model: StrPath,
    images: StrPath,
    masks: StrPath,
    options: EvaluationOptions = EvaluationOptions(),
    progress: Progress | None = None,
) -> ModelEvaluation:
    """Evaluate a run folder, a model file or a shipped model, and write the report.

    Parameters
    ----------
    model:
        A run folder, a model file, or the name of a shipped model.
    images, masks:
        Images and reference masks: two folders, or two files for a model.
    options:
        What to evaluate and to write.
    progress:
        Called with the number of cases that are done, and of all cases.

    Returns
    -------
    ModelEvaluation
        A `RunEvaluation` for a run.

    Raises
    ------
    RunError, ModelError
        The run or the model cannot be loaded.
    ScanError, DataError
        Images or masks cannot be read, or a file cannot be written.
    """
    pictures: dict[str, PageImage] = {}

    def add_picture(arrays: CaseArrays) -> None:
        pictures[arrays.case] = worst_slice(arrays)

    callbacks = EvaluationCallbacks(progress, None if options.report is None else add_picture)
    history: Sequence[Mapping[str, float]] = ()
    evaluation: ModelEvaluation
    if is_run(model):
        from pleura.training.evaluation import evaluate  # needs PyTorch
        from pleura.training.run import open_run

        run = open_run(model)
        run = run if options.roi is None else run.with_roi(options.roi)
        history = run.history()
        evaluation = evaluate(
            run,
            images,
            masks,
            subset=options.subset,
            output=options.output,
            cases=options.cases,
            callbacks=callbacks,
        )
    else:
        evaluation = evaluate_model(
            model,
            images,
            masks,
            units=options.units,
            roi=options.roi,
            cases=options.cases,
            callbacks=callbacks,
        )
    if options.report is not None:
        page = evaluation_page(evaluation, pictures, history, options.command)
        page.write(Path(options.report))
    return evaluation


def write_evaluation_report(
    path: StrPath,
    evaluation: ModelEvaluation,
    history: Sequence[Mapping[str, float]] = (),
    *,
    command: str = "",
) -> None:
    """Write the HTML report of the evaluation of a model or a run, without images of the cases.

    `evaluate_and_report` writes it with images.

    Parameters
    ----------
    path:
        The file to write.
    evaluation:
        The evaluation.
    history:
        Metrics of each epoch, as `Run.history` returns them, for the training curves of a run.
    command:
        The command line that the report shows.

    Raises
    ------
    DataError
        The file cannot be written.
    """
    evaluation_page(evaluation, {}, history, command).write(Path(path))


def evaluation_page(
    evaluation: ModelEvaluation,
    pictures: Mapping[str, PageImage],
    history: Sequence[Mapping[str, float]] = (),
    command: str = "",
) -> Page:
    """Return the page that `write_evaluation_report` writes, with images by case."""
    kind, name = next(iter(evaluation.provenance.items()), ("model", ""))
    facts = (
        *((key.capitalize(), value) for key, value in evaluation.provenance.items()),
        ("Threshold", _threshold_text(evaluation)),
    )
    title = f"Evaluation of {kind} {name}"
    plots = (*_probability_plots(evaluation), *_training_plots(history))
    page = scores_page(title, evaluation, facts, pictures, command, plots)
    flags = {
        case: tuple(PageFlag(flag_title(name), "quality flag of the mask") for name in names)
        for case, names in evaluation.flags.items()
    }
    cases = (replace(c, flags=(*c.flags, *flags.get(c.name, ()))) for c in page.cases)
    return replace(page, cases=tuple(cases))


def _probability_plots(evaluation: ModelEvaluation) -> tuple[Plot, ...]:
    curve, calibration = evaluation.threshold_curve(), evaluation.calibration
    overlaps = {"Dice": [row["dice"] for row in curve], "IoU": [row["iou"] for row in curve]}
    foreground = "lung" if not evaluation.class_histograms else "any class"
    overlap = line_plot(
        "Overlap by threshold",
        ("Threshold", [row["threshold"] for row in curve]),
        "Mean over cases",
        overlaps,
        "Before postprocessing. Choose a threshold with the validation set only.",
    )
    reliability = line_plot(
        "Calibration",
        (f"Predicted probability of {foreground}", calibration.predicted),
        f"Fraction of {foreground}",
        {"observed": calibration.observed, "perfect calibration": calibration.predicted},
        f"Expected calibration error {calibration.expected_error:.4f}; "
        f"{calibration.uncertain_expected_error:.4f} over the "
        f"{100 * calibration.uncertain_fraction:.1f} % of pixels with a probability of 0.02 to "
        "0.98.",
    )
    return (overlap, reliability, *_class_plots(evaluation))


def _class_plots(evaluation: ModelEvaluation) -> list[Plot]:
    """Return the overlap by threshold of each of several classes."""
    plots = []
    for name in evaluation.class_histograms:
        curve = evaluation.threshold_curve(name)
        plots.append(
            line_plot(
                f"Overlap by threshold: {name}",
                ("Threshold", [row["threshold"] for row in curve]),
                "Mean over cases",
                {"Dice": [r["dice"] for r in curve], "IoU": [r["iou"] for r in curve]},
                "Its probability alone, whatever those of the other classes are.",
            )
        )
    return plots


def _threshold_text(evaluation: ModelEvaluation) -> str:
    if not evaluation.class_thresholds:
        return f"{evaluation.threshold:.3g}"
    return ", ".join(f"{name} {t:.3g}" for name, t in evaluation.class_thresholds.items())


def _training_plots(history: Sequence[Mapping[str, float]]) -> tuple[Plot, ...]:
    if not history:
        return ()
    epochs = [row["epoch"] for row in history]
    names = {"training": "{}", "validation": "validation_{}"}
    prefix = "validation_dice_"
    classes = {key.removeprefix(prefix): key for key in history[0] if key.startswith(prefix)}
    plots = [
        line_plot(
            f"Validation Dice during training: {name}",
            ("Epoch", epochs),
            "Dice",
            {name: [row[key] for row in history]},
        )
        for name, key in classes.items()
        if not any(math.isnan(row[key]) for row in history)
    ]
    return (
        *plots,
        *_loss_plots(history, epochs, names),
    )


def _loss_plots(
    history: Sequence[Mapping[str, float]], epochs: Sequence[float], names: Mapping[str, str]
) -> tuple[Plot, ...]:
    return tuple(
        line_plot(
            f"{metric.capitalize()} during training",
            ("Epoch", epochs),
            metric.capitalize(),
            {name: [row[key.format(metric)] for row in history] for name, key in names.items()},
        )
        for metric in ("loss", "accuracy")
    )
