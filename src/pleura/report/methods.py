"""The description of the methods of a cohort, for a publication."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pleura
from pleura.cohort.result_names import report_path
from pleura.cohort.tables import ScanResult, read_summaries
from pleura.errors import DataError
from pleura.files.records import read_record
from pleura.masks.mask import flag_title
from pleura.typing import StrPath

_U_NET = (
    "Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation, MICCAI 2015"
)
_MEASURES = (
    "The volume of a lung is the number of its voxels times the voxel size. Densities are over all "
    "voxels of the mask, vessels included: mean and standard deviation, percentiles, the shares "
    "below -950, -910 and -856 HU (LAA-950, LAA-910, LAA-856), the share from -600 to -250 HU "
    "(HAA), and the shares of hyperinflated (-1024 to -900 HU), normally (to -500 HU), poorly (to "
    "-100 HU) and not aerated lung (to 100 HU)."
)


@dataclass(frozen=True)
class _Setup:
    """Software, model and settings that segmented a scan."""

    pleura: str
    model: str
    model_version: str
    weights: str
    threshold: float
    sides: bool
    dense: bool

    def __str__(self) -> str:
        network = "a U-Net [1]" if self.is_shipped else "a network"
        sides = "Right and left lung have separate labels." if self.sides else ""
        dense = "Consolidated lung and masses are added by a second network. " if self.dense else ""
        return (
            f"with pleura {self.pleura} and the model {self.model} (version {self.model_version}, "
            f"SHA-256 of the weights {self.weights[:12]}), {network} that computes the probability "
            f"of lung in each pixel of each axial slice. Pixels with a probability of at least "
            f"{self.threshold:.2f} are lung; small components are removed, and small holes are "
            f"filled. {dense}{sides}"
        ).strip()

    @property
    def is_shipped(self) -> bool:
        return self.model.startswith("pleura-")


def methods_paragraph(folder: StrPath) -> str:
    """Describe how the scans of a folder were segmented, for the methods section of a publication.

    Parameters
    ----------
    folder:
        The folder of the results of `segment_cohort`.

    Returns
    -------
    str
        Paragraphs in plain text, separated by an empty line: software, model and settings; numbers
        of scans and flags; definitions of the measurements; how to cite.

    Raises
    ------
    DataError
        The folder has no results, or no report can be read.
    """
    rows = read_summaries(folder)
    reports = {row.name: read_record(report_path(Path(folder), row)) for row in rows}
    paragraphs = methods_of(rows, reports)
    if not paragraphs:
        raise DataError(
            "no scan was segmented, or all reports are damaged",
            where=folder,
            hint="segment the folder again",
        )
    return "\n\n".join(paragraphs)


def methods_of(
    rows: Sequence[ScanResult], reports: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return the paragraphs of `methods_paragraph`.

    Parameters
    ----------
    rows:
        The result of each scan.
    reports:
        The JSON report of each scan by name; damaged ones are left out of the text.
    """
    setups = Counter(filter(None, map(_setup, reports.values())))
    if not setups:
        return ()
    paragraphs = [
        " ".join(
            f"{_scans(count)} {'was' if count == 1 else 'were'} segmented {setup}"
            for setup, count in setups.most_common()
        ),
        _numbers(rows, [report for report in reports.values() if _setup(report)]),
    ]
    if any(report.get("measurements") for report in reports.values()):
        paragraphs.append(_MEASURES)
    versions = ", ".join(sorted({setup.pleura for setup in setups}))
    references = f" [1] {_U_NET}." if any(setup.is_shipped for setup in setups) else ""
    paragraphs.append(f"Cite as: pleura, version {versions}{_address()}.{references}")
    return tuple(paragraphs)


def _setup(report: Mapping[str, Any]) -> _Setup | None:
    try:
        options, model = report["options"], report["options"]["model"]
        return _Setup(
            str(report["versions"]["pleura"]),
            str(model["name"]),
            str(model["version"]),
            str(model["weights_sha256"]),
            int(options["threshold"]) / 255,
            bool(options["sides"]),
            options.get("dense") == "include",
        )
    except (KeyError, TypeError, ValueError):  # damaged
        return None


def _numbers(rows: Sequence[ScanResult], reports: Sequence[Mapping[str, Any]]) -> str:
    failed = sum(row.status == "failed" for row in rows)
    done = len(rows) - failed
    converted = sum(report.get("units") != "HU" and not _takes_grey(report) for report in reports)
    kinds = Counter(name for row in rows for name in row.flags.split("; ") if name)
    flagged = sum(bool(row.flags) for row in rows)
    sentences = [f"Of {_scans(len(rows))}, {done:,} were segmented and {failed:,} failed."]
    if converted:
        sentences.append(f"The values of {_scans(converted)} were converted to HU automatically.")
    if flagged:
        counts = ", ".join(f"{flag_title(name).lower()} ({n:,})" for name, n in kinds.most_common())
        sentences.append(
            f"Automatic quality checks flagged {flagged:,} of {done:,} masks: {counts}. "
            "[Add how the flagged masks were reviewed.]"
        )
    else:
        sentences.append("Automatic quality checks flagged no mask.")
    return " ".join(sentences)


def _takes_grey(report: Mapping[str, Any]) -> bool:
    """Return whether the model of a report takes grey values, not HU."""
    try:
        return bool(report["options"]["model"]["input"] == "grey")
    except (KeyError, TypeError):
        return False


def _scans(count: int) -> str:
    return f"{count:,} scan{'' if count == 1 else 's'}"


def _address() -> str:
    """Return the address of the project, as the installed package states it."""
    try:
        addresses = metadata(pleura.__name__).get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named = dict(address.split(", ", 1) for address in addresses if ", " in address)
    address = named.get("Repository") or next(iter(named.values()), "")
    return f", {address}" if address else ""
