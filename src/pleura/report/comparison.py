"""Report of a comparison of predicted masks with reference masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pleura.errors import PleuraError
from pleura.evaluation.alignment import canonical_orders
from pleura.evaluation.cases import CaseTable
from pleura.evaluation.compare import classes_to_compare, compare
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.matching import match_cases, match_images
from pleura.evaluation.model import CaseArrays
from pleura.evaluation.statistics import Difference
from pleura.formats.read import read
from pleura.masks.pairs import read_mask_pair
from pleura.masks.selection import RoiSelection
from pleura.report.images import PageImage
from pleura.report.page import Page
from pleura.report.scores import scores_page, worst_slice
from pleura.typing import Progress, StrPath


@dataclass(frozen=True)
class ComparisonOptions:
    """Options of `compare_and_report`.

    Parameters
    ----------
    cases:
        Patients and groups of the cases; by default each case is one patient.
    against:
        Masks of another model for the same references, to test whether the models differ.
    csv:
        CSV file to write, with one row per case and region; None writes none.
    report:
        HTML report to write; None writes none.
    images:
        Scan, or folder of scans, on whose grids contours are drawn, and whose slices the report
        shows; None shows no slices.
    command:
        The command line that the report shows.
    roi:
        Structures or labels to compare, as for `read_mask`; by default the lungs.
    classes:
        Labels of several classes by name, as for `compare`.
    """

    cases: CaseTable | None = None
    against: StrPath | None = None
    csv: StrPath | None = None
    report: StrPath | None = None
    images: StrPath | None = None
    command: str = ""
    roi: RoiSelection | None = None
    classes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class ReportedComparison:
    """The result of `compare_and_report`.

    Parameters
    ----------
    comparison:
        Scores of the predicted masks.
    differences:
        Difference of each metric between the other model and this one, for both lungs; empty
        without ``against``.
    class_differences:
        The same for each of several classes, by name and metric.
    """

    comparison: Comparison
    differences: Mapping[str, Difference] = field(default_factory=dict)
    class_differences: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores, statistics and differences as a dictionary that JSON can store."""
        content = self.comparison.to_dict()
        if self.differences:
            content["differences"] = {k: asdict(v) for k, v in self.differences.items()}
        if self.class_differences:
            content["class_differences"] = {
                name: {k: asdict(v) for k, v in metrics.items()}
                for name, metrics in self.class_differences.items()
            }
        return content


def compare_and_report(
    predicted: StrPath,
    reference: StrPath,
    options: ComparisonOptions = ComparisonOptions(),
    progress: Progress | None = None,
) -> ReportedComparison:
    """Compare predicted masks with reference masks, and write the requested files.

    Parameters
    ----------
    predicted, reference:
        Mask files in any format, or folders of them.
    options:
        What to compare and to write.
    progress:
        Called with the number of cases that are done, and of all cases; with ``against``, for each
        model in turn.

    Returns
    -------
    ReportedComparison
        The scores, and the differences from the other model.

    Raises
    ------
    ScanError, DataError
        A mask cannot be read, has no partner, or has another grid; the cases of the models differ;
        or a file cannot be written.
    """

    def compared(masks: StrPath) -> Comparison:
        return compare(
            masks,
            reference,
            cases=options.cases,
            images=options.images,
            roi=options.roi,
            classes=options.classes,
            progress=progress,
        )

    comparison = compared(predicted)
    if options.csv is not None:
        comparison.write_csv(options.csv)
    if options.report is not None:
        write_comparison_report(
            options.report,
            comparison,
            predicted,
            reference,
            options.images,
            command=options.command,
            roi=options.roi,
        )
    if options.against is None:
        return ReportedComparison(comparison)
    other = compared(options.against)
    by_class = {name: comparison.differences(other, name) for name in comparison.classes}
    return ReportedComparison(comparison, comparison.differences(other), by_class)


def write_comparison_report(
    path: StrPath,
    comparison: Comparison,
    predicted: StrPath,
    reference: StrPath,
    images: StrPath | None = None,
    *,
    command: str = "",
    roi: RoiSelection | None = None,
) -> None:
    """Write the HTML report of a comparison.

    Parameters
    ----------
    path:
        The file to write.
    comparison:
        The scores, as `compare` returned them.
    predicted, reference:
        The masks that were compared.
    images:
        Scan, or folder of scans, whose slices the report shows; None shows no slices.
    command:
        The command line that the report shows.
    roi:
        The structures or labels that were compared.

    Raises
    ------
    ScanError, DataError
        Masks or images cannot be read, or the file cannot be written.
    """
    page = comparison_page(comparison, Path(predicted), Path(reference), images, command, roi)
    page.write(Path(path))


def comparison_page(
    comparison: Comparison,
    predicted: Path,
    reference: Path,
    images: StrPath | None = None,
    command: str = "",
    roi: RoiSelection | None = None,
) -> Page:
    """Return the page that `write_comparison_report` writes."""
    facts = (("Predicted masks", predicted.name), ("Reference masks", reference.name))
    pictures = {}
    if images is not None:
        pictures = _images(comparison, predicted, reference, Path(images), roi)
    return scores_page("Comparison with reference masks", comparison, facts, pictures, command)


def _images(
    comparison: Comparison,
    predicted: Path,
    reference: Path,
    images: Path,
    roi: RoiSelection | None,
) -> dict[str, PageImage]:
    """Return the worst slice of each case whose scan can be read and fits the masks."""
    pairs = match_cases(predicted, reference)
    image_files = match_images(images, reference, pairs)
    pictures = {
        case: _image(case, image_files[case], masks, roi, comparison.classes)
        for case, *masks in pairs
        if case in image_files and case in comparison.cases
    }
    return {case: picture for case, picture in pictures.items() if picture is not None}


def _image(
    case: str,
    image: Path,
    files: Sequence[Path],
    roi: RoiSelection | None,
    classes: Mapping[str, int],
) -> PageImage | None:
    try:
        scan = read(image)
    except PleuraError:
        return None
    labels_of = classes_to_compare(classes)
    masks = read_mask_pair(*files, image=image, roi=roi, classes=labels_of)
    orders = canonical_orders(scan, *masks)
    hu = orders[0].apply(scan.hu())
    labels = [order.apply(m.labels) for order, m in zip(orders[1:], masks, strict=True)]
    if hu.shape != labels[0].shape:
        return None
    regions = masks[0].regions if classes else {}
    return worst_slice(CaseArrays(case, hu, labels[0], labels[1], classes=regions))
