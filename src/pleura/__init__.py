"""pleura: lungs in CT.

    import pleura

    lungs = pleura.segment("dicom_folder")
    lungs.write("lungs.nii.gz")

    pleura.check("images", "masks")
    run = pleura.train("images", "masks", recipe="exercise", output="runs/first")
    pleura.evaluate(run, "images", "masks")
    pleura.predict(run, "images", output="out")

PyTorch is imported only by the functions that train or predict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "PleuraError": "pleura.errors",
    "MaskWarning": "pleura.errors",
    "read": "pleura.formats.read",
    "from_array": "pleura.formats.read",
    "find_scans": "pleura.formats.find",
    "check": "pleura.training.check",
    "preview": "pleura.training.preview",
    "train": "pleura.training.loop",
    "resume": "pleura.training.loop",
    "evaluate": "pleura.training.evaluation",
    "compare": "pleura.evaluation.compare",
    "predict": "pleura.training.predictor",
    "export": "pleura.training.export",
    "fine_tune_on_corrections": "pleura.corrections.fine_tuning",
    "resume_fine_tuning": "pleura.corrections.fine_tuning",
    "FineTuningOptions": "pleura.corrections.fine_tuning",
    "FineTuningCallbacks": "pleura.corrections.fine_tuning",
    "FineTuningResult": "pleura.corrections.fine_tuning",
    "segment": "pleura.segmentation.segmenter",
    "segment_file": "pleura.cohort.single",
    "segment_cohort": "pleura.cohort.batch",
    "SegmentationOptions": "pleura.cohort.options",
    "OutputFiles": "pleura.cohort.options",
    "OutputOptions": "pleura.cohort.options",
    "DistributionOptions": "pleura.cohort.options",
    "ScanReport": "pleura.cohort.scan_report",
    "ScanResult": "pleura.cohort.tables",
    "measure": "pleura.measurement.measure",
    "Segmenter": "pleura.segmentation.segmenter",
    "open_run": "pleura.training.run",
    "load_recipe": "pleura.training.recipe",
    "iou": "pleura.evaluation.metrics",
    "dice": "pleura.evaluation.metrics",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  (names of _HOMES are strings)

if TYPE_CHECKING:
    from pleura.cohort.batch import segment_cohort as segment_cohort
    from pleura.cohort.options import DistributionOptions as DistributionOptions
    from pleura.cohort.options import OutputFiles as OutputFiles
    from pleura.cohort.options import OutputOptions as OutputOptions
    from pleura.cohort.options import SegmentationOptions as SegmentationOptions
    from pleura.cohort.scan_report import ScanReport as ScanReport
    from pleura.cohort.single import segment_file as segment_file
    from pleura.cohort.tables import ScanResult as ScanResult
    from pleura.corrections.fine_tuning import FineTuningCallbacks as FineTuningCallbacks
    from pleura.corrections.fine_tuning import FineTuningOptions as FineTuningOptions
    from pleura.corrections.fine_tuning import FineTuningResult as FineTuningResult
    from pleura.corrections.fine_tuning import fine_tune_on_corrections as fine_tune_on_corrections
    from pleura.corrections.fine_tuning import resume_fine_tuning as resume_fine_tuning
    from pleura.errors import MaskWarning as MaskWarning
    from pleura.errors import PleuraError as PleuraError
    from pleura.evaluation.compare import compare as compare
    from pleura.evaluation.metrics import dice as dice
    from pleura.evaluation.metrics import iou as iou
    from pleura.formats.find import find_scans as find_scans
    from pleura.formats.read import from_array as from_array
    from pleura.formats.read import read as read
    from pleura.measurement.measure import measure as measure
    from pleura.segmentation.segmenter import Segmenter as Segmenter
    from pleura.segmentation.segmenter import segment as segment
    from pleura.training.check import check as check
    from pleura.training.evaluation import evaluate as evaluate
    from pleura.training.export import export as export
    from pleura.training.loop import resume as resume
    from pleura.training.loop import train as train
    from pleura.training.predictor import predict as predict
    from pleura.training.preview import preview as preview
    from pleura.training.recipe import load_recipe as load_recipe
    from pleura.training.run import open_run as open_run


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pleura' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
