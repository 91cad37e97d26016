"""`pleura segment`."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from pleura.cli.common import (
    PATH,
    echo,
    json_option,
    path_or_url,
    progress_bar,
    silent_option,
    units_option,
    write_json,
)
from pleura.cli.segment_result import print_report, print_results
from pleura.cli.types import Number, WholeNumber, choice

if TYPE_CHECKING:
    from pleura.cohort.options import OutputFiles, OutputFormat
    from pleura.engine.runtimes import Runtime
    from pleura.intensity.mapping import UnitsOption
    from pleura.segmentation.dense import DenseOption

_EPILOG = """\
\b
Examples:
  pleura segment chest.nii.gz -o lungs.nii.gz
  pleura segment dicom_folder/ -o lungs.nii.gz --preview
  pleura segment dicom_folder/ -o out/ --format dicom-seg
  pleura segment slice.png -o slice_lungs.png
  pleura segment chest.nii.gz -o space.nii.gz --dense include   # with consolidated lung
  pleura segment cohort/ -o out/ --jobs 2 --model mine.onnx
  pleura segment cohort/ -o out/ --shard 3/40               # one job of an array of 40 jobs
  pleura segment cohort/ -o out/ --dask tcp://head:8786     # on the workers of a Dask cluster
  pleura segment s3://bucket/scans -o s3://bucket/lungs     # fsspec addresses
  pleura segment scans.csv -o out/                          # a manifest: path, name, units, ...

If the suffix of --output is that of a mask, SCAN is segmented as one scan: .nii.gz, .nii, .nrrd,
.seg.nrrd, .mha, .dcm (DICOM SEG), .rtstruct.dcm, .tif, .png, .npy. Otherwise --output is a folder,
and every scan in SCAN is segmented; the exit code is 1 if one fails. Addresses and --dask require
`pip install "pleura[cluster]"`.
"""

_FORMATS = [
    *("same", "nifti", "nrrd", "seg-nrrd", "mha", "tiff", "png", "npy", "dicom-seg", "rtstruct")
]

_FILE_SUFFIX = re.compile(r"\.(?!v\d+$)(?=.*[a-z])\w{1,5}", re.IGNORECASE)
"""Suffix of an output that is meant to be a file: .bz2, .h5, .docx; not .v2 or .2024."""


def _shard(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int]:
    """Parse I/N."""
    if value is None:
        return 1, 1
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"{value} is not a shard: pass I/N with 1 <= I <= N, such as 3/40")
    return int(index), int(count)


@click.command("segment", epilog=_EPILOG)
@click.argument("scan", type=path_or_url)
@click.option(
    "--model",
    type=PATH,
    help="Model file of `pleura export`, or `accurate`, an ensemble.  [default: the shipped model]",
)
@click.option("--output", "-o", type=path_or_url, required=True, help="Mask or folder to write.")
@click.option(
    "--format",
    "output_format",
    type=choice(_FORMATS),
    default="same",
    show_default=True,
    help="Format of the masks of a cohort; same: the format of each scan, and NIfTI for DICOM.",
)
@click.option(
    "--jobs",
    type=WholeNumber(1),
    default=1,
    show_default=True,
    help="Segment this number of scans at the same time.",
)
@click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Segment every N-th scan only, from the I-th on.  [default: all scans]",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Segment on the workers of this Dask scheduler.  [default: on this machine]",
)
@click.option(
    "--retries",
    type=WholeNumber(0),
    default=0,
    show_default=True,
    help="Number of further attempts for a scan that failed for a temporary reason.",
)
@click.option(
    "--series",
    help="Read the DICOM series with this number or UID.  [default: chosen automatically]",
)
@click.option("--stack", is_flag=True, help="Read a folder of images as one volume.")
@units_option
@click.option(
    "--flip", is_flag=True, help="The left of the patient is on the left of the image (PNG, TIFF)."
)
@click.option(
    "--single-label", is_flag=True, help="Label both lungs 1, instead of right 1 and left 2."
)
@click.option(
    "--dense",
    type=choice(["exclude", "include"]),
    default="exclude",
    show_default=True,
    help="Consolidated and collapsed lung, and masses at the pleura. Include needs HU.",
)
@click.option(
    "--threshold",
    type=Number(0, 1),
    help="Smallest probability of a lung voxel.  [default: the threshold of the model]",
)
@click.option("--threads", type=WholeNumber(1), help="Number of CPU threads.  [default: all cores]")
@click.option(
    "--runtime",
    type=choice(["openvino", "onnxruntime"]),
    default="openvino",
    show_default=True,
    help="Library that runs the model; onnxruntime (an extra) uses GPUs.",
)
@click.option(
    "--preview", is_flag=True, help="Also write a PNG of slices with the contours of the mask."
)
@click.option("--measure", is_flag=True, help="Also measure the lungs and add it to the report.")
@click.option(
    "--binary", is_flag=True, help="In TIFF, PNG and .npy masks, write lung as 255, not 1 and 2."
)
@click.option(
    "--masked", type=PATH, help="Also write the CT in HU with -1024 outside the lungs to this file."
)
@click.option("--crop", is_flag=True, help="Crop the masked CT to the bounding box of the lungs.")
@click.option(
    "--probability", type=PATH, help="Also write the probability of lung times 255 to this file."
)
@click.option("--report", type=PATH, help="Also write an HTML report of the cohort to this file.")
@click.option(
    "--anonymous",
    is_flag=True,
    help="Name the results of a cohort by hashes, and omit the paths of scans from them.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@json_option
@silent_option
def command(
    scan: Path | str,
    model: Path | None,
    output: Path | str,
    output_format: OutputFormat,
    jobs: int,
    shard: tuple[int, int],
    dask: str | None,
    retries: int,
    series: str | None,
    stack: bool,
    units: UnitsOption,
    window: tuple[float, float] | None,
    flip: bool,
    single_label: bool,
    dense: DenseOption,
    threshold: float | None,
    threads: int | None,
    runtime: Runtime,
    preview: bool,
    measure: bool,
    binary: bool,
    masked: Path | None,
    crop: bool,
    probability: Path | None,
    report: Path | None,
    anonymous: bool,
    overwrite: bool,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Segment the lungs in a SCAN, or in every scan of a folder: 1 right, 2 left.

    Each mask is on the grid of its scan.
    """
    from pleura.cohort.options import DistributionOptions, OutputOptions, SegmentationOptions

    options = SegmentationOptions(
        model=model,
        threshold=threshold,
        sides=not single_label,
        dense=dense,
        threads=threads,
        runtime=runtime,
        units=units,
        window=window,
        flip=flip,
    )
    if _is_mask(output):
        _refuse(
            "applies to a cohort: pass a folder as --output",
            report=report is not None,
            dask=dask is not None,
            shard=shard != (1, 1),
            jobs=jobs != 1,
            retries=retries != 0,
            anonymous=anonymous,
            format=output_format != "same",
        )
        files = _output_files(
            mask=Path(output),
            preview=_preview_path(Path(output)) if preview else None,
            masked=masked,
            probability=probability,
            report=None if str(json_file) == "-" else json_file,
            crop=crop,
            binary=binary,
            measure=measure,
            overwrite=overwrite,
        )
        from pleura.cohort.single import segment_file

        if not (quiet or Path(output).parent.exists()):
            echo(f"creating the folder {Path(output).parent}", err=True)
        with progress_bar("segmenting", quiet, "slices") as bar:
            result = segment_file(scan, files, options, series=series, stack=stack, progress=bar)
        if str(json_file) == "-":
            write_json(json_file, result.to_dict())
        else:
            print_report(result, quiet)
        return 0
    _refuse(
        "applies to one scan: pass a mask as --output, such as lungs.nii.gz",
        series=series is not None,
        stack=stack,
        masked=masked is not None,
        crop=crop,
        probability=probability is not None,
    )
    if report is not None and isinstance(output, str):
        raise click.UsageError("--report requires a local folder: pass one as --output")
    from pleura.cohort.batch import segment_cohort

    outputs = OutputOptions(
        format=output_format,
        binary=binary,
        preview=preview or report is not None,
        measure=measure,
        anonymous=anonymous,
        overwrite=overwrite,
    )
    distribution = DistributionOptions(jobs, dask, shard, retries)
    with progress_bar("segmenting", quiet, "scans") as bar:
        results = segment_cohort(
            scan, output, options, outputs=outputs, distribution=distribution, progress=bar
        )
    if report is not None:
        from pleura.report.cohort import cohort_page

        cohort_page(results, Path(output)).write(report)
    write_json(json_file, {"scans": [asdict(result) for result in results]})
    if str(json_file) != "-":
        print_results(results, output, quiet)
    return 1 if any(result.status == "failed" for result in results) else 0


def _is_mask(output: Path | str) -> bool:
    """Return whether the output is the mask of one scan; refuse other files."""
    from pleura.formats.registry import OUTPUT_SUFFIXES

    if str(output).lower().endswith(OUTPUT_SUFFIXES):
        if isinstance(output, str):
            raise click.UsageError(
                "the mask of one scan requires a local path: pass a file, or a folder"
            )
        return True
    suffix = PurePath(str(output)).suffix
    if _FILE_SUFFIX.fullmatch(suffix) and isinstance(output, Path) and not output.is_dir():
        raise click.UsageError(
            f"{suffix} is not the suffix of a mask: choose one of {', '.join(OUTPUT_SUFFIXES)}; "
            "or a folder, without a suffix"
        )
    return False


def _refuse(reason: str, **passed: bool) -> None:
    """Refuse options, by name, that the user has passed."""
    for name, is_passed in passed.items():
        if is_passed:
            raise click.UsageError(f"--{name} {reason}")


def _output_files(**fields: Any) -> OutputFiles:
    """Check the outputs of one scan; an error is one of usage."""
    from pleura.cohort.options import OutputFiles
    from pleura.errors import DataError

    try:
        return OutputFiles(**fields)
    except DataError as error:
        raise click.UsageError(f"{error.message}: {error.hint}") from error


def _preview_path(mask: Path) -> Path:
    from pleura.formats.registry import OUTPUT_SUFFIXES

    suffix = next(suffix for suffix in OUTPUT_SUFFIXES if mask.name.lower().endswith(suffix))
    return mask.with_name(f"{mask.name[: -len(suffix)]}_preview.png")
