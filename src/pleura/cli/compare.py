"""`pleura compare`."""

from __future__ import annotations

from pathlib import Path

import click

from pleura.cli.common import (
    PATH,
    command_line,
    echo,
    json_option,
    progress_bar,
    quiet_option,
    stdout_console,
    write_json,
)
from pleura.cli.scores import by_option, cases_option, print_scores, read_case_table

_EPILOG = """\
\b
Examples:
  pleura compare out/ references/
  pleura compare lungs.nii.gz reference.nii.gz --json scores.json
  pleura compare out/ references/ --cases cases.csv --by scanner --csv scores.csv
  pleura compare out/ references/ --images scans/ --report report.html
  pleura compare ours/ references/ --against theirs/        # do the two differ?
"""


@click.command("compare", epilog=_EPILOG)
@click.argument("predicted", type=PATH)
@click.argument("reference", type=PATH)
@cases_option
@by_option
@click.option("--against", type=PATH, help="Masks of another model on the same references.")
@click.option("--csv", "csv_file", type=PATH, help="Also write a row a case and region.")
@click.option("--report", type=PATH, help="Also write a page to look at (.html).")
@click.option("--images", type=PATH, help="The scans, for the pictures of the page.")
@json_option
@quiet_option
def command(
    predicted: Path,
    reference: Path,
    cases: Path | None,
    by: str | None,
    against: Path | None,
    csv_file: Path | None,
    report: Path | None,
    images: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Compare PREDICTED masks of any tool with REFERENCE masks: two folders, or two files.

    Masks are matched by name, with or without an ending such as _lungs. Where both have sides
    (labels 1 and 2, or five lobes), right and left lung are scored as well.
    """
    from pleura.evaluation.compare import compare, differences
    from pleura.evaluation.statistics import interval_text
    from pleura.files.atomic import write_text

    table = read_case_table(cases, by)
    with progress_bar("comparing", quiet, "cases") as progress:
        found = compare(predicted, reference, patients=table.patients, progress=progress)
    table.warn(found)
    told = found.to_dict()
    if table.groups is not None:
        parts = found.by_group(table.groups)
        told["groups"] = {name: part.summary() for name, part in parts.items()}
    if csv_file is not None:
        write_text(csv_file, found.to_csv())
    if report is not None:
        from pleura.report.comparison import comparison_page

        page = comparison_page(found, predicted, reference, images, command_line(), table.groups)
        page.write(report)
    if against is not None:
        with progress_bar("comparing the other", quiet, "cases") as progress:
            other = compare(against, reference, patients=table.patients, progress=progress)
        changes = differences(found, other, "lungs")
        told["against"] = {name: vars(change) for name, change in changes.items()}
    write_json(json_file, told)
    for text, masks in found.labels.items():
        echo(f"labels   {masks} masks; {text}", fg="yellow", err=True)
    if str(json_file) != "-":
        print_scores(found, table.groups)
        if against is not None:
            for name in ("dice", "hd95"):
                change = changes[name]
                stdout_console().print(
                    f"{name} of the other, less this: {change.mean:+.4f} "
                    f"({interval_text(change.interval, '+.4f')}; p = {change.p:.3g})"
                )
