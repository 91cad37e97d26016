"""Summary of the labels of a data set with several classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from pleura.dataset.check_report import Finding, LabelSummary
from pleura.dataset.pair_summary import PairSummary
from pleura.dataset.sources import split_listed_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.dataset.subsets import SUBSETS
from pleura.errors import PleuraError
from pleura.names import counted
from pleura.scan.labels import Label, may_overlap


def summarise_labels(
    summaries: Sequence[PairSummary], labels: Sequence[Label], split: SplitRecipe | None
) -> tuple[LabelSummary, ...]:
    """Return images and areas of each label, in each subset if the set can be split."""
    readable = [one for one in summaries if one.label_fractions]
    if not readable:
        return ()
    subset = _subset_by_name(readable, split)
    found = []
    for i, label in enumerate(labels):
        having = [one for one in readable if one.label_fractions[i]]
        fractions = [one.label_fractions[i] for one in having]
        by_subset = {
            name: sum(subset.get(one.pair.name) == name for one in having) for name in SUBSETS
        }
        found.append(
            LabelSummary(
                label.value,
                label.name,
                len(having),
                median(fractions) if fractions else 0.0,
                by_subset if subset else {},
            )
        )
    return tuple(found)


def of_labels(summaries: Sequence[LabelSummary], masks: Path) -> Iterator[Finding]:
    """Yield labels that no mask has, or no mask of a subset."""
    for label in summaries:
        text = f"the label {label.value} ({label.name})"
        if not label.images:
            hint = "remove it from data.labels, or add masks with it"
            yield Finding("error", "labels", f"no mask has {text}", (masks,), hint)
            continue
        for subset, images in label.subsets.items():
            if not images:
                yield Finding(
                    "error" if subset == "training" else "warning",
                    "labels",
                    f"no {subset} image has {text}; {counted(label.images, 'image')} in all",
                    (),
                    "change the split of the recipe (split.method, split.seed), or add images",
                )


def of_overlap(summaries: Sequence[PairSummary], labels: Sequence[Label]) -> Iterator[Finding]:
    """Yield masks of classes that overlap in the files of exclusive classes."""
    having = [one for one in summaries if one.overlap]
    if having and not may_overlap(labels):
        pixels = sum(one.overlap for one in having)
        yield Finding(
            "note",
            "labels",
            f"{counted(pixels, 'pixel')} of {counted(len(having), 'image')} in the masks of "
            "several classes; the class with the highest value has priority",
            tuple(one.pair.mask for one in having),
            "to keep all, set data.overlap to true; or choose the values in data.labels so that "
            "the class with priority has the highest",
        )


def _subset_by_name(
    summaries: Sequence[PairSummary], split: SplitRecipe | None
) -> Mapping[str, str]:
    """Return the subset of each pair; empty if the set cannot be split as the recipe states."""
    if split is None:
        return {}
    try:
        return split_listed_pairs([one.pair for one in summaries], split).subset_by_name()
    except PleuraError:  # a training reports it
        return {}
