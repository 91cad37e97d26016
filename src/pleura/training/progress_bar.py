"""The progress bar of commands and trainings; this module needs no PyTorch."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def new_progress_bar(console: Console, *columns: ProgressColumn, hidden: bool = False) -> Progress:
    """Return a progress bar with count, further columns, elapsed and remaining time.

    It is shown in terminals only, and removed at the end.

    Parameters
    ----------
    console:
        Where to show it.
    columns:
        Columns between the count and the times.
    hidden:
        Do not show it.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *columns,
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=hidden or not console.is_terminal,
        transient=True,
    )
