"""Progress of a training in terminals and notebooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn

from pleura.training.callbacks import StepReport, TrainingCallbacks
from pleura.training.history import Epoch
from pleura.training.processes import is_rank_zero
from pleura.training.progress_bar import new_progress_bar

_SECONDS_BETWEEN_UPDATES = 0.2
"""Of the bar in a notebook, each of which is a message to the browser."""


@contextmanager
def training_progress(
    show: bool | None, epochs: int, callbacks: TrainingCallbacks
) -> Iterator[TrainingCallbacks]:
    """Show a progress bar and a line per epoch, in a notebook or on standard error.

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
    elif console.is_jupyter:
        bar = _NotebookBar(epochs)
        yield TrainingCallbacks(bar.on_read, bar.on_step, bar.on_epoch) + callbacks
        bar.close()
    else:
        with new_progress_bar(console, TextColumn("{task.fields[note]}")) as terminal:
            yield _terminal_callbacks(terminal, epochs) + callbacks


def _terminal_callbacks(bar: Progress, epochs: int) -> TrainingCallbacks:
    reading = bar.add_task("reading", total=None, note="")
    training = bar.add_task("training", total=None, note="", visible=False)

    def on_read(done: int, total: int) -> None:
        bar.update(reading, completed=done, total=total, visible=done < total)
        bar.update(training, visible=done == total)

    def on_step(report: StepReport) -> None:
        done, total = _steps(report)
        bar.update(training, completed=done, total=total, note=_step_text(report))

    def on_epoch(row: Epoch) -> None:
        bar.console.print(_epoch_line(row, epochs), highlight=False, soft_wrap=True)

    return TrainingCallbacks(on_read, on_step, on_epoch)


class _NotebookBar:
    """One output of a cell, which is updated: a bar, and the lines of the epochs below it.

    It needs no widgets, so it also remains in a notebook that is saved or converted.
    """

    def __init__(self, epochs: int) -> None:
        from IPython.display import display

        self._epochs = epochs
        self._lines: list[str] = []
        self._text: str = "reading images"
        self._done: tuple[int, int] = (0, 1)
        self._start: float = time.monotonic()
        self._updated: float = 0.0
        show: Any = display  # has no annotations
        self._handle: Any = show(self._bundle(), raw=True, display_id=True)

    def on_read(self, done: int, total: int) -> None:
        """Show the number of images that are read."""
        self._text, self._done = f"reading image {done} of {total}", (done, total)
        if done == total:
            self._start = time.monotonic()
        self._update()

    def on_step(self, report: StepReport) -> None:
        """Show loss and accuracy of the epoch, and the remaining time."""
        done, total = self._done = _steps(report)
        seconds = time.monotonic() - self._start
        times = f"{_clock(seconds)} elapsed, {_clock(seconds * (total - done) / done)} left"
        self._text = f"{_step_text(report)}  {times}"
        self._update()

    def on_epoch(self, row: Epoch) -> None:
        """Add the line of an epoch."""
        self._lines.append(_epoch_line(row, self._epochs))
        self._update(always=True)

    def close(self) -> None:
        """Show how long the training took."""
        n = len(self._lines)
        self._text = f"{n} epochs in {_clock(time.monotonic() - self._start)}"
        self._update(always=True)

    def _update(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._updated > _SECONDS_BETWEEN_UPDATES:
            self._updated = now
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        done, total = self._done
        lines = "\n".join(reversed(self._lines))  # the last one stays in view
        return {
            "text/plain": "\n".join([self._text, lines]).rstrip(),
            "text/html": (
                f'<progress value="{done}" max="{total}" style="width: 20em"></progress> '
                f"{escape(self._text)}"
                '<pre style="font-family: monospace; max-height: 12em; overflow: auto">'
                f"{escape(lines)}</pre>"
            ),
        }


def _steps(report: StepReport) -> tuple[int, int]:
    """Return the number of steps that are done, and of all steps."""
    return (report.epoch - 1) * report.steps + report.step, report.epochs * report.steps


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"


def _step_text(report: StepReport) -> str:
    return (
        f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}  "
        f"accuracy {report.accuracy:.4f}  rate {report.learning_rate:.1e}"
    )


def _epoch_line(row: Epoch, epochs: int) -> str:
    left = row["seconds"] * (epochs - row["epoch"])
    return (
        f"epoch {row['epoch']:>3.0f}/{epochs}  loss {row['loss']:.4f}  "
        f"accuracy {row['accuracy']:.4f}  validation loss {row['validation_loss']:.4f}  "
        f"accuracy {row['validation_accuracy']:.4f}  rate {row['learning_rate']:.1e}  "
        f"{row['seconds']:.0f} s" + (f", about {_clock(left)} left" if left else "")
    )
