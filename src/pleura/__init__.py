"""Lung segmentation for any chest CT, and the training of segmentation networks.

    import pleura

    lungs = pleura.segment("dicom_folder")
    lungs.write("lungs.nii.gz")

    pleura.check("images", "masks")
    run = pleura.train("images", "masks", recipe="exercise", output="runs/first")
    pleura.evaluate(run, "images", "masks")
    pleura.predict(run, "images", output="out")

The modules of the package are imported at the first use of their names. PyTorch is imported only by
functions that train networks or use a training run. This is one module, although a long one, since
each public name is listed for users, for type checkers and for the import at first use.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

logging.getLogger("pleura").addHandler(logging.NullHandler())

__version__: str

__all__ = [
    "AugmentationFunction",
    "Calibration",
    "CaseArrays",
    "CaseTable",
    "CheckOptions",
    "CheckReport",
    "Comparison",
    "ComparisonOptions",
    "CrossValidation",
    "CrossValidationOptions",
    "CustomComponents",
    "DataError",
    "DataWarning",
    "Decision",
    "DenseOption",
    "DensityStatistics",
    "Difference",
    "DistributionOptions",
    "EvaluationCallbacks",
    "EvaluationOptions",
    "ExportOptions",
    "Finding",
    "FineTuningCallbacks",
    "FineTuningOptions",
    "FineTuningResult",
    "Flag",
    "Geometry",
    "ImageSource",
    "InputUnits",
    "IntensityMapping",
    "Label",
    "LabelMap",
    "LabelPreset",
    "LabelSummary",
    "LearningCurve",
    "LearningCurveOptions",
    "LossFunction",
    "LungFraction",
    "Mask",
    "MaskWarning",
    "Measurement",
    "MetricSummary",
    "ModelError",
    "ModelEvaluation",
    "ModelMetadata",
    "OutputFiles",
    "OutputFormat",
    "OutputOptions",
    "Pair",
    "PleuraError",
    "Precision",
    "Prediction",
    "PredictionOptions",
    "Predictor",
    "ProbabilityHistogram",
    "Progress",
    "Recipe",
    "RecipeComparison",
    "RecipeError",
    "RecipeSearch",
    "RegionMeasurement",
    "Reorientation",
    "ReportedComparison",
    "RoiSelection",
    "Run",
    "RunError",
    "RunEvaluation",
    "Runtime",
    "Scan",
    "ScanDescription",
    "ScanEntry",
    "ScanError",
    "ScanLike",
    "ScanReport",
    "ScanResult",
    "ScheduleFunction",
    "Score",
    "ScoreChange",
    "SearchCallbacks",
    "SearchOptions",
    "SearchTrial",
    "Segmentation",
    "SegmentationDataset",
    "SegmentationOptions",
    "Segmenter",
    "SliceMeasurement",
    "Split",
    "StepReport",
    "StrPath",
    "Subset",
    "SuspectedLabel",
    "TrainingCallbacks",
    "TrainingOptions",
    "TrainingSlices",
    "Units",
    "UnitsOption",
    "Viewer",
    "ViewerOptions",
    "Window",
    "__version__",
    "check",
    "compare",
    "compare_and_report",
    "compare_recipes",
    "cross_validate",
    "describe_scans",
    "dice",
    "evaluate",
    "evaluate_and_report",
    "evaluate_model",
    "export",
    "find_pairs",
    "find_scans",
    "fine_tune_on_corrections",
    "from_array",
    "iou",
    "label_error_figure",
    "learning_curve",
    "load_recipe",
    "measure",
    "methods_paragraph",
    "open_run",
    "open_viewer",
    "predict",
    "preview",
    "read",
    "read_case_table",
    "read_mask",
    "resume",
    "resume_fine_tuning",
    "sample_scan",
    "search_recipes",
    "segment",
    "segment_cohort",
    "segment_file",
    "track_with_mlflow",
    "track_with_wandb",
    "train",
    "view",
    "write_check_report",
    "write_cohort_report",
    "write_comparison_report",
    "write_evaluation_report",
]

if TYPE_CHECKING:
    from pleura.cohort.batch import segment_cohort as segment_cohort
    from pleura.cohort.options import DistributionOptions as DistributionOptions
    from pleura.cohort.options import OutputFiles as OutputFiles
    from pleura.cohort.options import OutputFormat as OutputFormat
    from pleura.cohort.options import OutputOptions as OutputOptions
    from pleura.cohort.options import SegmentationOptions as SegmentationOptions
    from pleura.cohort.scan_report import ScanReport as ScanReport
    from pleura.cohort.single import segment_file as segment_file
    from pleura.cohort.tables import ScanResult as ScanResult
    from pleura.corrections.comparison import ScoreChange as ScoreChange
    from pleura.corrections.fine_tuning import FineTuningCallbacks as FineTuningCallbacks
    from pleura.corrections.fine_tuning import FineTuningOptions as FineTuningOptions
    from pleura.corrections.fine_tuning import FineTuningResult as FineTuningResult
    from pleura.corrections.fine_tuning import fine_tune_on_corrections as fine_tune_on_corrections
    from pleura.corrections.fine_tuning import resume_fine_tuning as resume_fine_tuning
    from pleura.corrections.training_slices import TrainingSlices as TrainingSlices
    from pleura.dataset.augmentation import AugmentationFunction as AugmentationFunction
    from pleura.dataset.check_report import CheckReport as CheckReport
    from pleura.dataset.check_report import Finding as Finding
    from pleura.dataset.check_report import LabelSummary as LabelSummary
    from pleura.dataset.check_report import LungFraction as LungFraction
    from pleura.dataset.label_errors import SuspectedLabel as SuspectedLabel
    from pleura.dataset.pairs import Pair as Pair
    from pleura.dataset.pairs import find_pairs as find_pairs
    from pleura.dataset.subsets import Split as Split
    from pleura.engine.model_file import InputUnits as InputUnits
    from pleura.engine.model_file import ModelMetadata as ModelMetadata
    from pleura.engine.runtimes import Precision as Precision
    from pleura.engine.runtimes import Runtime as Runtime
    from pleura.errors import DataError as DataError
    from pleura.errors import DataWarning as DataWarning
    from pleura.errors import MaskWarning as MaskWarning
    from pleura.errors import ModelError as ModelError
    from pleura.errors import PleuraError as PleuraError
    from pleura.errors import RecipeError as RecipeError
    from pleura.errors import RunError as RunError
    from pleura.errors import ScanError as ScanError
    from pleura.evaluation.cases import CaseTable as CaseTable
    from pleura.evaluation.cases import Subset as Subset
    from pleura.evaluation.cases import read_case_table as read_case_table
    from pleura.evaluation.compare import compare as compare
    from pleura.evaluation.comparison import Comparison as Comparison
    from pleura.evaluation.metrics import dice as dice
    from pleura.evaluation.metrics import iou as iou
    from pleura.evaluation.model import CaseArrays as CaseArrays
    from pleura.evaluation.model import EvaluationCallbacks as EvaluationCallbacks
    from pleura.evaluation.model import ModelEvaluation as ModelEvaluation
    from pleura.evaluation.model import evaluate_model as evaluate_model
    from pleura.evaluation.probability import Calibration as Calibration
    from pleura.evaluation.probability import ProbabilityHistogram as ProbabilityHistogram
    from pleura.evaluation.scores import Score as Score
    from pleura.evaluation.statistics import Difference as Difference
    from pleura.evaluation.statistics import MetricSummary as MetricSummary
    from pleura.files.sample import sample_scan as sample_scan
    from pleura.formats.describe import ScanDescription as ScanDescription
    from pleura.formats.describe import describe_scans as describe_scans
    from pleura.formats.find import ScanEntry as ScanEntry
    from pleura.formats.find import find_scans as find_scans
    from pleura.formats.image_types import ImageSource as ImageSource
    from pleura.formats.images import from_array as from_array
    from pleura.formats.read import read as read
    from pleura.formats.scan_like import ScanLike as ScanLike
    from pleura.intensity.mapping import IntensityMapping as IntensityMapping
    from pleura.intensity.mapping import UnitsOption as UnitsOption
    from pleura.intensity.window import Units as Units
    from pleura.intensity.window import Window as Window
    from pleura.masks.labels import read_mask as read_mask
    from pleura.masks.mask import Flag as Flag
    from pleura.masks.mask import Mask as Mask
    from pleura.masks.selection import LabelPreset as LabelPreset
    from pleura.masks.selection import RoiSelection as RoiSelection
    from pleura.measurement.measure import measure as measure
    from pleura.measurement.result import DensityStatistics as DensityStatistics
    from pleura.measurement.result import Measurement as Measurement
    from pleura.measurement.result import RegionMeasurement as RegionMeasurement
    from pleura.measurement.result import SliceMeasurement as SliceMeasurement
    from pleura.report.check import label_error_figure as label_error_figure
    from pleura.report.check import write_check_report as write_check_report
    from pleura.report.cohort import write_cohort_report as write_cohort_report
    from pleura.report.comparison import ComparisonOptions as ComparisonOptions
    from pleura.report.comparison import ReportedComparison as ReportedComparison
    from pleura.report.comparison import compare_and_report as compare_and_report
    from pleura.report.comparison import write_comparison_report as write_comparison_report
    from pleura.report.evaluation import EvaluationOptions as EvaluationOptions
    from pleura.report.evaluation import evaluate_and_report as evaluate_and_report
    from pleura.report.evaluation import write_evaluation_report as write_evaluation_report
    from pleura.report.methods import methods_paragraph as methods_paragraph
    from pleura.scan.geometry import Geometry as Geometry
    from pleura.scan.geometry import Reorientation as Reorientation
    from pleura.scan.labels import Label as Label
    from pleura.scan.labels import LabelMap as LabelMap
    from pleura.scan.scan import Decision as Decision
    from pleura.scan.scan import Scan as Scan
    from pleura.segmentation.dense import DenseOption as DenseOption
    from pleura.segmentation.result import Segmentation as Segmentation
    from pleura.segmentation.segmenter import Segmenter as Segmenter
    from pleura.segmentation.segmenter import segment as segment
    from pleura.training.callbacks import StepReport as StepReport
    from pleura.training.callbacks import TrainingCallbacks as TrainingCallbacks
    from pleura.training.check import CheckOptions as CheckOptions
    from pleura.training.check import check as check
    from pleura.training.cross_validation import CrossValidation as CrossValidation
    from pleura.training.cross_validation import CrossValidationOptions as CrossValidationOptions
    from pleura.training.cross_validation import cross_validate as cross_validate
    from pleura.training.custom import CustomComponents as CustomComponents
    from pleura.training.custom import LossFunction as LossFunction
    from pleura.training.custom import ScheduleFunction as ScheduleFunction
    from pleura.training.dataset import SegmentationDataset as SegmentationDataset
    from pleura.training.evaluation import evaluate as evaluate
    from pleura.training.export import ExportOptions as ExportOptions
    from pleura.training.export import export as export
    from pleura.training.learning_curve import LearningCurve as LearningCurve
    from pleura.training.learning_curve import LearningCurveOptions as LearningCurveOptions
    from pleura.training.learning_curve import learning_curve as learning_curve
    from pleura.training.options import TrainingOptions as TrainingOptions
    from pleura.training.predict import Prediction as Prediction
    from pleura.training.predict import PredictionOptions as PredictionOptions
    from pleura.training.predict import predict as predict
    from pleura.training.predictor import Predictor as Predictor
    from pleura.training.preview import preview as preview
    from pleura.training.recipe import Recipe as Recipe
    from pleura.training.recipe_comparison import RecipeComparison as RecipeComparison
    from pleura.training.recipe_comparison import compare_recipes as compare_recipes
    from pleura.training.recipe_loading import load_recipe as load_recipe
    from pleura.training.run import Run as Run
    from pleura.training.run import open_run as open_run
    from pleura.training.run_evaluation import RunEvaluation as RunEvaluation
    from pleura.training.search import SearchCallbacks as SearchCallbacks
    from pleura.training.search import search_recipes as search_recipes
    from pleura.training.search_result import RecipeSearch as RecipeSearch
    from pleura.training.search_result import SearchTrial as SearchTrial
    from pleura.training.search_space import SearchOptions as SearchOptions
    from pleura.training.trackers import track_with_mlflow as track_with_mlflow
    from pleura.training.trackers import track_with_wandb as track_with_wandb
    from pleura.training.train import resume as resume
    from pleura.training.train import train as train
    from pleura.typing import Progress as Progress
    from pleura.typing import StrPath as StrPath
    from pleura.viewer.server import Viewer as Viewer
    from pleura.viewer.view import ViewerOptions as ViewerOptions
    from pleura.viewer.view import open_viewer as open_viewer
    from pleura.viewer.view import view as view

_NAMES_BY_MODULE = {
    "pleura.cohort.batch": "segment_cohort",
    "pleura.cohort.options": (
        "DistributionOptions OutputFiles OutputFormat OutputOptions SegmentationOptions"
    ),
    "pleura.cohort.scan_report": "ScanReport",
    "pleura.cohort.single": "segment_file",
    "pleura.cohort.tables": "ScanResult",
    "pleura.corrections.comparison": "ScoreChange",
    "pleura.corrections.fine_tuning": (
        "FineTuningCallbacks FineTuningOptions FineTuningResult fine_tune_on_corrections "
        "resume_fine_tuning"
    ),
    "pleura.corrections.training_slices": "TrainingSlices",
    "pleura.dataset.augmentation": "AugmentationFunction",
    "pleura.dataset.check_report": "CheckReport Finding LabelSummary LungFraction",
    "pleura.dataset.label_errors": "SuspectedLabel",
    "pleura.dataset.pairs": "Pair find_pairs",
    "pleura.dataset.subsets": "Split",
    "pleura.engine.model_file": "InputUnits ModelMetadata",
    "pleura.engine.runtimes": "Precision Runtime",
    "pleura.errors": (
        "DataError DataWarning MaskWarning ModelError PleuraError RecipeError RunError ScanError"
    ),
    "pleura.evaluation.cases": "CaseTable Subset read_case_table",
    "pleura.evaluation.compare": "compare",
    "pleura.evaluation.comparison": "Comparison",
    "pleura.evaluation.metrics": "dice iou",
    "pleura.evaluation.model": "CaseArrays EvaluationCallbacks ModelEvaluation evaluate_model",
    "pleura.evaluation.probability": "Calibration ProbabilityHistogram",
    "pleura.evaluation.scores": "Score",
    "pleura.evaluation.statistics": "Difference MetricSummary",
    "pleura.files.sample": "sample_scan",
    "pleura.formats.describe": "ScanDescription describe_scans",
    "pleura.formats.find": "ScanEntry find_scans",
    "pleura.formats.image_types": "ImageSource",
    "pleura.formats.images": "from_array",
    "pleura.formats.read": "read",
    "pleura.formats.scan_like": "ScanLike",
    "pleura.intensity.mapping": "IntensityMapping UnitsOption",
    "pleura.intensity.window": "Units Window",
    "pleura.masks.labels": "read_mask",
    "pleura.masks.mask": "Flag Mask",
    "pleura.masks.selection": "LabelPreset RoiSelection",
    "pleura.measurement.measure": "measure",
    "pleura.measurement.result": "DensityStatistics Measurement RegionMeasurement SliceMeasurement",
    "pleura.report.check": "label_error_figure write_check_report",
    "pleura.report.cohort": "write_cohort_report",
    "pleura.report.comparison": (
        "ComparisonOptions ReportedComparison compare_and_report write_comparison_report"
    ),
    "pleura.report.evaluation": "EvaluationOptions evaluate_and_report write_evaluation_report",
    "pleura.report.methods": "methods_paragraph",
    "pleura.scan.geometry": "Geometry Reorientation",
    "pleura.scan.labels": "Label LabelMap",
    "pleura.scan.scan": "Decision Scan",
    "pleura.segmentation.dense": "DenseOption",
    "pleura.segmentation.result": "Segmentation",
    "pleura.segmentation.segmenter": "Segmenter segment",
    "pleura.training.callbacks": "StepReport TrainingCallbacks",
    "pleura.training.search": "SearchCallbacks search_recipes",
    "pleura.training.search_result": "RecipeSearch SearchTrial",
    "pleura.training.search_space": "SearchOptions",
    "pleura.training.trackers": "track_with_mlflow track_with_wandb",
    "pleura.training.check": "CheckOptions check",
    "pleura.training.cross_validation": "CrossValidation CrossValidationOptions cross_validate",
    "pleura.training.custom": "CustomComponents LossFunction ScheduleFunction",
    "pleura.training.dataset": "SegmentationDataset",
    "pleura.training.evaluation": "evaluate",
    "pleura.training.export": "ExportOptions export",
    "pleura.training.learning_curve": "LearningCurve LearningCurveOptions learning_curve",
    "pleura.training.options": "TrainingOptions",
    "pleura.training.predict": "Prediction PredictionOptions predict",
    "pleura.training.predictor": "Predictor",
    "pleura.training.preview": "preview",
    "pleura.training.recipe": "Recipe",
    "pleura.training.recipe_comparison": "RecipeComparison compare_recipes",
    "pleura.training.recipe_loading": "load_recipe",
    "pleura.training.run": "Run open_run",
    "pleura.training.run_evaluation": "RunEvaluation",
    "pleura.training.train": "resume train",
    "pleura.typing": "Progress StrPath",
    "pleura.viewer.server": "Viewer",
    "pleura.viewer.view": "ViewerOptions open_viewer view",
}
_MODULE_BY_NAME = {
    name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pleura")
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module 'pleura' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULE_BY_NAME[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
