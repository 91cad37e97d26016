"""`pleura measure`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from pleura.cli.common import PATH, echo, json_option, units_option, write_json

if TYPE_CHECKING:
    from pleura.measurement.measure import Measurement

_EPILOG = """\
\b
Examples:
  pleura measure chest.nii.gz lungs.nii.gz
  pleura measure dicom_folder/ lungs.nii.gz --json lungs.json --csv slices.csv
  pleura measure chest.nii.gz                             # with the lungs that pleura finds
"""


@click.command("measure", epilog=_EPILOG)
@click.argument("scan", type=PATH)
@click.argument("mask", type=PATH, required=False)
@units_option
@click.option("--csv", "csv_file", type=PATH, help="Also write a row a slice and region.")
@json_option
def command(
    scan: Path, mask: Path | None, units: Any, csv_file: Path | None, json_file: Path | None
) -> None:
    """Measure the lungs of a SCAN under a MASK: volume, density, emphysema, where.

    Without MASK the lungs are found first.
    """
    from pleura.formats.read import read
    from pleura.measurement.measure import measure
    from pleura.segmentation.segmenter import Segmenter

    opened = read(scan, units=units)
    if mask is not None:
        found = measure(opened, mask)
    else:
        with Segmenter() as segmenter:
            found = measure(opened, segmenter.segment(opened, warn=False))
    write_json(json_file, found.to_dict())
    if csv_file is not None:
        _write_slices(csv_file, found)
    if str(json_file) != "-":
        _print(found)


def _write_slices(path: Path, found: Measurement) -> None:
    from pleura.files.atomic import write_text

    rows = [
        {**{k: v for k, v in vars(one).items() if k != "percentiles"}, **one.percentiles}
        for one in found.slices
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["slice"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _print(found: Measurement) -> None:
    from pleura.cli.common import output

    table = Table("", *(one.region for one in found.regions), box=None, pad_edge=False)
    for name, value in _ROWS.items():
        table.add_row(name, *(_text(value(one)) for one in found.regions))
    output.print(table)
    if found.labels:
        echo(found.labels)
    for name, what in found.flags.items():
        echo(f"flag     {name}: {what}", fg="yellow", err=True)


def _of_densities(get: Any) -> Any:
    return lambda one: None if one.densities is None else get(one.densities)


_ROWS: dict[str, Any] = {
    "voxels": lambda one: one.voxels,
    "volume, ml": lambda one: one.volume_ml,
    "tissue, g": lambda one: one.tissue_g,
    "mean, HU": _of_densities(lambda d: d.mean),
    "SD, HU": _of_densities(lambda d: d.sd),
    "Perc15, HU": _of_densities(lambda d: d.percentiles["Perc15"]),
    "LAA-950, %": _of_densities(lambda d: 100 * d.low_attenuation["LAA-950"]),
    "LAA-910, %": _of_densities(lambda d: 100 * d.low_attenuation["LAA-910"]),
    "LAA-856, %": _of_densities(lambda d: 100 * d.low_attenuation["LAA-856"]),
    "HAA, %": _of_densities(lambda d: 100 * d.high_attenuation),
    "normally aerated, %": _of_densities(lambda d: 100 * d.aeration["normally_aerated"]),
    "not aerated, %": _of_densities(lambda d: 100 * d.aeration["not_aerated"]),
}


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
