"""`pleura segment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pleura.cli.common import PATH, json_option, progress_bar, quiet_option, write_json_option

if TYPE_CHECKING:
    from pleura.segmentation.segment import Segmentation

_EPILOG = """\
\b
Examples:
  pleura segment chest.nii.gz --model lungs.onnx -o lungs.nii.gz
  pleura segment dicom_folder/ --model lungs.onnx -o lungs.nii.gz
  pleura segment slice.png --model lungs.onnx -o slice_lungs.png
"""


@click.command("segment", epilog=_EPILOG)
@click.argument("scan", type=PATH)
@click.option("--model", type=PATH, required=True, help="A file that `pleura export` wrote.")
@click.option(
    "--output",
    "-o",
    type=PATH,
    required=True,
    help="Mask to write: .nii.gz, .nii, .nrrd, .mha, .tif, .png or .npy.",
)
@click.option("--series", help="Series number or UID, where a folder holds several.")
@click.option("--stack", is_flag=True, help="Take a folder of pictures as one volume.")
@click.option(
    "--units",
    type=click.Choice(["auto", "hu", "offset", "grey", "inverted"]),
    default="auto",
    show_default=True,
    help="What the values are: HU, HU plus 1024, or grey with air dark or bright.",
)
@click.option("--flip", is_flag=True, help="A picture shows the patient's left on its left.")
@click.option("--single-label", is_flag=True, help="Both lungs as 1, not right 1 and left 2.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Probability; the model's if unset.")
@click.option("--threads", type=click.IntRange(1), help="As many as there are cores if unset.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@json_option
@quiet_option
def command(
    scan: Path,
    model: Path,
    output: Path,
    series: str | None,
    stack: bool,
    units: str,
    flip: bool,
    single_label: bool,
    threshold: float | None,
    threads: int | None,
    overwrite: bool,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Find the lungs in a SCAN: 1 right, 2 left, on exactly its grid."""
    from pleura.errors import DataError
    from pleura.scan.io import read
    from pleura.scan.write import write_mask
    from pleura.segmentation.segment import Segmenter

    if output.exists() and not overwrite:
        raise DataError(
            "the file is there already", where=output, fix="choose another, or add --overwrite"
        )
    opened = read(scan, series=series, stack=stack, units=units, flip=flip)  # type: ignore[arg-type]
    with (
        Segmenter(model, threads=threads, threshold=threshold, sides=not single_label) as segmenter,
        progress_bar("segmenting", quiet) as progress,
    ):
        result = segmenter.segment(opened, progress)
    write_mask(output, result.mask)
    report = _report(result, output)
    write_json_option(json_file, report)
    if str(json_file) != "-":
        _print(report)


def _report(result: Segmentation, output: Path) -> dict[str, Any]:
    mask = result.mask
    known = mask.geometry.spacing_known
    labels = {"right": 1, "left": 2} if mask.sides else {"lung": 1}
    return {
        "scan": str(mask.scan),
        "mask": output.name,
        "ml": {k: round(mask.volume_ml(v), 1) for k, v in labels.items()} if known else None,
        "voxels": {k: int((mask.labels == v).sum()) for k, v in labels.items()},
        "decisions": [
            {"about": d.about, "choice": d.choice, "reason": d.reason, "warning": d.warning}
            for d in result.decisions
        ],
        "flags": {flag.name: flag.what for flag in result.flags},
        "seconds": {stage: round(s, 3) for stage, s in result.seconds.items()},
    }


def _print(report: dict[str, Any]) -> None:
    click.echo(report["scan"])
    for decision in report["decisions"]:
        text = f"{decision['about']}: {decision['choice']} ({decision['reason']})"
        if decision["warning"]:
            click.secho(f"warning  {text}", fg="yellow", err=True)
        else:
            click.echo(text)
    for what in report["flags"].values():
        click.secho(f"flag     {what}", fg="red", err=True)
    sizes = report["ml"] or report["voxels"]
    unit = "ml" if report["ml"] else "pixels"
    click.echo(", ".join(f"{side} {size:.0f} {unit}" for side, size in sizes.items()))
    seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in report["seconds"].items())
    click.echo(f"{report['mask']} ({seconds})")
