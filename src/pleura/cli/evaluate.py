"""`pleura evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from pleura.cli.common import (
    PATH,
    CaseTable,
    by_option,
    cases_option,
    command_line,
    images_argument,
    json_option,
    masks_argument,
    output,
    print_scores,
    progress_bar,
    quiet_option,
    read_case_table,
    units_option,
    write_json_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pleura.evaluation.evaluate import Evaluation
    from pleura.evaluation.judgement import Judgement
    from pleura.report.page import Page, PagePicture

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
    "--output", "-o", "folder", type=PATH, help="Folder to write to; RUN/evaluation-PART if unset."
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
    shown = _Shown() if report is not None else None
    if model.is_dir():
        page = _judge_run(model, (images, masks), (part, folder), table, shown, json_file, quiet)
    else:
        page = _judge_model(model, (images, masks), reading, table, shown, json_file, quiet)
    if report is not None:
        page().write(report)


class _Shown:
    """Pictures of the cases, kept as they pass."""

    def __init__(self) -> None:
        self.pictures: dict[str, PagePicture] = {}
        self.hu = True

    def look(self, case: str, image: Any, found: Any, wanted: Any) -> None:
        from pleura.report.comparison import worst_slice

        self.pictures[case] = worst_slice(image, found, wanted, hu=self.hu)


def _judge_run(
    folder: Path,
    data: tuple[Path, Path],
    part: tuple[str, Path | None],
    table: CaseTable,
    shown: _Shown | None,
    json_file: Path | None,
    quiet: bool,
) -> Callable[[], Page]:
    from pleura.evaluation.evaluate import evaluate
    from pleura.report.comparison import judgement_page
    from pleura.training.run import open_run

    run = open_run(folder)
    if shown is not None:
        shown.hu = False
    with progress_bar("evaluating", quiet) as progress:
        found = evaluate(
            run,
            *data,
            part=part[0],  # type: ignore[arg-type]
            output=part[1],
            patients=table.patients,
            groups=table.groups,
            look=None if shown is None else shown.look,
            progress=progress,
        )
    write_json_option(json_file, found.to_dict(table.groups))
    if str(json_file) != "-":
        output.print(_table(found), highlight=False)
        print_judgement(found.native, table)
        click.echo(f"cases and pictures in {part[1] or folder / f'evaluation-{part[0]}'}")
    facts = (
        ("run", found.run),
        ("part", found.part),
        ("recipe", run.recipe.name),
        ("training data", str(run.record["data_fingerprint"])[:16]),
    )
    return lambda: judgement_page(
        f"Run {found.run}",
        found.native,
        facts,
        {} if shown is None else shown.pictures,
        command_line(),
        run.history(),
        table.groups,
    )


def _judge_model(
    model: Path,
    data: tuple[Path, Path],
    reading: dict[str, Any],
    table: CaseTable,
    shown: _Shown | None,
    json_file: Path | None,
    quiet: bool,
) -> Callable[[], Page]:
    from pleura.engine.engine import model_path
    from pleura.engine.model_file import read_record
    from pleura.evaluation.judgement import evaluate_model
    from pleura.report.comparison import judgement_page

    record = read_record(model_path(model))
    with progress_bar("evaluating", quiet, "cases") as progress:
        found = evaluate_model(
            model,
            *data,
            **reading,
            patients=table.patients,
            look=None if shown is None else shown.look,
            progress=progress,
        )
    write_json_option(json_file, {"model": record.name, **found.to_dict(table.groups)})
    if str(json_file) != "-":
        print_judgement(found, table)
    facts = (
        ("model", f"{record.name} {record.version}"),
        ("weights", record.weights_sha256[:16]),
        ("images", data[0].name),
        ("masks", data[1].name),
    )
    return lambda: judgement_page(
        f"Model {record.name}",
        found,
        facts,
        {} if shown is None else shown.pictures,
        command_line(),
        groups=table.groups,
    )


def print_judgement(found: Judgement, table: CaseTable) -> None:
    """Print scores, and what there is to say of the probabilities."""
    print_scores(found.comparison, table.groups)
    curve = found.calibration
    output.print(
        f"calibration error {curve.error:.4f}, {curve.error_in_doubt:.4f} over the "
        f"{100 * curve.in_doubt:.2g} % of pixels in doubt",
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
