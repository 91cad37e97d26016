"""`pleura compare-recipes`."""

from __future__ import annotations

from pathlib import Path

import click

from pleura.cli.common import PATH, echo, json_option, write_json
from pleura.cli.scores import print_table
from pleura.names import counted

_EPILOG = """\
\b
Examples:
  pleura compare-recipes folds-quick/ folds-exercise/
  pleura compare-recipes folds-quick/ folds-exercise/ --csv differences.csv
"""


@click.command("compare-recipes", epilog=_EPILOG)
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option("--csv", "csv_file", type=PATH, help="Also write one row per case, as CSV.")
@json_option
def command(first: Path, second: Path, csv_file: Path | None, json_file: Path | None) -> None:
    """Test whether the recipes of two cross-validations differ, case by case.

    FIRST and SECOND are folders that `pleura cross-validate` wrote, of the same images and folds.
    Differences are SECOND minus FIRST, with bootstrap intervals over patients and Wilcoxon's
    signed-rank test on the means of the patients.
    """
    from pleura.training.recipe_comparison import DIFFERENCE_COLUMNS, compare_recipes

    result = compare_recipes(first, second)
    if csv_file is not None:
        result.write_csv(csv_file)
    write_json(json_file, result.to_dict())
    if str(json_file) == "-":
        return
    for region in result.regions:
        patients = result.patient_differences("dice", region)
        cases = len(result.case_differences("dice", region))
        echo(f"{region}: {counted(cases, 'case')} of {counted(len(patients), 'patient')}")
        print_table(list(DIFFERENCE_COLUMNS), result.rows(region))
    echo("difference: second minus first; better, worse: patients for whom second is better, worse")
