"""`pleura evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from pleura.cli.common import (
    PATH,
    command_line,
    images_argument,
    json_option,
    masks_argument,
    progress_bar,
    quiet_option,
    stdout_console,
    units_option,
    write_json,
)
from pleura.cli.scores import CaseTable, by_option, cases_option, print_scores, read_case_table

if TYPE_CHECKING:
    from pleura.evaluation.model import Look, ModelEvaluation
    from pleura.report.page import PagePicture
    from pleura.training.evaluation import Evaluation

_EPILOG = """\
\b
Examples:
  pleura evaluate runs/first images/ masks/
  pleura evaluate runs/first images/ masks/ --part validation --report report.html
  pleura evaluate runs/first other/images other/masks --part all -o other/evaluation
  pleura evaluate default scans/ masks/ --report report.html
  pleura evaluate mine.onnx scans/ masks/ --cases cases.csv --by scanner
"""


@click.command("evaluate", epilog=_EPILOG)
@click.argument("model", type=PATH, metavar="MODEL_OR_RUN")
@images_argument
@masks_argument
@click.option(
    "--part",
    type=click.Choice(["test", "validation", "train", "all"]),
    default="test",
    show_default=True,
    help="Of a run: part of its own split; `all` takes every pair.",
)
@click.option(
    "--output",
    "-o",
    "folder",
    type=PATH,
    help="Of a run: folder to write to; RUN/evaluation-PART if unset.",
)
@click.option("--report", type=PATH, help="Also write a page to look at (.html).")
@cases_option
@by_option
@units_option
@click.option(
    "--factor", type=float, default=1.0, help="Of a model: stored values are HU times it."
)
@json_option
@quiet_option
def command(
    model: Path,
    images: Path,
    masks: Path,
    part: str,
    folder: Path | None,
    report: Path | None,
    cases: Path | None,
    by: str | None,
    json_file: Path | None,
    quiet: bool,
    **reading: Any,
) -> None:
    """Judge a MODEL file, `default` or a RUN on IMAGES with reference MASKS.

    A run is judged on a part of its own split: loss, accuracy, IoU and Dice on the network's grid
    and on each image's own. A model is judged the whole way, from units to cleaned masks. Both:
    surfaces, intervals over patients, thresholds and calibration.
    """
    table = read_case_table(cases, by)
    pictures: dict[str, PagePicture] = {}
    how: dict[str, Any] = {"patients": table.patients}
    if report is not None:
        how["look"] = _look(pictures, hu=not model.is_dir())
    if model.is_dir():
        how |= {"part": part, "output": folder, "groups": table.groups}
        if reading != {"units": "auto", "factor": 1.0}:
            raise click.UsageError("--units and --factor are of a model: a run knows its own")
        judged = _judge_run(model, (images, masks), how, quiet)
    else:
        if folder is not None or part != "test":
            raise click.UsageError("--part and --output are of a run: a model has --report, --json")
        judged = _judge_model(model, (images, masks), how | reading, table.groups, quiet)
    table.warn(judged.scores.comparison)
    write_json(json_file, judged.content)
    if report is not None:
        from pleura.report.comparison import judgement_page

        page = judgement_page(
            judged.title,
            judged.scores,
            judged.facts,
            pictures,
            command_line(),
            judged.history,
            table.groups,
        )
        page.write(report)
    if str(json_file) != "-":
        for line in judged.printed:
            stdout_console().print(line, highlight=False)
        _print_scores(judged.scores, table)


@dataclass(frozen=True)
class _Judged:
    """What there is to print, write and draw of a run or a model."""

    title: str
    scores: ModelEvaluation
    facts: tuple[tuple[str, str], ...]
    content: dict[str, Any]
    printed: tuple[Any, ...] = ()
    history: Sequence[Mapping[str, float]] = ()


def _look(pictures: dict[str, PagePicture], *, hu: bool) -> Look:
    """Return what keeps a picture of each case as it passes."""
    from pleura.report.comparison import worst_slice

    def look(case: str, image: Any, found: Any, wanted: Any) -> None:
        pictures[case] = worst_slice(image, found, wanted, hu=hu)

    return look


def _judge_run(folder: Path, data: tuple[Path, Path], how: dict[str, Any], quiet: bool) -> _Judged:
    from pleura.training.evaluation import evaluate
    from pleura.training.run import open_run

    run = open_run(folder)
    with progress_bar("evaluating", quiet) as progress:
        found = evaluate(run, *data, **how, progress=progress)
    written = how["output"] or folder / f"evaluation-{found.part}"
    return _Judged(
        f"Run {found.run}",
        found.native,
        (
            ("run", found.run),
            ("part", found.part),
            ("recipe", run.recipe.name),
            ("training data", str(run.record["data_fingerprint"])[:16]),
        ),
        found.to_dict(how["groups"]),
        (_table(found), f"cases and pictures in {written}"),
        run.history(),
    )


def _judge_model(
    model: Path,
    data: tuple[Path, Path],
    how: dict[str, Any],
    groups: Mapping[str, str] | None,
    quiet: bool,
) -> _Judged:
    from pleura.engine.engine import model_path
    from pleura.engine.model_file import read_metadata
    from pleura.evaluation.model import evaluate_model

    record = read_metadata(model_path(model))
    with progress_bar("evaluating", quiet, "cases") as progress:
        found = evaluate_model(model, *data, **how, progress=progress)
    facts = (
        ("model", f"{record.name} {record.version}"),
        ("weights", record.weights_sha256[:16]),
        ("images", data[0].name),
        ("masks", data[1].name),
    )
    content = {"model": record.name, **found.to_dict(groups)}
    return _Judged(f"Model {record.name}", found, facts, content)


def _print_scores(found: ModelEvaluation, table: CaseTable) -> None:
    print_scores(found.comparison, table.groups)
    curve = found.calibration
    stdout_console().print(
        f"calibration error {curve.error:.4f}, {curve.error_in_doubt:.4f} over the "
        f"{100 * curve.in_doubt:.1f} % of pixels in doubt",
        highlight=False,
    )


def _table(found: Evaluation) -> Table:
    table = Table(
        title=f"{len(found.cases)} images ({found.part}): loss {found.loss:.4f}, "
        f"accuracy {found.accuracy:.4f}",
        title_justify="left",
    )
    for column in ("grid", "threshold", "mean IoU", "median", "worst", "mean Dice", "both empty"):
        table.add_column(column, justify="left" if column == "grid" else "right")
    for grid in found.grids:
        for threshold in found.thresholds:
            overlap = found.summary(grid, threshold)
            dice = found.summary(grid, threshold, "dice")
            table.add_row(
                grid,
                f"{threshold:g}" + ("*" if threshold == found.threshold else ""),
                *(f"{v:.4f}" for v in (overlap.mean, overlap.median, overlap.worst, dice.mean)),
                str(overlap.undefined),
            )
    table.caption = "* the run's own threshold"
    table.caption_justify = "left"
    return table
