"""`pleura export`."""

from __future__ import annotations

from pathlib import Path

import click

from pleura.cli.common import PATH, echo, json_option, write_json

_EPILOG = """\
\b
Examples:
  pleura export runs/first -o lungs.onnx
  pleura export runs/first -o lungs.onnx --int8 images/
  pleura export runs/first runs/second runs/third -o better.onnx
  pleura segment chest.nii.gz --model lungs.onnx -o lungs.nii.gz
"""


@click.command("export", epilog=_EPILOG)
@click.argument("run", type=PATH, nargs=-1, required=True)
@click.option("--output", "-o", type=PATH, required=True, help="Model file to write (.onnx).")
@click.option("--name", help="What the model is called; the run folder's name if unset.")
@click.option("--data", default="", help="What it was trained on, in a sentence.")
@click.option("--licence", default="", help="Under which licence it may be used.")
@click.option(
    "--int8",
    "eight_bit",
    type=PATH,
    metavar="IMAGES",
    help="Compute in 8 bits, faster where there is no bfloat16; IMAGES are those of the training.",
)
@json_option
def command(
    run: tuple[Path, ...],
    output: Path,
    name: str | None,
    data: str,
    licence: str,
    eight_bit: Path | None,
    json_file: Path | None,
) -> None:
    """Make a RUN one file that `segment --model` takes, without PyTorch.

    The file holds all from HU to probability. A run trained on HU times a factor, or with an
    offset, gives a model for HU all the same; one trained on grey pictures gives none. Several
    runs become one model, which takes the mean of their probabilities: most often more right
    than each of them, and as much slower.
    """
    from pleura.training.export import export

    named = {} if name is None else {"name": name}
    record = export(run, output, eight_bit, data=data, licence=licence, **named)
    write_json(json_file, record.to_dict())
    if str(json_file) != "-":
        echo(f"{output}: model '{record.name}', threshold {record.threshold:g}")
