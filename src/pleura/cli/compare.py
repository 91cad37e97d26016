"""`pleura compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pleura.cli.common import (
    PATH,
    command_line,
    echo,
    json_option,
    progress_bar,
    quiet_option,
    write_json,
)
from pleura.cli.scores import by_option, case_table, cases_option, print_scores

_EPILOG = """\
\b
Examples:
  pleura compare out/ references/
  pleura compare lungs.nii.gz reference.nii.gz --json scores.json
  pleura compare out/ references/ --cases cases.csv --by scanner --csv scores.csv
  pleura compare out/ references/ --images scans/ --report report.html
  pleura compare ours/ references/ --against theirs/
"""


@click.command("compare", epilog=_EPILOG)
@click.argument("predicted", type=PATH)
@click.argument("reference", type=PATH)
@cases_option
@by_option
@click.option(
    "--against",
    type=PATH,
    help="Masks of another model for the same references; test whether the two models differ.",
)
@click.option("--csv", "csv_file", type=PATH, help="Also write one row per case and region.")
@click.option("--report", type=PATH, help="Also write an HTML report.")
@click.option("--images", type=PATH, help="The scans, for the pictures of the report.")
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
    """Compare PREDICTED masks with REFERENCE masks: two folders, or two files.

    Masks of any tool are matched by name, with or without a suffix such as _lungs. If both masks
    distinguish the lungs (labels 1 and 2, or five lobes), each lung is scored as well.
    """
    from pleura.evaluation.compare import compare
    from pleura.evaluation.statistics import interval_text
    from pleura.report.comparison import write_comparison_report

    table = case_table(cases, by)
    with progress_bar("comparing", quiet, "cases") as progress:
        found = compare(predicted, reference, cases=table, progress=progress)
    if csv_file is not None:
        found.write_csv(csv_file)
    if report is not None:
        write_comparison_report(report, found, predicted, reference, images, command=command_line())
    content, differences = found.to_dict(), {}
    if against is not None:
        with progress_bar("comparing the other", quiet, "cases") as progress:
            other = compare(against, reference, cases=table, progress=progress)
        differences = found.differences(other)
        content["differences"] = {name: asdict(one) for name, one in differences.items()}
    write_json(json_file, content)
    for text, masks in found.label_decisions.items():
        echo(f"labels   {masks} masks; {text}", fg="yellow", err=True)
    if str(json_file) != "-":
        print_scores(found)
        for name in ("dice", "hd95") if differences else ():
            one = differences[name]
            interval = interval_text(one.confidence_interval, "+.4f")
            echo(
                f"{name}, --against minus PREDICTED: {one.mean:+.4f} "
                f"(95 % CI {interval}; p = {one.p_value:.3g})"
            )
