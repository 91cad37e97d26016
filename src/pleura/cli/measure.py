"""`pleura measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from pleura.cli.common import PATH, echo, json_option, roi_option, units_option, write_json

if TYPE_CHECKING:
    from pleura.intensity.mapping import UnitsOption
    from pleura.masks.selection import RoiSelection
    from pleura.measurement.result import Measurement

_EPILOG = """\
\b
Examples:
  pleura measure chest.nii.gz lungs.nii.gz
  pleura measure dicom_folder/ rtstruct.dcm
  pleura measure chest.nii.gz labels.nii.gz --classes lung=1,lesion=2
  pleura measure dicom_folder/ lungs.nii.gz --json lungs.json --csv slices.csv
  pleura measure chest.nii.gz                             # segments the lungs first
"""


@click.command("measure", epilog=_EPILOG)
@click.argument("scan", type=PATH)
@click.argument("mask", type=PATH, required=False)
@click.option(
    "--classes",
    metavar="NAME=LABEL,...",
    help="Measure several classes of the mask instead, such as lung=1,lesion=2.  [default: the "
    "lungs, or each label of a mask without lungs]",
)
@roi_option
@units_option
@click.option("--csv", "csv_file", type=PATH, help="Also write one row per slice and region.")
@json_option
def command(
    scan: Path,
    mask: Path | None,
    classes: str | None,
    roi: RoiSelection | None,
    units: UnitsOption,
    window: tuple[float, float] | None,
    csv_file: Path | None,
    json_file: Path | None,
) -> None:
    """Measure volume, density and emphysema of the lungs of a SCAN, or classes of a MASK.

    MASK is a mask of the lungs or of several classes: labels, a DICOM SEG, an RT Structure Set or
    .seg.nrrd. By default, the default model segments the lungs.
    """
    if classes is not None and mask is None:
        raise click.UsageError("--classes selects classes of MASK, which is missing")
    if classes is not None and roi is not None:
        raise click.UsageError("--classes excludes --roi and --labels")
    from pleura.formats.read import read
    from pleura.masks.exchanged import detect_exchanged
    from pleura.masks.selection import parse_roi
    from pleura.measurement.measure import measure

    with detect_exchanged(scan, mask):
        image = read(scan, units=units, window=window)
        selected = None if classes is None else parse_roi(classes)
        measurement = measure(image, mask, roi=roi, classes=selected)
    write_json(json_file, measurement.to_dict())
    if csv_file is not None:
        measurement.write_slices(csv_file)
    if str(json_file) != "-":
        _print(measurement)


def _print(measurement: Measurement) -> None:
    from pleura.cli.common import stdout_console
    from pleura.masks.mask import flag_title

    columns = (region.region for region in measurement.regions)
    table = Table("", *columns, box=None, pad_edge=False)
    for row in measurement.table():
        table.add_row(*row)
    stdout_console().print(table)
    if measurement.labels:
        echo(measurement.labels)
    for name, message in measurement.flags.items():
        echo(f"flag     {flag_title(name)}: {message}", fg="yellow", err=True)
