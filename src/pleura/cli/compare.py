"""`pleura compare`."""

from __future__ import annotations

import csv
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from pleura.cli.common import (
    PATH,
    json_option,
    output,
    progress_bar,
    quiet_option,
    write_json_option,
)

if TYPE_CHECKING:
    from pleura.evaluation.compare import Comparison

_EPILOG = """\
\b
Examples:
  pleura compare out/ references/
  pleura compare lungs.nii.gz reference.nii.gz --json scores.json
  pleura compare out/ references/ --patients patients.csv --csv cases.csv
  pleura compare out/ references/ --images scans/ --report report.html
  pleura compare ours/ references/ --against theirs/        # do the two differ?
"""


@click.command("compare", epilog=_EPILOG)
@click.argument("predicted", type=PATH)
@click.argument("reference", type=PATH)
@click.option("--patients", type=PATH, help="CSV of name and patient: intervals are over patients.")
@click.option("--against", type=PATH, help="Masks of another model on the same references.")
@click.option("--csv", "csv_file", type=PATH, help="Also write a row a case and region.")
@click.option("--report", type=PATH, help="Also write a page to look at (.html).")
@click.option("--images", type=PATH, help="The scans, for the pictures of the page.")
@json_option
@quiet_option
def command(
    predicted: Path,
    reference: Path,
    patients: Path | None,
    against: Path | None,
    csv_file: Path | None,
    report: Path | None,
    images: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Hold PREDICTED masks of any tool against REFERENCE masks: two folders, or two files.

    Masks are matched by name, with or without an ending such as _lungs. Labels 1 and 2 are scored
    as right and left lung as well.
    """
    from pleura.evaluation.compare import compare, differences
    from pleura.scan.pictures import write_atomically

    known = None if patients is None else _patients(patients)
    with progress_bar("comparing", quiet, "cases") as progress:
        found = compare(predicted, reference, patients=known, progress=progress)
    told = found.to_dict()
    if against is not None:
        with progress_bar("comparing the other", quiet, "cases") as progress:
            other = compare(against, reference, patients=known, progress=progress)
        changes = differences(found, other, "lungs")
        told["against"] = {name: vars(change) for name, change in changes.items()}
    write_json_option(json_file, told)
    if csv_file is not None:
        text = found.to_csv()
        write_atomically(csv_file, lambda file: file.write(text.encode()))
    if report is not None:
        from pleura.report.comparison import comparison_page

        comparison_page(found, predicted, reference, images, _command_line()).write(report)
    if str(json_file) != "-":
        _print(found)
        if against is not None:
            for name in ("dice", "hd95"):
                change = changes[name]
                output.print(
                    f"{name} of the other, less this: {change.mean:+.4f} "
                    f"({change.low:+.4f} to {change.high:+.4f}; p = {change.p:.3g})"
                )


def _command_line() -> str:
    """Return the command as it was given, with file names alone: pages are passed on."""
    words = [Path(word).name if "/" in word or "\\" in word else word for word in sys.argv[1:]]
    return shlex.join(["pleura", *words])


def _patients(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {row["name"]: row["patient"] for row in csv.DictReader(file)}


def _print(found: Comparison) -> None:
    for region in found.regions:
        spreads = found.spreads(region)
        counts = ", ".join(f"{n} {what}" for what, n in found.outcomes(region).items() if n)
        unit = next(s.unit for s in found.scores if s.region == region)
        table = Table("metric", "mean", "95 % interval", "SD", "median", "worst", box=None)
        for name, one in spreads.items():
            values = (one.mean, one.sd, one.median, one.worst)
            mean, sd, median, worst = (f"{value:.4g}" for value in values)
            table.add_row(name, mean, f"{one.low:.4g} to {one.high:.4g}", sd, median, worst)
        output.print(f"{region}: {counts}; lengths in {unit}", highlight=False)
        output.print(table)
