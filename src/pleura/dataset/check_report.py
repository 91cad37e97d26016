"""The result of checking a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pleura.dataset.label_errors import SuspectedLabel
from pleura.figures.html import html_table
from pleura.files.atomic import write_text
from pleura.intensity.estimate import UnitsEstimate
from pleura.names import counted
from pleura.typing import StrPath

Severity = Literal["error", "warning", "note"]
Topic = Literal[
    "files", "units", "duplicates", "masks", "labels", "label errors", "orientation", "variety"
]


@dataclass(frozen=True, repr=False)
class Finding:
    """One problem or property of a data set.

    Parameters
    ----------
    severity:
        ``error``: the set cannot be trained on; ``warning``: results may be wrong or biased;
        ``note``: no action is needed.
    topic:
        What the finding is about.
    message:
        What was found.
    files:
        The files that the finding is about; empty if it is about the whole set.
    hint:
        What to do.
    """

    severity: Severity
    topic: Topic
    message: str
    files: tuple[Path, ...]
    hint: str

    def __repr__(self) -> str:
        message = self.message if len(self.message) <= 100 else f"{self.message[:99]}…"
        return f"<Finding {self.severity}: {message}; files: {len(self.files)}>"


@dataclass(frozen=True)
class LungFraction:
    """The lung fraction of the mask area, over the readable masks of a data set.

    Parameters
    ----------
    minimum, median, maximum:
        Fractions, from 0 to 1.
    empty:
        Number of masks without lung.
    """

    minimum: float
    median: float
    maximum: float
    empty: int


@dataclass(frozen=True)
class LabelSummary:
    """Images and areas of one of several labels.

    Parameters
    ----------
    value, name:
        The label in the recipe key data.labels.
    images:
        Number of images with the label.
    median_fraction:
        Median fraction of the mask area, over these images.
    subsets:
        Number of images with the label in each subset of the recipe's split; empty if the set
        cannot be split.
    """

    value: int
    name: str
    images: int
    median_fraction: float
    subsets: Mapping[str, int]

    def __str__(self) -> str:
        subsets = ", ".join(f"{images} {subset}" for subset, images in self.subsets.items())
        area = f"{self.median_fraction:.2%} of an image (median)"
        where = f" ({subsets})" if subsets else ""
        return f"{self.value} {self.name}: {counted(self.images, 'image')}{where}, {area}"


@dataclass(frozen=True, repr=False)
class CheckReport:
    """The result of checking a data set.

    Parameters
    ----------
    images, masks:
        The folders.
    pairs, readable:
        Number of image-mask pairs, and of those that can be read.
    sizes, dtypes:
        Number of images per size, such as ``512x512``, and per dtype.
    values:
        Smallest and largest stored value; None if no image can be read.
    lung_fraction:
        Lung fraction of the mask area; None if no mask can be read.
    units:
        The estimated intensity units.
    findings:
        Problems and properties of the set.
    label_errors:
        Masks with suspected label errors, in order of descending score.
    labels:
        The labels of a set with several classes; empty for lungs.
    """

    images: Path
    masks: Path
    pairs: int
    readable: int
    sizes: Mapping[str, int]
    dtypes: Mapping[str, int]
    values: tuple[float, float] | None
    lung_fraction: LungFraction | None
    units: UnitsEstimate
    findings: tuple[Finding, ...]
    label_errors: tuple[SuspectedLabel, ...] = ()
    labels: tuple[LabelSummary, ...] = ()

    @property
    def fit_to_train(self) -> bool:
        """Whether there is no finding of severity ``error``."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def is_convertible(self) -> bool:
        """Whether the conversion of the images to HU is known."""
        return self.units.scale is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        report = {**asdict(replace(self, label_errors=())), "fit_to_train": self.fit_to_train}
        report["images"], report["masks"] = str(self.images), str(self.masks)
        for finding in report["findings"]:
            finding["files"] = [str(path) for path in finding["files"]]
        report["label_errors"] = [one.to_dict() for one in self.label_errors]
        return report

    def write_label_errors(self, path: StrPath) -> None:
        """Write the names of images with suspected label errors, one per line.

        `pleura.dataset.subsets.read_names` and ``pleura train --exclude`` read such a file.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        write_text(Path(path), "".join(f"{one.name}\n" for one in self.label_errors))

    def __repr__(self) -> str:
        return (
            f"<CheckReport: {counted(self.pairs, 'pair')}, {self.readable} readable, "
            f"{self.units.kind}; "
            f"{self._counted_findings()}>"
        )

    def _repr_html_(self) -> str:
        values = self.values
        facts = [
            ("pairs", f"{self.pairs} ({self.readable} readable)"),
            ("sizes", format_counts(self.sizes)),
            ("dtypes", format_counts(self.dtypes)),
            ("values", "" if values is None else f"{values[0]:g} to {values[1]:g}"),
            ("units", self.units.reason),
            ("model", describe_model_input(self.units)),
            *(("label", str(label)) for label in self.labels),
            ("findings", self._counted_findings()),
        ]
        findings = [
            (one.severity, one.message, ", ".join(path.name for path in one.files[:5]), one.hint)
            for one in self.findings
        ]
        columns = ("severity", "message", "files", "hint")
        return html_table((), facts) + (html_table(columns, findings) if findings else "")

    def _counted_findings(self) -> str:
        counts = Counter(finding.severity for finding in self.findings)
        names = [counted(n, severity) for severity, n in counts.items()]
        return ", ".join(names) or "no findings"


def describe_model_input(units: UnitsEstimate) -> str:
    """Return which images the model of a run segments that is trained on images of these units."""
    if units.kind == "grey":
        depth = "8-bit " if units.grey_limits in ((0, 255), (255, 0)) else ""
        return (
            f"{depth}grey values: the exported model will segment {depth or 'greyscale '}images, "
            "not scans in HU"
        )
    if units.kind in ("mixed", "wrapped HU"):
        return f"{units.kind}: a run trained on these images cannot be exported"
    if units.kind == "unknown":
        return "unknown: the exported model will take the stored values as HU"
    return "the exported model will segment scans in HU"


def format_counts(counts: Mapping[str, int]) -> str:
    """Return counts as text, such as ``512x512 (12), 256x256 (1)``; ``none`` if empty."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"
