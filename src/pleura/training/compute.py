"""Device, precision, threads and memory of the computation."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pleura.engine.cpu import is_slow_in_bf16
from pleura.errors import RecipeError
from pleura.network.tiling import SegmentationNetwork, predict_whole
from pleura.scan.bit_field import BIT_DTYPE
from pleura.training.recipe import TrainingRecipe
from pleura.typing import FloatArray, TargetArray

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""


class ComputeDevice:
    """The device and the precision of a recipe on this computer.

    Parameters
    ----------
    recipe:
        Names of the device and the precision; ``auto`` chooses from those that are available.

    Attributes
    ----------
    device:
        The device of PyTorch.
    precision:
        ``fp32``, or ``bf16`` for mixed precision.

    Raises
    ------
    RecipeError
        The device of the recipe is not available.
    """

    def __init__(self, recipe: TrainingRecipe) -> None:
        self.device: torch.device = _device(recipe.device)
        self.precision: Literal["fp32", "bf16"] = (
            ("bf16" if _supports_bf16(self.device) else "fp32")
            if recipe.precision == "auto"
            else recipe.precision
        )

    def place(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """Move a network to the device, in the memory format that is fastest for it."""
        # The type stub of Module.to lacks this overload.
        return network.to(self.device).to(memory_format=self._memory_format(network))  # type: ignore[call-overload, no-any-return]

    def tensor(self, images: FloatArray, network: SegmentationNetwork) -> Tensor:
        """Return images as a (n, channels, rows, columns) tensor for a network on the device.

        Images (n, rows, columns) have one channel.
        """
        with_channels = images[:, None] if images.ndim == 3 else images
        tensor = torch.from_numpy(with_channels).to(self.device)
        return tensor.contiguous(memory_format=self._memory_format(network))

    def targets(self, masks: TargetArray, classes: int = 0) -> Tensor:
        """Return masks as targets of the loss, on the device.

        Fractions of lung are float32 (n, 1, rows, columns). Class indices are int64
        (n, rows, columns), as for `torch.nn.CrossEntropyLoss`. Bit fields of ``classes`` that may
        overlap are float32 (n, classes, rows, columns), 0 and 1.
        """
        if masks.dtype == BIT_DTYPE:
            bits = torch.from_numpy(masks.astype(np.int32)).to(self.device)[:, None]
            shifts = torch.arange(classes, device=self.device)[:, None, None]
            return ((bits >> shifts) & 1).float()
        if masks.dtype == np.uint8:
            return torch.from_numpy(masks).to(self.device).long()
        return self.maps(masks.astype(np.float32, copy=False))

    def maps(self, values: FloatArray) -> Tensor:
        """Return values (n, rows, columns) of pixels as a (n, 1, rows, columns) tensor."""
        return torch.from_numpy(values[:, None]).to(self.device)

    def _memory_format(self, network: SegmentationNetwork) -> torch.memory_format:
        # With AVX2 alone, oneDNN takes twice as long for the gradient of the weights of a wide
        # convolution in the channels-last format (docs/experiments/speed.md, 57).
        only_avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
        planar = self.device.type == "cpu" and only_avx2 and network.is_wide
        return torch.contiguous_format if planar else torch.channels_last

    def mixed_precision(self) -> AbstractContextManager[object]:
        """Return a context manager in which convolutions use the precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def logits(self, network: SegmentationNetwork, images: FloatArray) -> Tensor:
        """Return float32 logits (n, outputs, rows, columns) of images, as of `tensor`."""
        network.eval()
        with torch.inference_mode(), self.mixed_precision():
            return predict_whole(network, self.tensor(images, network)).float()


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Set the number of CPU threads of PyTorch, and restore it at the end.

    Parameters
    ----------
    count:
        Number of threads; None keeps the current number.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def reuse_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process for reuse, and release it at the end (glibc only).

    glibc returns each freed feature map to the system, and the system clears its pages at the next
    allocation: a quarter of the time of a step of recipe ``exercise``. This sets two parameters of
    mallopt(3) for the whole process. At the end they get the values that the environment or glibc
    gives them at the start of a process, because glibc cannot report other values. glibc also
    stops adapting its threshold for large allocations to the process; this cannot be restored.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, _environment_integer("MALLOC_MMAP_MAX_", 65_536))
        libc.mallopt(_M_TRIM_THRESHOLD, _environment_integer("MALLOC_TRIM_THRESHOLD_", 128 * 1024))
        libc.malloc_trim(0)


def _environment_integer(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def _device(name: str) -> torch.device:
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    names = [device for device, present in available.items() if present]
    if name == "auto":
        return torch.device(names[0])
    if name not in names:
        raise RecipeError(
            f"the device {name} is not available on this computer",
            where="training.device",
            hint=f"choose auto or one of {', '.join(names)}",
        )
    return torch.device(name)


def _supports_bf16(device: torch.device) -> bool:
    """Return whether the device has bfloat16 arithmetic that is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return not is_slow_in_bf16() and bool(
            capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        )
    return False
