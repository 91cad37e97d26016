"""A training shared by several processes, one a device, as `torchrun` starts them."""

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
from pleura.network.tiling import SegmentationNetwork, forward_whole
from pleura.typing import FloatArray

T = TypeVar("T")


class Processes:
    """The processes of a training; alone, all of this does nothing.

    Each takes its share of every batch, so that the losses and the weights are those of one process
    with the whole batch: to rounding, where no layer looks at the batch (batch normalisation: on
    graphics cards it is shared too, on processors it sees the share) and nothing is dropped out.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_rank_zero(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    def on_rank_zero(self, work: Callable[[], T]) -> T | None:
        """Have the first process do something while the others wait; its error is everybody's."""
        if self.size == 1:
            return work()
        found: T | None = None
        failed: list[Exception | None] = [None]
        if self.is_rank_zero:
            try:
                found = work()
            except Exception as error:  # noqa: BLE001  (raised below, in all processes)
                failed = [error]
        dist.broadcast_object_list(failed)
        if failed[0] is not None:
            raise failed[0]
        return found

    def share(self, batch: FloatArray) -> FloatArray:
        """Return this process's part of a batch (n, rows, columns)."""
        return batch[self.rank :: self.size]

    def check_batch(self, size: int) -> None:
        """Hold a batch to be divisible.

        Raises
        ------
        RecipeError
            It is not.
        """
        if size % self.size:
            raise RecipeError(
                f"a batch of {size} cannot be shared by {self.size} processes",
                where="training.batch_size",
                hint=f"give a multiple of {self.size}",
            )

    def network(self, network: SegmentationNetwork) -> Callable[[Tensor], Tensor]:
        """Return the network's way from images to logits, its gradients averaged over all."""
        whole = _Whole(network)
        if self.size == 1:
            return whole
        if next(network.parameters()).is_cuda:
            nn.SyncBatchNorm.convert_sync_batchnorm(whole)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(whole)

    def all_reduce(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, such that averaged gradients are those of the sum."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total + self.size * (value - value.detach())

    def mean(self, *values: float) -> list[float]:
        """Return the means of numbers over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)  # gloo's, also beside nccl
        dist.all_reduce(total)
        return [float(one) for one in total / self.size]


class _Whole(nn.Module):
    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return forward_whole(self.network, images)


def is_rank_zero() -> bool:
    """Tell whether this process is the first of those that `torchrun` started, or alone."""
    return int(os.environ.get("RANK", "0")) == 0


def is_distributed() -> bool:
    """Tell whether `torchrun` started several processes."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, for as long as the context lasts.

    ``device`` is the recipe's: on ``cuda`` each process takes a graphics card.

    Raises
    ------
    RecipeError
        There are more processes than graphics cards, or the device cannot be shared.
    """
    if dist.is_available() and dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if not is_distributed():
        yield Processes()
        return
    cards = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    here = int(os.environ.get("LOCAL_RANK", "0"))
    if cards and here >= cards:
        raise RecipeError(
            f"there are more processes than graphics cards ({cards})",
            where="training.device",
            hint=f"give torchrun --nproc-per-node={cards}",
        )
    if device in ("auto", "mps") and torch.backends.mps.is_available():
        raise RecipeError(
            "an Apple graphics card cannot be shared by processes",
            where="training.device",
            hint="start one process, or add --set training.device=cpu",
        )
    if cards:
        torch.cuda.set_device(here)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cards else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
