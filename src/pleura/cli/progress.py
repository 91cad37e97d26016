"""Progress bars in a terminal, with rich, which is slow to import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

from pleura.training.progress_bar import new_progress_bar
from pleura.typing import Progress as ProgressCallback


class _Speed(ProgressColumn):
    """Number of items per second, in the task's own unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{task.speed:.3g} {unit}/s" if unit and task.speed is not None else "")


@contextmanager
def terminal_bars(
    console: Console, labels: Mapping[str, str]
) -> Iterator[dict[str, ProgressCallback]]:
    """Show several progress bars, each from its first call; as `pleura.cli.common.progress_bars`.

    Parameters
    ----------
    console:
        Where to show them.
    labels:
        Unit of the speed by text before the bar.

    Yields
    ------
    dict
        Function of the number of items that are done, and of all items, by label.
    """
    with new_progress_bar(console, _Speed()) as bars:

        def callback(label: str, unit: str) -> ProgressCallback:
            alone = len(labels) == 1
            task = bars.add_task(label, total=None, visible=alone, start=alone, unit=unit)

            def update(done: int, total: int) -> None:
                if not bars.tasks[task].started:
                    bars.start_task(task)
                bars.update(task, completed=done, total=total, visible=True)

            return update

        yield {label: callback(label, unit) for label, unit in labels.items()}
