"""Progress of a training in terminals and notebooks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pleura.training.callbacks import StepReport, TrainingCallbacks
from pleura.training.history import Epoch
from pleura.training.processes import is_rank_zero


@contextmanager
def training_progress(
    show: bool | None, epochs: int, callbacks: TrainingCallbacks
) -> Iterator[TrainingCallbacks]:
    """Show a progress bar and a line per epoch on standard error.

    Parameters
    ----------
    show:
        Whether to show them; None for terminals and notebooks only. Without a terminal or notebook,
        only the lines are shown.
    epochs:
        Number of epochs of the training.
    callbacks:
        Callbacks of the user.

    Yields
    ------
    TrainingCallbacks
        Callbacks for the training, which also call those of the user.
    """
    console = Console(stderr=True)
    interactive = console.is_terminal or console.is_jupyter
    if show is False or (show is None and not interactive) or not is_rank_zero():
        yield callbacks
        return
    with _new_bar(console, interactive) as bar:
        reading = bar.add_task("reading", total=None, note="")
        training = bar.add_task("training", total=None, note="", visible=False)

        def on_read(done: int, total: int) -> None:
            bar.update(reading, completed=done, total=total, visible=done < total)
            bar.update(training, visible=done == total)
            if callbacks.on_read is not None:
                callbacks.on_read(done, total)

        def on_step(report: StepReport) -> None:
            bar.update(
                training,
                completed=(report.epoch - 1) * report.steps + report.step,
                total=report.epochs * report.steps,
                note=f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}  "
                f"accuracy {report.accuracy:.4f}  rate {report.learning_rate:.1e}",
            )
            if callbacks.on_step is not None:
                callbacks.on_step(report)

        def on_epoch(row: Epoch) -> None:
            console.print(_epoch_line(row, epochs), highlight=False, soft_wrap=True)
            if callbacks.on_epoch is not None:
                callbacks.on_epoch(row)

        yield TrainingCallbacks(on_read, on_step, on_epoch)


def _new_bar(console: Console, interactive: bool) -> Progress:
    # In notebooks, rich warns where ipywidgets is missing.
    widgets = not console.is_jupyter or importlib.util.find_spec("ipywidgets") is not None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not (interactive and widgets),
        transient=True,
    )


def _epoch_line(row: Epoch, epochs: int) -> str:
    return (
        f"epoch {row['epoch']:>3.0f}/{epochs}  loss {row['loss']:.4f}  "
        f"accuracy {row['accuracy']:.4f}  validation loss {row['validation_loss']:.4f}  "
        f"accuracy {row['validation_accuracy']:.4f}  rate {row['learning_rate']:.1e}  "
        f"{row['seconds']:.0f} s"
    )
