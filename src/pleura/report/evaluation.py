"""Evaluate a model or a run, and write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pleura.evaluation.cases import CaseTable, Subset
from pleura.evaluation.model import CaseArrays, EvaluationCallbacks, ModelEvaluation, evaluate_model
from pleura.intensity.mapping import UnitsOption
from pleura.report.page import Page, PagePicture, line_plot
from pleura.report.scores import scores_page, worst_slice
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
    units, scale_factor:
        Of a model: units of the images, as for `evaluate_model`.
    report:
        The HTML report to write; None writes none.
    command:
        The command line that the report shows.
    """

    cases: CaseTable | None = None
    subset: Subset = "test"
    output: StrPath | None = None
    units: UnitsOption = "auto"
    scale_factor: float = 1.0
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
    pictures: dict[str, PagePicture] = {}

    def add_picture(arrays: CaseArrays) -> None:
        pictures[arrays.case] = worst_slice(arrays)

    callbacks = EvaluationCallbacks(progress, None if options.report is None else add_picture)
    history: Sequence[Mapping[str, float]] = ()
    evaluation: ModelEvaluation
    if Path(model).is_dir():
        from pleura.training.evaluation import evaluate  # needs PyTorch
        from pleura.training.run import open_run

        run = open_run(model)
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
            scale_factor=options.scale_factor,
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
    """Write the HTML report of the evaluation of a model or a run, without pictures of the cases.

    `evaluate_and_report` writes it with pictures.

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
    pictures: Mapping[str, PagePicture],
    history: Sequence[Mapping[str, float]] = (),
    command: str = "",
) -> Page:
    """Return the page that `write_evaluation_report` writes, with pictures by case."""
    curve, calibration = evaluation.threshold_curve(), evaluation.calibration
    plots = [
        line_plot(
            "Mean overlap by threshold, before postprocessing: choose a threshold with the "
            "validation set only",
            [row["threshold"] for row in curve],
            {"Dice": [row["dice"] for row in curve], "IoU": [row["iou"] for row in curve]},
        ),
        line_plot(
            "Calibration: fraction of lung by predicted probability. Expected calibration error "
            f"{calibration.expected_error:.4f}; {calibration.uncertain_expected_error:.4f} over "
            f"the {100 * calibration.uncertain_fraction:.2g} % of pixels with a probability of "
            "0.02 to 0.98",
            calibration.predicted,
            {"observed": calibration.observed, "perfect": calibration.predicted},
        ),
    ]
    for name in ("loss", "accuracy") if history else ():
        series = {key: [row[key] for row in history] for key in (name, f"validation_{name}")}
        plots.append(line_plot(f"Training: {name} by epoch", [r["epoch"] for r in history], series))
    kind, name = next(iter(evaluation.provenance.items()), ("model", ""))
    facts = (*evaluation.provenance.items(), ("threshold", f"{evaluation.threshold:.3g}"))
    title = f"{kind.capitalize()} {name}"
    page = scores_page(title, evaluation, facts, pictures, command, plots)
    flags = evaluation.flags
    cases = (replace(c, flags=(*c.flags, *flags.get(c.name, ()))) for c in page.cases)
    return replace(page, cases=tuple(cases))
