"""Distributed data parallel training, one process per device, started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pleura.errors import RecipeError
from pleura.names import counted
from pleura.network.tiling import SegmentationNetwork, forward_whole
from pleura.typing import AnyArray

T = TypeVar("T")


class Processes:
    """The process group of a training; with one process, its methods do nothing.

    Each process computes its part of every batch. Up to rounding and dropout, losses and weights
    are those of one process with the whole batch. Batch normalisation is synchronised on GPUs; on
    CPUs it uses the statistics of the part.

    Parameters
    ----------
    rank:
        Rank of this process.
    size:
        Number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process has rank 0, which writes files and prints."""
        return self.rank == 0

    def on_rank_zero(self, work: Callable[[], T]) -> T | None:
        """Call a function on rank 0 while the other processes wait.

        Returns
        -------
        object
            The result on rank 0; None on the others.

        Raises
        ------
        Exception
            The exception of the function, in all processes.
        """
        if self.size == 1:
            return work()
        result: T | None = None
        failed: list[Exception | None] = [None]
        if self.is_rank_zero:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001  (raised below, in all processes)
                failed = [error]
        dist.broadcast_object_list(failed)
        if failed[0] is not None:
            raise failed[0]
        return result

    def share(self, batch: AnyArray) -> AnyArray:
        """Return the part of a batch (n, rows, columns) that this process computes."""
        return batch[self.rank :: self.size]

    def check_batch(self, size: int) -> None:
        """Check that a batch can be divided into equal parts.

        Raises
        ------
        RecipeError
            The number of processes does not divide its size.
        """
        if size % self.size:
            raise RecipeError(
                f"a batch of {size} images cannot be divided by {self.size} processes",
                where="training.batch_size",
                hint=f"set training.batch_size to a multiple of {self.size}",
            )

    def network(self, network: SegmentationNetwork) -> Callable[[Tensor], Tensor]:
        """Return a function from images to logits, with gradients averaged over all processes."""
        module = _WholeImage(network)
        if self.size == 1:
            return module
        if next(network.parameters()).is_cuda:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(module)

    def all_reduce(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, scaled for gradients that are averaged."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total + self.size * (value - value.detach())

    def mean(self, *values: float) -> list[float]:
        """Return the mean of each number over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)  # on the CPU, where gloo reduces it
        dist.all_reduce(total)
        return [float(value) for value in total / self.size]


class _WholeImage(nn.Module):
    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return forward_whole(self.network, images)


def is_rank_zero() -> bool:
    """Return whether this process has rank 0, or was not started by `torchrun`."""
    return int(os.environ.get("RANK", "0")) == 0


def is_distributed() -> bool:
    """Return whether `torchrun` started several processes."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """Initialise the process group of the processes that `torchrun` started, and destroy it.

    Parameters
    ----------
    device:
        Device of the recipe; with ``cuda`` each process uses one GPU.

    Yields
    ------
    Processes
        The process group; a single process without `torchrun`.

    Raises
    ------
    RecipeError
        There are more processes than GPUs, or the device cannot be shared.
    """
    if dist.is_available() and dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if not is_distributed():
        yield Processes()
        return
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if gpus and local_rank >= gpus:
        raise RecipeError(
            f"there are more processes than GPUs: this computer has {counted(gpus, 'GPU')}",
            where="training.device",
            hint=f"start torchrun with --nproc-per-node={gpus}",
        )
    if device in ("auto", "mps") and torch.backends.mps.is_available():
        raise RecipeError(
            "processes cannot share an Apple GPU",
            where="training.device",
            hint="start one process, or add --set training.device=cpu",
        )
    if gpus:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
