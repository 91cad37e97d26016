"""A table of scores, with statistics over its cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pleura.errors import DataError
from pleura.evaluation.cases import NO_GROUP
from pleura.evaluation.descriptions import METRICS, DisplayUnit, display_unit
from pleura.evaluation.scores import (
    ALL_LABELS,
    LUNGS,
    OUTCOMES,
    Outcome,
    Score,
    perfect_value,
)
from pleura.evaluation.statistics import (
    Difference,
    MetricSummary,
    paired_difference,
    summarise,
)
from pleura.figures.html import html_table
from pleura.files.atomic import write_text
from pleura.files.tables import csv_text
from pleura.names import counted, printable
from pleura.typing import StrPath

_OUTCOME_TEXTS: dict[Outcome, str] = {
    "true_positive": "with {} in both masks",
    "true_negative": "without {} in either",
    "false_negative": "missed",
    "false_positive": "with {} in the prediction only",
}


@dataclass(frozen=True, repr=False)
class Comparison:
    """Scores of predictions against references: one per case and region.

    Parameters
    ----------
    scores:
        All scores.
    fingerprint:
        SHA-256 of the names and contents of the files.
    label_decisions:
        How labels other than 1 right and 2 left lung, or 1 both, were interpreted, with the number
        of masks. Check the masks of entries that begin with "warning".
    classes:
        Label by name of the classes that `compare` was given; empty for lungs.
    """

    scores: tuple[Score, ...]
    fingerprint: str = ""
    label_decisions: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def regions(self) -> list[str]:
        """The regions that were scored: both lungs, or all labels, first."""
        return list(dict.fromkeys(score.region for score in self.scores))

    @property
    def main_region(self) -> str:
        """The first region: ``lungs``, or ``all labels`` of several classes."""
        return self.scores[0].region if self.scores else LUNGS

    @property
    def cases(self) -> list[str]:
        """The names of the cases."""
        return list(dict.fromkeys(score.case for score in self.scores))

    def defined(self, region: str | None = None) -> list[Score]:
        """Return the scores of a region that have metrics: all but true negatives.

        Here and in the other methods, the default is `main_region`.
        """
        region = region or self.main_region
        return [score for score in self.scores if score.region == region and score.metrics]

    def summary(self, region: str | None = None) -> dict[str, MetricSummary]:
        """Return the statistics of each metric of a region over its cases."""
        scores = self.defined(region)
        if not scores:
            return {}
        patients = [score.patient for score in scores]
        return {
            name: summarise([score.metrics[name] for score in scores], patients)
            for name in scores[0].metrics
        }

    def outcome_counts(self, region: str | None = None) -> dict[Outcome, int]:
        """Count the outcomes of a region."""
        region = region or self.main_region
        outcomes = [score.outcome for score in self.scores if score.region == region]
        return {name: outcomes.count(name) for name in OUTCOMES}

    def by_group(self) -> dict[str, Comparison]:
        """Return the scores of each group of cases; empty if no case has a group."""
        groups: dict[str, list[Score]] = {}
        if all(score.group is None for score in self.scores):
            return {}
        for score in self.scores:
            groups.setdefault(score.group or NO_GROUP, []).append(score)
        return {name: Comparison(tuple(groups[name])) for name in sorted(groups)}

    def differences(self, other: Comparison, region: str | None = None) -> dict[str, Difference]:
        """Test whether the predictions of another model differ: other minus this.

        A case without lung (or label) in the reference, in which one model predicts it and the
        other does not, counts with the perfect values for the latter.

        Raises
        ------
        DataError
            The cases differ, or no case has lung.
        """
        region = region or self.main_region
        first, second = (
            {score.case: score for score in comparison.scores if score.region == region}
            for comparison in (self, other)
        )
        pairs = [(first[name], second[name]) for name in first if name in second]
        pairs = [pair for pair in pairs if any(score.metrics for score in pair)]
        if first.keys() != second.keys() or not pairs:
            raise DataError(
                f"the two comparisons have {counted(len(pairs), 'case')} with {noun_of(region)} in "
                "common",
                where=region,
                hint="compare both models on the same references",
            )
        metrics = next(score.metrics for pair in pairs for score in pair if score.metrics)
        patients = [score.patient for score, _ in pairs]

        def values(metric: str, scores: Iterable[Score]) -> list[float]:
            return [score.metrics.get(metric, perfect_value(metric)) for score in scores]

        return {
            metric: paired_difference(
                values(metric, (score for score, _ in pairs)),
                values(metric, (score for _, score in pairs)),
                patients,
            )
            for metric in metrics
        }

    def display_unit(self, metric: str) -> DisplayUnit:
        """Return the unit in which a metric is shown: that of the first case with lung."""
        first = next(score for score in self.scores if score.metrics)
        return display_unit(metric, first.unit, first.ndim)

    def metric_label(self, metric: str) -> str:
        """Return the name of a metric with its unit, such as ``HD95, mm``."""
        unit, label = self.display_unit(metric).text, METRICS[metric].label
        return f"{label}, {unit.replace('pixels', 'px')}" if unit else label

    def summary_row(self, region: str, metric: str) -> list[str]:
        """Return the cells below `SUMMARY_COLUMNS`, in the unit in which the metric is shown."""
        scores, unit = self.defined(region), self.display_unit(metric)
        summary = summarise([s.metrics[metric] for s in scores], [s.patient for s in scores])
        interval = summary.confidence_interval
        values = (summary.mean, summary.std, summary.median, summary.min, summary.max)
        mean, *others = map(unit.format, values)
        text = "one patient" if interval is None else " to ".join(map(unit.format, interval))
        return [self.metric_label(metric), mean, text, *others]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores and statistics, for JSON."""
        content: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "label_decisions": dict(self.label_decisions),
            "summary": self._summary_dict(),
            "scores": [asdict(score) for score in self.scores],
        }
        if groups := self.by_group():
            content["groups"] = {name: part._summary_dict() for name, part in groups.items()}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Comparison:
        """Return the scores that `to_dict` has written, also those of a subclass.

        Raises
        ------
        KeyError, TypeError
            The dictionary does not contain scores.
        """
        scores = tuple(Score(**score) for score in content["scores"])
        return Comparison(scores, content["fingerprint"], content["label_decisions"])

    def _summary_dict(self) -> dict[str, Any]:
        return {
            region: {
                "outcomes": self.outcome_counts(region),
                "metrics": {k: asdict(v) for k, v in self.summary(region).items()},
            }
            for region in self.regions
        }

    def to_csv(self) -> str:
        """Return a CSV table with one row per case and region."""
        return csv_text(*self._table())

    def write_csv(self, path: StrPath) -> None:
        """Write `to_csv` to a file.

        Raises
        ------
        DataError
            The file cannot be written.
        """
        write_text(Path(path), self.to_csv())

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows."""
        metrics = list(dict.fromkeys(name for score in self.scores for name in score.metrics))
        grouped = bool(self.by_group())
        header = ["case", "patient", *(["group"] if grouped else [])]
        rows = []
        for score in self.scores:
            names = [score.case, score.patient, *([score.group or NO_GROUP] if grouped else [])]
            cells = [f"{score.metrics[m]:.6g}" if m in score.metrics else "" for m in metrics]
            rows.append([*names, score.region, score.unit, score.outcome, *cells])
        return [*header, "region", "unit", "outcome", *metrics], rows

    def __repr__(self) -> str:
        count = len(self.cases)
        text = f"{type(self).__name__}({count} case{'s' * (count != 1)}"
        dice = self.summary().get("dice")
        return f"{text}; mean Dice {dice.mean:.4f})" if dice is not None else f"{text})"

    def _repr_html_(self) -> str:
        if len(self.cases) == 1:
            return self._case_html()
        return "".join(
            html_table(
                SUMMARY_COLUMNS,
                [self.summary_row(region, metric) for metric in self.summary(region)],
                f"{region}: {outcomes_text(self.outcome_counts(region), region)}",
                numeric=True,
            )
            for region in self.regions
        )

    def _case_html(self) -> str:
        """Return a table of the only case, with a column per region."""
        metrics = dict.fromkeys(name for score in self.scores for name in score.metrics)
        outcomes = (_OUTCOME_TEXTS[s.outcome].format(noun_of(s.region)) for s in self.scores)
        rows = [["outcome", *outcomes]]
        for name in metrics:
            unit = self.display_unit(name)
            values = (score.metrics.get(name) for score in self.scores)
            cells = ("" if value is None else unit.format(value) for value in values)
            rows.append([self.metric_label(name), *cells])
        header, caption = ["metric", *(s.region for s in self.scores)], printable(self.cases[0])
        return html_table(header, rows, caption, numeric=True)


SUMMARY_COLUMNS = ("metric", "mean", "95 % CI", "SD", "median", "min", "max")
"""Column titles of a table of statistics."""


def outcomes_text(counts: Mapping[Outcome, int], region: str = LUNGS) -> str:
    """Return the number of cases of each outcome of a region that occurs, as text."""
    texts = {outcome: text.format(noun_of(region)) for outcome, text in _OUTCOME_TEXTS.items()}
    return ", ".join(f"{counts[k]} {text}" for k, text in texts.items() if counts[k])


def noun_of(region: str) -> str:
    """Return what a region consists of: ``lung``, ``any label``, or the name of a class."""
    if region == ALL_LABELS:
        return "any label"
    return "lung" if region in (LUNGS, "right", "left") else region
