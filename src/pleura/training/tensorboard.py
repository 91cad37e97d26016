"""TensorBoard events of a run, where TensorBoard is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def event_writer(folder: Path, next_epoch: int) -> Iterator[Any]:
    """Yield a ``SummaryWriter`` for a folder; None where TensorBoard is not installed.

    Parameters
    ----------
    folder:
        Folder of the event files.
    next_epoch:
        Earlier events of this epoch and of later ones are hidden by TensorBoard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield None
        return
    with SummaryWriter(str(folder), purge_step=next_epoch) as writer:
        yield writer


def write_epoch(writer: Any, row: Mapping[str, float], epoch: int) -> None:
    """Write the values of an epoch, if there is a writer."""
    if writer is not None:
        for name, value in row.items():
            writer.add_scalar(name, value, epoch)


def remove_host_name(folder: Path) -> None:
    """Rename event files: TensorBoard writes the host name into their names."""
    number = len(list(folder.glob("events.out.tfevents.run-*")))
    for path in sorted(folder.glob("events.out.tfevents.[0-9]*")):
        number += 1
        path.replace(folder / f"events.out.tfevents.run-{number}")
