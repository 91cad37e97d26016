"""Segment one scan to files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from pleura.cohort.options import OutputFiles, SegmentationOptions
from pleura.cohort.scan_report import ScanReport, measurements_of, report_options
from pleura.cohort.stores import RemoteScan, is_address
from pleura.errors import DataError
from pleura.files.listing import check_path, files_below
from pleura.files.records import write_json
from pleura.formats.dicom.format import DICOM
from pleura.formats.find import files_of
from pleura.formats.image_files import IMAGE_FORMATS, write_image_file
from pleura.formats.read import read
from pleura.formats.registry import format_of
from pleura.formats.write import check_can_write, label_files, write_labels, write_volume
from pleura.scan.scan import Scan
from pleura.segmentation.masking import masked_scan
from pleura.segmentation.result import Segmentation
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import Progress, StrPath

_DEFAULTS = SegmentationOptions()


def segment_file(
    scan: StrPath,
    output: OutputFiles | StrPath,
    options: SegmentationOptions = _DEFAULTS,
    *,
    series: str | None = None,
    stack: bool = False,
    progress: Progress | None = None,
) -> ScanReport:
    """Segment one scan and write the mask.

    All outputs are checked before inference: each can be written for this scan, and none replaces
    a file of the scan.

    Parameters
    ----------
    scan:
        File or folder of one scan, or an fsspec address of one.
    output:
        Path of the mask, or all files to write.
    options:
        How to read and segment the scan.
    series:
        Number or UID of the DICOM series, if the folder contains several.
    stack:
        Read a folder of images as one volume.
    progress:
        Called with the number of segmented slices and of all slices.

    Returns
    -------
    ScanReport

    Raises
    ------
    ScanError
        The scan cannot be read, or a DICOM object cannot refer to it.
    DataError
        An output already exists, is a file of the scan, or cannot be written.
    ModelError
        The model cannot be loaded.
    """
    outputs = output if isinstance(output, OutputFiles) else OutputFiles(Path(output))
    _refuse_existing(outputs.volumes().values(), outputs)
    with ExitStack() as copies, ThreadPoolExecutor(1) as loader:
        loading = loader.submit(_load_segmenter, options, scan)  # while the scan is read
        if isinstance(scan, str) and is_address(scan):
            scan = copies.enter_context(RemoteScan(scan).download("scan"))
        opened = read(
            scan,
            series=series,
            stack=stack,
            units=options.units,
            window=options.window,
            flip=options.flip,
        )
        _refuse_inputs(outputs, files_of(opened))
        opened = _checked(opened, outputs)
        segmenter = loading.result()
        if outputs.probability is not None and segmenter.classes:
            raise DataError(
                "a file contains the probability of one class, and the model has several",
                where=outputs.probability,
                hint="omit the probability, or keep it in Python: Segmenter(model).segment(scan, "
                "keep_probability=True).probability",
            )
        masks = label_files(Path(outputs.mask), segmenter.classes)
        _refuse_existing(masks, outputs)
        reads_again = outputs.measure or {"preview", "masked"} & {*outputs.paths()}
        result = segmenter.segment(
            opened,
            progress,
            keep_probability=outputs.probability is not None,
            release_voxels=not reads_again,
            warn=False,
        )
        _write(result, outputs)
        report = ScanReport(
            **result.to_dict(),
            options=report_options(segmenter, options, outputs, series=series, stack=stack),
            mask=", ".join(map(str, masks)),
            measurements=measurements_of(result) if outputs.measure else None,
        )
    if outputs.report is not None:
        write_json(Path(outputs.report), report.to_dict())
    return report


def _load_segmenter(options: SegmentationOptions, scan: StrPath) -> Segmenter:
    """Load the model, and compile it for the slices of the scan if a header states their size."""
    segmenter = options.load_segmenter()
    with suppress(Exception):  # reading the scan raises the error
        size = _slice_size(Path(scan))
        if size is not None:
            segmenter.engine.prepare((1, *size))
    return segmenter


def _slice_size(path: Path) -> tuple[int, int] | None:
    """Return rows and columns of the axial slices by the header of the (first) file.

    None for images, whose model depends on their values.
    """
    check_path(path)
    file = files_below(path)[0] if path.is_dir() else path
    file_format = format_of(file) or DICOM
    if file_format in IMAGE_FORMATS:
        return None
    geometry = file_format.read(file, file.name).geometry
    return geometry.to_canonical().apply_to(geometry).shape[1:]


def _refuse_existing(paths: Iterable[Path], outputs: OutputFiles) -> None:
    for path in paths:
        if path.exists() and not outputs.overwrite:
            raise DataError(
                "the output file already exists",
                where=path,
                hint="choose another path, or add --overwrite",
            )


def _refuse_inputs(outputs: OutputFiles, inputs: Collection[Path]) -> None:
    for path in outputs.paths().values():
        if path.resolve() in inputs:
            raise DataError(
                "the output path is the input scan", where=path, hint="choose another path"
            )


def _checked(scan: Scan, outputs: OutputFiles) -> Scan:
    """Check that the volumes can be written; add to the scan what the files will not keep."""
    dtypes: dict[str, DTypeLike | None]
    dtypes = {"mask": None, "masked": np.int16, "probability": np.uint8}
    decisions = [
        decision
        for name, path in outputs.volumes().items()
        for decision in check_can_write(path, scan, dtypes[name])
    ]
    return replace(scan, decisions=(*scan.decisions, *dict.fromkeys(decisions)))


def _write(result: Segmentation, outputs: OutputFiles) -> None:
    paths = outputs.paths()
    write_labels(paths["mask"], result, binary=outputs.binary)
    if "masked" in paths:
        masked = masked_scan(result, crop=outputs.crop)
        write_volume(paths["masked"], masked.hu(), masked.geometry)
    if "probability" in paths and result.probability is not None:
        write_volume(paths["probability"], result.probability, result.geometry)
    if "preview" in paths:
        write_image_file(paths["preview"], result.preview_image())
