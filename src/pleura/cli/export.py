"""`pleura export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import PATH, echo, json_option, write_json

if TYPE_CHECKING:
    from pleura.engine.model_file import InputUnits

_EPILOG = """\
\b
Examples:
  pleura export runs/first -o lungs.onnx
  pleura export runs/first -o lungs.onnx --int8 images/
  pleura export runs/first -o grey.onnx --input grey
  pleura export runs/first runs/second runs/third -o better.onnx
  pleura segment chest.nii.gz --model lungs.onnx -o lungs.nii.gz
"""


@click.command("export", epilog=_EPILOG)
@click.argument("run", type=PATH, nargs=-1, required=True)
@click.option("--output", "-o", type=PATH, required=True, help="Model file to write (.onnx).")
@click.option(
    "--input",
    "units",
    type=click.Choice(["HU", "grey"], case_sensitive=False),
    help="Units of the model's input: HU, or grey values 0 to 255 (of a run trained in HU: of its "
    "window); by default those of the training images.",
)
@click.option("--name", help="Name of the model; the name of the first run folder by default.")
@click.option("--data", default="", help="Description of the training data, in one sentence.")
@click.option("--licence", default="", help="Licence of the model.")
@click.option(
    "--mirror",
    is_flag=True,
    help="Average the probabilities of each slice and of its mirror image: usually more accurate, "
    "at twice the time.",
)
@click.option(
    "--int8",
    "calibration_images",
    type=PATH,
    metavar="IMAGES",
    help="Quantise to 8-bit integers with IMAGES, the training images; faster on CPUs without "
    "bfloat16.",
)
@json_option
def command(
    run: tuple[Path, ...],
    output: Path,
    units: InputUnits | None,
    name: str | None,
    data: str,
    licence: str,
    mirror: bool,
    calibration_images: Path | None,
    json_file: Path | None,
) -> None:
    """Export a training run as a single ONNX model file.

    `pleura segment --model` uses the file, without PyTorch. The model takes HU, also if the run
    was trained on scaled or shifted HU. The model of a run that was trained on greyscale images
    takes grey values. Several runs become an ensemble with their mean probability, which is
    usually more accurate and takes the time of all of them.
    """
    from pleura.training.export import ExportOptions, export

    options = ExportOptions(
        calibration_images, name, data=data, licence=licence, input=units, mirror=mirror
    )
    metadata = export(run, output, options)
    write_json(json_file, metadata.to_dict())
    if str(json_file) != "-":
        echo(
            f"{output}: model '{metadata.name}', input {metadata.input}, "
            f"threshold {metadata.threshold:g}"
        )
