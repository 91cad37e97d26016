"""`pleura segment`."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from pleura.cli.common import (
    PATH,
    PATH_OR_URL,
    echo,
    json_option,
    progress_bar,
    quiet_option,
    units_option,
    write_json,
)

if TYPE_CHECKING:
    from pleura.cohort.summary import Row
    from pleura.cohort.work import Settings
    from pleura.scan.scan import Scan

_EPILOG = """\
\b
Examples:
  pleura segment chest.nii.gz -o lungs.nii.gz
  pleura segment dicom_folder/ -o lungs.nii.gz --preview
  pleura segment dicom_folder/ -o out/ --format dicom-seg
  pleura segment slice.png -o slice_lungs.png
  pleura segment cohort/ -o out/ --jobs 2 --model mine.onnx
  pleura segment cohort/ -o out/ --shard 3/40               # one job of an array of forty
  pleura segment cohort/ -o out/ --dask tcp://head:8786     # the workers of a Dask cluster
  pleura segment s3://bucket/scans -o s3://bucket/lungs     # fsspec addresses
  pleura segment scans.csv -o out/                          # a manifest: path, name, units, ...

Where -o ends as a mask does, one scan is segmented: .nii.gz, .nii, .nrrd, .mha, .dcm (DICOM SEG),
.rtstruct.dcm, .tif, .png, .npy. Else -o is a folder, and every scan in SCAN is. Exit code 1 where
one failed. Addresses and --dask need `pip install "pleura[cluster]"`.
"""


_FILE_ENDING = re.compile(r"\.(?!v\d+$)(?=.*[a-z])\w{1,5}", re.IGNORECASE)
"""Of an output that was meant to be a file: .bz2, .h5, .docx; not .v2 or .2024."""

_SHOWN = 5
"""Flagged scans of a cohort that are listed; the summary has them all."""


def _shard(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int]:
    """Take I/N apart."""
    if value is None:
        return 1, 1
    part, _, parts = value.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise click.BadParameter(f"{value} is no part of a whole: give 3/40, from 1/40 to 40/40")
    return int(part), int(parts)


@click.command("segment", epilog=_EPILOG)
@click.argument("scan", type=PATH_OR_URL)
@click.option(
    "--model",
    type=PATH,
    help="A file that `pleura export` wrote; or `accurate`: slower, a little better.",
)
@click.option("--output", "-o", type=PATH_OR_URL, required=True, help="Mask or folder to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(
        ["same", "nifti", "nrrd", "mha", "tiff", "png", "npy", "dicom-seg", "rtstruct"]
    ),
    default="same",
    show_default=True,
    help="Of masks in a folder; same as each scan's, NIfTI for DICOM.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Scans at a time."
)
@click.option("--shard", metavar="I/N", callback=_shard, help="Every Nth scan, from the Ith on.")
@click.option("--dask", metavar="ADDRESS", help="Dask scheduler whose workers segment.")
@click.option(
    "--retries", type=click.IntRange(0), default=0, help="Further tries of a failed scan."
)
@click.option("--series", help="Series number or UID, where a folder holds several.")
@click.option("--stack", is_flag=True, help="Take a folder of pictures as one volume.")
@units_option
@click.option("--flip", is_flag=True, help="A picture shows the patient's left on its left.")
@click.option("--single-label", is_flag=True, help="Both lungs as 1, not right 1 and left 2.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Probability; the model's if unset.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads; all cores if unset.")
@click.option(
    "--runtime",
    type=click.Choice(["openvino", "onnxruntime"]),
    default="openvino",
    show_default=True,
    help="What runs the model; onnxruntime (an extra) uses graphics cards.",
)
@click.option("--preview", is_flag=True, help="Also draw the scan with its mask, as one PNG.")
@click.option("--measure", is_flag=True, help="Also measure the lungs, into the report.")
@click.option("--binary", is_flag=True, help="In TIFF, PNG and .npy, lung as 255 and not 1 or 2.")
@click.option("--masked", type=PATH, help="Also write the CT in HU, all but lung at -1024.")
@click.option("--crop", is_flag=True, help="Cut the masked CT to the lungs' box (with --masked).")
@click.option("--probability", type=PATH, help="Also write the probability of lung, times 255.")
@click.option("--report", type=PATH, help="For many scans: also write a page to look at (.html).")
@click.option(
    "--anonymous",
    is_flag=True,
    help="Name results by hashes and leave paths of scans out of them (many scans).",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there already.")
@json_option
@quiet_option
def command(
    scan: Path | str,
    output: Path | str,
    json_file: Path | None,
    quiet: bool,
    **how: Any,
) -> int:
    """Find the lungs in a SCAN, or in every scan below a folder: 1 right, 2 left, on its grid."""
    from pleura.cohort.work import settings_of
    from pleura.engine.engine import SHIPPED_MODELS
    from pleura.formats.write import SUFFIXES

    model = how.pop("model")
    how["sides"] = not how.pop("single_label")
    how["format"] = how.pop("kind")
    how["preview"] = how["preview"] or how["report"] is not None
    if model is not None and str(model) not in SHIPPED_MODELS:
        model = model.absolute()
    settings = settings_of({**how, "model": None if model is None else str(model)})
    if str(output).lower().endswith(SUFFIXES):
        if isinstance(output, str):
            raise click.UsageError("one mask is written here: let -o name a file, or a folder")
        report = _one(settings, scan, output, how, json_file, quiet)
        write_json(json_file, report)
        if str(json_file) != "-":
            _print(report)
        return 0
    ending = PurePath(str(output)).suffix
    if _FILE_ENDING.fullmatch(ending) and isinstance(output, Path) and not output.is_dir():
        raise click.UsageError(
            f"{ending} is not the ending of a mask: choose one of {', '.join(SUFFIXES)}; "
            "or a folder, without an ending"
        )
    return _all(settings, scan, output, how, json_file, quiet)


def _one(
    settings: Settings,
    scan: Path | str,
    output: Path,
    how: dict[str, Any],
    json_file: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack

    from pleura.cohort.stores import RemoteScan
    from pleura.cohort.work import reported
    from pleura.errors import DataError
    from pleura.formats.find import files_of
    from pleura.formats.pictures import write_picture
    from pleura.formats.read import read
    from pleura.formats.write import write_labels, write_volume
    from pleura.segmentation.masking import masked_scan

    _must_be_of_one(how)
    written = _written(output, how, json_file)
    told = {key: how[key] for key in ("series", "stack", "units", "flip")}
    with ExitStack() as kept, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(settings.segmenter)  # while the scan is read
        if isinstance(scan, str):
            scan = kept.enter_context(RemoteScan(scan).fetched("scan"))
        opened = read(scan, **told)
        taken = files_of(opened) & {path.resolve() for path in written.values()}
        if taken:
            raise DataError(
                "the result would take the place of the scan", where=taken.pop(), hint="rename it"
            )
        opened = _checked(opened, written)
        segmenter = loading.result()
        with progress_bar("segmenting", quiet, "slices") as progress:
            wanted = how["probability"] is not None
            result = segmenter.segment(opened, progress, keep_probability=wanted, warn=False)
        write_labels(output, result, binary=how["binary"])
        if how["masked"] is not None:
            masked = masked_scan(result, crop=how["crop"])
            write_volume(how["masked"], masked.hu(), masked.geometry)
        if result.probability is not None:
            write_volume(how["probability"], result.probability, opened.geometry)
        if how["preview"]:
            write_picture(written["preview"], result.preview_image())
        return {**reported(result, measures=how["measure"]), "mask": str(output)}


def _checked(scan: Scan, written: dict[str, Path]) -> Scan:
    """Check before the network runs that each result can be written; add what was decided."""
    from dataclasses import replace

    import numpy as np

    from pleura.formats.write import check_can_hold, check_can_write

    decisions = list(check_can_write(written["mask"], scan))
    for name, dtype in (("masked", np.int16), ("probability", np.uint8)):
        if name in written:
            decisions += check_can_hold(written[name], scan.geometry, dtype)
    return replace(scan, decisions=(*scan.decisions, *dict.fromkeys(decisions)))


def _must_be_of_one(how: dict[str, Any]) -> None:
    """Refuse options that mean nothing for one scan."""
    if how["report"] is not None:
        raise click.UsageError("--report is for many scans: let -o name a folder, or use --preview")
    for name, unset in (("dask", None), ("shard", (1, 1)), ("jobs", 1), ("retries", 0)):
        if how[name] != unset:
            raise click.UsageError(f"--{name} is for many scans: let -o name a folder")
    if how["anonymous"]:
        raise click.UsageError("--anonymous is for many scans: let -o name a folder")
    if how["format"] != "same":
        raise click.UsageError("--format is for a folder: the end of -o says how a mask is written")
    if how["crop"] and how["masked"] is None:
        raise click.UsageError("--crop cuts the masked CT: add --masked FILE")


def _written(output: Path, how: dict[str, Any], json_file: Path | None) -> dict[str, Path]:
    """Return what is written where, each to a file of its own that is free."""
    from pleura.errors import DataError
    from pleura.formats.write import SUFFIXES

    ends = next(suffix for suffix in SUFFIXES if output.name.lower().endswith(suffix))
    preview = output.with_name(f"{output.name[: -len(ends)]}_preview.png")
    volumes = {"mask": output, "masked": how["masked"], "probability": how["probability"]}
    pictures = {"preview": preview if how["preview"] else None, "json": json_file}
    written = {name: path for name, path in (volumes | pictures).items() if path is not None}
    if len({path.resolve() for path in written.values()}) < len(written):
        raise click.UsageError("two results would be written to one file: give each its own")
    for name in volumes:
        if name in written and written[name].exists() and not how["overwrite"]:
            raise DataError(
                "the file is there already",
                where=written[name],
                hint="choose another, or add --overwrite",
            )
    return written


def _all(
    settings: Settings,
    scan: Path | str,
    output: Path | str,
    how: dict[str, Any],
    json_file: Path | None,
    quiet: bool,
) -> int:
    from dataclasses import asdict

    from pleura.cohort.batch import segment_all

    for name in ("series", "stack", "masked", "crop", "probability"):
        if how[name]:
            raise click.UsageError(f"--{name} is for one scan: let -o name a mask, as lungs.nii.gz")
    if how["report"] is not None and isinstance(output, str):
        raise click.UsageError("--report draws from a folder of this machine: copy the results")
    options = {name: how[name] for name in ("jobs", "shard", "retries")}
    with progress_bar("segmenting", quiet, "scans") as progress:
        rows = segment_all(
            scan, output, settings, cluster=how["dask"], progress=progress, **options
        )
    if how["report"] is not None:
        from pleura.report.cohort import cohort_page

        cohort_page(rows, Path(output)).write(how["report"])
    write_json(json_file, {"scans": [asdict(row) for row in rows]})
    if str(json_file) != "-":
        _print_rows(rows, output)
    return 1 if any(row.status == "failed" for row in rows) else 0


def _print_rows(rows: list[Row], output: Path | str) -> None:
    for row in rows:
        if row.status == "failed":
            echo(f"failed   {_named(row)}: {row.error}", fg="red", err=True)
    flagged = [row for row in rows if row.flags]
    for row in flagged[:_SHOWN]:
        echo(f"flag     {_named(row)}: {row.flags}", fg="yellow", err=True)
    if len(flagged) > _SHOWN:
        echo(f"flag     and {len(flagged) - _SHOWN} more", fg="yellow", err=True)
    counts = {s: sum(row.status == s for row in rows) for s in ("done", "skipped", "failed")}
    counted = ", ".join(f"{n} {status}" for status, n in counts.items())
    echo(f"{counted}; see {str(output).rstrip('/')}/summary.csv")


def _named(row: Row) -> str:
    return f"{row.name} ({row.source})" if row.source else row.name


def _print(report: dict[str, Any]) -> None:
    echo(f"{report['scan']}: {report['grid']}; {report['units']}")
    for decision in report["decisions"]:
        text = f"{decision['topic']}: {decision['choice']} ({decision['reason']})"
        if not decision["warning"]:
            echo(text)
        elif decision["topic"] not in report["flags"]:  # which says the same
            echo(f"warning  {text}", fg="yellow", err=True)
    for what in report["flags"].values():
        echo(f"flag     {what}", fg="red", err=True)
    sizes = report["volume_ml"] or report["voxels"]
    unit = "ml" if report["volume_ml"] else "pixels"
    echo(", ".join(f"{side} {size:.0f} {unit}" for side, size in sizes.items()))
    seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in report["seconds"].items())
    echo(f"{report['mask']} ({seconds})")
