"""Segment one scan of a cohort, in a thread of this process or of a Dask worker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pleura
from pleura.cohort.fingerprint import fingerprint, is_unchanged
from pleura.cohort.options import OutputOptions, SegmentationOptions, mask_suffix
from pleura.cohort.pool import SegmenterPool
from pleura.cohort.result_names import LABELS, LUNGS
from pleura.cohort.scan_report import ScanReport, measurements_of, parse_report, report_options
from pleura.cohort.stores import OutputStore, StoreError
from pleura.cohort.tables import ScanResult, Status, region_rows
from pleura.cohort.task import Task, open_task
from pleura.errors import ModelError, PleuraError
from pleura.files.records import write_json
from pleura.formats.image_files import write_image_file
from pleura.formats.write import check_can_write, label_files, write_labels
from pleura.names import printable
from pleura.segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class WorkerOptions:
    """Options that a worker gets with each scan."""

    segmentation: SegmentationOptions
    outputs: OutputOptions
    version: str = pleura.__version__
    """Version of pleura that submits the scans."""


def segment_task(
    task: Task, store: OutputStore, options: WorkerOptions, segmenters: SegmenterPool
) -> ScanResult:
    """Segment one scan, unless the store has a result of the same scan and options.

    Parameters
    ----------
    task:
        The scan.
    store:
        Where to write.
    options:
        How to segment, and what to write.
    segmenters:
        The loaded models of this process.

    Returns
    -------
    ScanResult
        An error of the scan is a result with status ``failed``.

    Raises
    ------
    StoreError
        A store cannot be reached.
    PleuraError
        This process has another version of pleura.
    """
    if options.version != pleura.__version__:
        raise PleuraError(
            f"a worker has pleura {pleura.__version__}, but the cohort was started with "
            f"{options.version}",
            where=None,
            hint="install the same version on all machines",
        )
    options = replace(options, segmentation=_options_of(task, options.segmentation))
    try:
        segmenter = segmenters.segmenter(options.segmentation)
        result = _segment(task, store, options, segmenter)
    except StoreError:
        raise
    except PleuraError as error:
        message = printable(f"{error.message}; hint: {error.hint}")
        result = ScanResult(task.name, "failed", error=message)
    return replace(result, patient=task.patient, source=task.path)


def mask_name(task: Task, outputs: OutputOptions, ending: str = LUNGS) -> str:
    """Return the path of the mask of a scan below the output; ``ending`` is of `RESULT_ENDINGS`."""
    return f"{task.name}{ending}{mask_suffix(task.filename, outputs.format)}"


def _options_of(task: Task, cohort: SegmentationOptions) -> SegmentationOptions:
    """Return the options of a cohort with those of one of its scans."""
    flip = cohort.flip if task.flip is None else task.flip
    if task.units is None and task.window is None:
        return replace(cohort, flip=flip)
    return replace(cohort, units=task.units or "auto", window=task.window, flip=flip)


def _segment(
    task: Task, store: OutputStore, options: WorkerOptions, segmenter: Segmenter
) -> ScanResult:
    segmentation, outputs = options.segmentation, options.outputs
    ending = LABELS if segmenter.classes else LUNGS
    mask = mask_name(task, outputs, ending)
    if len(label_files(Path(mask), segmenter.classes)) > 1:
        raise ModelError(
            "the classes of the model may overlap, and a file of this format contains one label "
            "per voxel",
            where=None,
            hint="add --format seg-nrrd, dicom-seg or rtstruct",
        )
    preview, report_name = f"{task.name}{ending}_preview.png", f"{task.name}{ending}.json"
    requested = report_options(
        segmenter, segmentation, outputs, series=task.series, stack=task.stack
    )
    exists = store.exists(mask) and (not outputs.preview or store.exists(preview))
    if exists and not outputs.overwrite:
        before = parse_report(store.read(report_name) or b"")
        result = _earlier_result(task, PurePosixPath(mask).name, before, requested)
        if result is not None:
            return result
    content = fingerprint(task)
    store.remove(report_name)  # it must not describe the new mask
    files = [mask, preview, report_name]
    with (
        open_task(task, segmentation.units_or_window, segmentation.flip) as scan,
        store.staging(files) as folder,
    ):
        decisions = (*scan.decisions, *check_can_write(folder / mask, scan))
        name = PurePosixPath(task.name).name if outputs.anonymous else scan.name
        segmented = segmenter.segment(
            replace(scan, name=name, decisions=decisions),
            release_voxels=not (outputs.preview or outputs.measure),
            warn=False,
        )
        write_labels(folder / mask, segmented, binary=outputs.binary)
        if outputs.preview:
            write_image_file(folder / preview, segmented.preview_image())
        report = ScanReport(
            **segmented.to_dict(),
            options=requested,
            mask=PurePosixPath(mask).name,
            source=task.path,
            measurements=measurements_of(segmented) if outputs.measure else None,
            fingerprint=content,
        )
        write_json(folder / report_name, report.to_dict())
    return _result(task.name, report, "done")


def _earlier_result(
    task: Task, mask: str, report: ScanReport | None, requested: dict[str, object]
) -> ScanResult | None:
    """Return the result that a report describes; None if scan or options differ."""
    if report is None:
        return None
    try:
        same = (
            report.mask == mask
            and report.options == requested
            and report.versions["pleura"] == pleura.__version__
            and is_unchanged(task, report.fingerprint or {})
        )
        return _result(task.name, report, "skipped") if same else None
    # The report may be damaged: any value may have any type.
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _result(name: str, report: ScanReport, status: Status) -> ScanResult:
    volumes = report.volume_ml or {}
    return ScanResult(
        name,
        status,
        report.mask,
        right_ml=volumes.get("right"),
        left_ml=volumes.get("left"),
        flags="; ".join(report.flags),
        warnings="; ".join(d["topic"] for d in report.decisions if d["warning"]),
        seconds=round(sum(report.seconds.values()), 2),
        regions=region_rows(report),
    )
