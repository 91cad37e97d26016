"""`pleura predict`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pleura.cli.common import PATH, echo, json_option, progress_bar, silent_option, write_json
from pleura.cli.types import Number
from pleura.names import counted

_EPILOG = """\
\b
Examples:
  pleura predict runs/first slice.tif -o out/
  pleura predict runs/first images/ -o out/ --overlay
  pleura predict runs/first images/ -o out/ --masked --crop --json out/predictions.json
"""


@click.command("predict", epilog=_EPILOG)
@click.argument("run", type=PATH)
@click.argument("inputs", metavar="IMAGE_OR_FOLDER", type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="Folder to write to.")
@click.option(
    "--threshold",
    type=Number(0, 1),
    help="Smallest probability of a lung pixel.  [default: the threshold of the run]",
)
@click.option("--overlay", is_flag=True, help="Also write the image with the contour of the mask.")
@click.option("--masked", is_flag=True, help="Also write the image with air outside the lungs.")
@click.option(
    "--crop", is_flag=True, help="Crop the masked image to the bounding box of the lungs."
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@json_option
@silent_option
def command(
    run: Path,
    inputs: Path,
    output: Path,
    threshold: float | None,
    overlay: bool,
    masked: bool,
    crop: bool,
    overwrite: bool,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Predict the lung masks of images with a training RUN.

    The mask of each image has the name and the size of the image, and the values 0 and 255; with
    several classes, the values of the recipe key data.labels.
    """
    from pleura.training.predict import PredictionOptions, predict
    from pleura.training.run import open_run

    if crop and not masked:
        raise click.UsageError("--crop applies to the masked image: add --masked")
    opened = open_run(run)
    options = PredictionOptions(threshold, overlay, masked, crop, overwrite)
    with progress_bar("predicting", quiet) as progress:
        results = predict(opened, inputs, output, options, progress)
    write_json(json_file, {"run": run.name, "images": [asdict(r) for r in results]})
    failed = [result for result in results if result.error]
    for result in failed:
        echo(f"{result.image}: {result.error}", fg="red", err=True)
    if str(json_file) != "-" and not quiet:
        echo(f"{counted(len(results) - len(failed), 'mask')} in {output}")
    return 1 if failed else 0
