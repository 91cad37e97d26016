"""Printing the results of `pleura segment`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.cli.common import describe_mask, echo

if TYPE_CHECKING:
    from pleura.cohort.scan_report import ScanReport
    from pleura.cohort.tables import ScanResult

_MAX_FLAGS = 5
"""Number of flagged scans of a cohort to print; all are in the summary."""


def print_results(results: list[ScanResult], output: Path | str, quiet: bool) -> None:
    """Print failed scans, some flagged ones and the number of scans of a cohort."""
    from pleura.masks.mask import flag_title

    for result in results:
        if result.status == "failed":
            echo(f"failed   {_label(result)}: {result.error}", fg="red", err=True)
    flagged = [result for result in results if result.flags]
    for result in flagged[:_MAX_FLAGS]:
        titles = ", ".join(flag_title(name).lower() for name in result.flags.split("; "))
        echo(f"flag     {_label(result)}: {titles}", fg="yellow", err=True)
    if len(flagged) > _MAX_FLAGS:
        echo(f"flag     and {len(flagged) - _MAX_FLAGS} more", fg="yellow", err=True)
    counts = Counter(result.status for result in results)
    text = ", ".join(f"{counts[status]} {status}" for status in ("done", "skipped", "failed"))
    if counts["skipped"] and not quiet:
        echo("skipped  results of the same scans and options exist; --overwrite replaces them")
    if not quiet:
        echo(f"{text}; see {str(output).rstrip('/')}/summary.csv")


def _label(result: ScanResult) -> str:
    return f"{result.name} ({result.source})" if result.source else result.name


def print_report(report: ScanReport, quiet: bool) -> None:
    """Print the result; only warnings and flags if quiet."""
    from pleura.masks.mask import flag_title

    show = (lambda _: None) if quiet else echo
    show(f"{report.scan}: {report.grid}; {report.units}")
    for decision in report.decisions:
        text = f"{decision['topic']}: {decision['choice']} ({decision['reason']})"
        if not decision["warning"]:
            show(text)
        elif decision["topic"] not in report.flags:  # a flag repeats the decision
            echo(f"warning  {text}", fg="yellow", err=True)
    for name, message in report.flags.items():
        echo(f"flag     {flag_title(name)}: {message}", fg="red", err=True)
    sizes, unit = (report.volume_ml, "ml") if report.volume_ml else (report.voxels, "pixels")
    show(", ".join(f"{side} {size:.0f} {unit}" for side, size in sizes.items()))
    show(describe_mask(str(report.mask), report.seconds))
