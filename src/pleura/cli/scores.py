"""Options and tables of the commands that score masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.cells import cell_len, set_cell_size

from pleura.cli.common import PATH, Command, echo
from pleura.names import printable

if TYPE_CHECKING:
    from pleura.evaluation.cases import CaseTable
    from pleura.evaluation.comparison import Comparison


def cases_option(command: Command) -> Command:
    """Add the option ``--cases`` to a command."""
    return click.option(
        "--cases",
        type=PATH,
        help="CSV with one row per case: name, patient (for confidence intervals), other columns.",
    )(command)


def by_option(command: Command) -> Command:
    """Add the option ``--by`` to a command."""
    return click.option(
        "--by", metavar="COLUMN", help="Column of --cases; also print the scores of each group."
    )(command)


def case_table(path: Path | None, by: str | None) -> CaseTable:
    """Return the table of `--cases`, grouped by the column of `--by`."""
    from pleura.evaluation.cases import CaseTable, read_case_table

    if path is not None:
        return read_case_table(path, by)
    if by is not None:
        raise click.UsageError("--by is a column of a table: add --cases FILE.csv")
    return CaseTable()


def print_scores(comparison: Comparison) -> None:
    """Print a table of each region, and of Dice and HD95 of each group of cases."""
    from pleura.evaluation.comparison import outcomes_text, summary_row

    for region in comparison.regions:
        first = next(s for s in (*comparison.defined(region), *comparison.scores))
        counts = outcomes_text(comparison.outcome_counts(region))
        units = f"{first.unit}, {first.unit}2, {first.unit}{first.ndim}"
        echo(f"{region}: {counts}; in {units}")
        summary = comparison.summary(region)
        print_summary("metric", (summary_row(*item) for item in summary.items()))
    if groups := comparison.by_group():
        for metric in ("dice", "hd95"):
            summaries = ((name, part.summary().get(metric)) for name, part in groups.items())
            rows = (summary_row(name, values) for name, values in summaries if values is not None)
            print_summary(f"{metric} of lungs, by group", rows)


def print_summary(first: str, rows: Iterable[list[str]]) -> None:
    """Print rows of statistics below the name of their first column, without wrapping lines."""
    from pleura.evaluation.comparison import SUMMARY_COLUMNS

    table = [[first, *SUMMARY_COLUMNS[1:]], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        echo("  ".join(map(set_cell_size, row, widths)).rstrip())
