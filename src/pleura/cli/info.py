"""`pleura info`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    echo,
    json_option,
    progress_bar,
    quiet_option,
    units_option,
    write_json,
)
from pleura.errors import ScanError
from pleura.names import counted

if TYPE_CHECKING:
    from pleura.formats.describe import ScanDescription
    from pleura.formats.segments import SegmentFile
    from pleura.intensity.mapping import UnitsOption

_EPILOG = """\
\b
Examples:
  pleura info chest.nii.gz
  pleura info dicom_folder/
  pleura info cohort/ --json cohort.json
  pleura info rtstruct.dcm                structures for --roi
  pleura info lesions.onnx                input, classes and stages of a model

The exit code is 1 if a scan cannot be read.
"""


@click.command("info", epilog=_EPILOG)
@click.argument("path", type=PATH)
@units_option
@json_option
@quiet_option
def command(
    path: Path,
    units: UnitsOption,
    window: tuple[float, float] | None,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """List the scans in a file or folder with series, grid, units and warnings.

    For a DICOM SEG, an RT Structure Set or a .seg.nrrd file, list the structures for --roi. For a
    model file (.onnx), show its input and its classes, and the stages of a cascade.
    """
    from pleura.formats.describe import describe_scans
    from pleura.formats.read import read
    from pleura.formats.read_segments import read_segments
    from pleura.intensity.window import units_or_window

    if path.suffix == ".onnx":
        _show_model(path, json_file)
        return 0
    with suppress(ScanError):  # a damaged file is described below
        structures = read_segments(path) if path.is_file() else None
        if structures is not None:
            _show_structures(path, structures, json_file)
            return 0
    with progress_bar("reading", quiet) as progress:
        chosen_units = units_or_window(units, window)
        scans = describe_scans(path, units=chosen_units, progress=progress)
    if not scans:
        read(path)  # raises the reason
    write_json(json_file, {"path": path.name, "scans": [scan.to_dict() for scan in scans]})
    readable = sum(scan.error is None for scan in scans)
    if str(json_file) != "-":
        for scan in scans:
            _print(scan)
        echo(f"{readable} of {counted(len(scans), 'scan')} can be read")
    return 0 if readable == len(scans) else 1


def _show_structures(path: Path, file: SegmentFile, json_file: Path | None) -> None:
    rows = [
        {"number": one.number, "name": one.name, "codes": sorted(one.codes)}
        for one in file.segments
    ]
    write_json(json_file, {"path": path.name, "kind": file.kind, "structures": rows})
    if str(json_file) == "-":
        return
    echo(f"{file.kind} with {counted(len(rows), 'structure')}", bold=True)
    for one in file.segments:
        echo(f"  {one.number}  {one.name}" + "".join(f"  {code}" for code in sorted(one.codes)))


def _show_model(path: Path, json_file: Path | None) -> None:
    from pleura.engine.model_file import read_metadata

    model = read_metadata(path)
    write_json(json_file, {"path": path.name, "format": model.format, **model.summary()})
    if str(json_file) == "-":
        return
    echo(f"{model.name} {model.version}", bold=True, nl=False)
    echo(f"  model file of format {model.format}")
    units = {"HU": "HU", "grey": "grey values"}[model.input]
    stage = model.lungs
    if stage is not None:
        parts = [name for name, used in (("crop", stage.crop), ("mask", stage.mask)) if used]
        echo(f"  stage 1  lungs by {' '.join(stage.model)}, from {units}")
        echo(f"           {' and '.join(parts)} with a margin of {stage.margin:g} mm")
    echo(f"  {'stage 2  ' if stage else ''}{', '.join(model.labels)}, from {units}")
    if model.context.slices:
        distance = model.context.distance
        places = "adjacent" if distance is None else f"{distance:g} mm apart"
        echo(f"    {model.context.channels} slices, {places}: each slice with its neighbours")
    for label in model.classes:
        echo(f"    {label.value}  {label.name}, threshold {label.threshold:g}")
    if stage is not None and stage.label is not None:
        echo(f"    {stage.label}  lung, of stage 1")


def _print(scan: ScanDescription) -> None:
    echo(scan.name, bold=True, nl=False)
    if scan.error is not None:
        echo(f"  {scan.description}", nl=True)
        echo("  " + scan.error.replace("\n", "\n  "), fg="red")
        return
    note = "" if scan.chosen else "  (not chosen: the study has a better series)"
    echo(f"  {scan.format}; {scan.grid}; {scan.units}{note}")
    for decision in scan.decisions:
        if decision.warning:
            echo(f"  warning  {decision}", fg="yellow")
        else:
            echo(f"  {decision}")
