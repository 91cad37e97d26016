"""`pleura compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    command_line,
    echo,
    json_option,
    progress_bar,
    quiet_option,
    roi_option,
    write_json,
)
from pleura.cli.scores import by_option, case_table, cases_option, print_scores

if TYPE_CHECKING:
    from pleura.evaluation.statistics import Difference
    from pleura.masks.selection import RoiSelection

_EPILOG = """\
\b
Examples:
  pleura compare out/ references/
  pleura compare lungs.nii.gz reference.nii.gz --json scores.json
  pleura compare out/ references/ --cases cases.csv --by scanner --csv scores.csv
  pleura compare out/ references/ --images scans/ --report report.html
  pleura compare ours/ references/ --against theirs/
  pleura compare lungs.nii.gz rtstruct.dcm --roi Lung_R=1,Lung_L=2
  pleura compare predicted/ masks/ --classes lung=1,lesion=2
"""


@click.command("compare", epilog=_EPILOG)
@click.argument("predicted", type=PATH)
@click.argument("reference", type=PATH)
@cases_option
@by_option
@click.option(
    "--against",
    type=PATH,
    help="Masks of another model for the same references; also test whether the models differ.",
)
@click.option(
    "--csv", "csv_file", type=PATH, help="Also write one row per case and region, as CSV."
)
@click.option("--report", type=PATH, help="Also write an HTML report to this file.")
@click.option(
    "--images",
    type=PATH,
    help="Scan, or folder of scans: contours are drawn on their grids, and the report shows their "
    "slices.",
)
@roi_option
@click.option(
    "--classes",
    metavar="NAME=LABEL,...",
    help="Score several classes of both masks, such as lung=1,lesion=2.  [default: lungs]",
)
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
    roi: RoiSelection | None,
    classes: str | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Compare PREDICTED masks with REFERENCE masks: two folders, or two files.

    Masks of any tool are matched by name, with or without a suffix such as _lungs. If both masks
    distinguish the lungs (labels 1 and 2, or five lobes), each lung is scored as well.
    """
    if roi is not None and classes is not None:
        raise click.UsageError("--classes excludes --roi and --labels")
    from pleura.masks.selection import parse_roi
    from pleura.report.comparison import ComparisonOptions, compare_and_report

    options = ComparisonOptions(
        case_table(cases, by),
        against,
        csv_file,
        report,
        images,
        command_line(),
        roi,
        None if classes is None else parse_roi(classes),
    )
    with progress_bar("comparing", quiet, "cases") as progress:
        result = compare_and_report(predicted, reference, options, progress)
    write_json(json_file, result.to_dict())
    for text, masks in result.comparison.label_decisions.items():
        echo(f"labels   {masks} masks; {text}", fg="yellow", err=True)
    if str(json_file) == "-":
        return
    print_scores(result.comparison)
    _print_differences(result.differences)
    for region, differences in result.class_differences.items():
        _print_differences(differences, f"{region}, ")


def _print_differences(differences: Mapping[str, Difference], prefix: str = "") -> None:
    from pleura.evaluation.statistics import interval_text

    for name in ("dice", "hd95") if differences else ():
        difference = differences[name]
        interval = interval_text(difference.confidence_interval, "+.4f")
        echo(
            f"{prefix}{name}, --against minus PREDICTED: {difference.mean:+.4f} "
            f"(95 % CI {interval}; p = {difference.p_value:.3g})"
        )
