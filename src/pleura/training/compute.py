"""Where and in which precision a network computes."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from pleura.errors import RecipeError
from pleura.network.tiling import SegmentationNetwork, predict_whole
from pleura.training.recipe import TrainingRecipe
from pleura.typing import FloatArray

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of mallopt(3); the values set back are its defaults."""


class ComputeDevice:
    """The device and precision of a recipe, resolved on this machine.

    Raises
    ------
    RecipeError
        The recipe asks for a device that this machine has not.
    """

    def __init__(self, recipe: TrainingRecipe) -> None:
        self.device: torch.device = _device(recipe.device)
        self.precision: Literal["fp32", "bf16"] = (
            ("bf16" if _computes_bf16(self.device) else "fp32")
            if recipe.precision == "auto"
            else recipe.precision
        )
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)

    def place(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """Move a network to the device, channels last (the layout of the fast convolutions)."""
        # The stub of Module.to knows no memory_format alone.
        return network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def tensor(self, pictures: FloatArray) -> Tensor:
        """Return (n, rows, columns) pictures as a (n, 1, rows, columns) tensor on the device."""
        tensor = torch.from_numpy(pictures[:, None]).to(self.device)
        return tensor.contiguous(memory_format=torch.channels_last)

    def mixed_precision(self) -> AbstractContextManager[object]:
        """Return the context in which convolutions run in the precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def logits(self, network: SegmentationNetwork, pictures: FloatArray) -> Tensor:
        """Return float32 logits (n, 1, rows, columns) of (n, rows, columns) pictures."""
        network.eval()
        with torch.inference_mode(), self.mixed_precision():
            return predict_whole(network, self.tensor(pictures)).float()


@contextlib.contextmanager
def reuse_freed_memory() -> Iterator[None]:
    """Let the process keep the memory that it frees, and give it back at the end (glibc only).

    glibc returns a freed feature map to the system, which hands its pages out again zeroed, one
    fault each: a quarter of a step of recipe `exercise` (docs/experiments.md).
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
        libc.mallopt(_M_MMAP_MAX, 65_536)
        libc.mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


def _device(wanted: str) -> torch.device:
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[wanted]:
        raise RecipeError(
            f"this machine has no {wanted} device",
            where="training.device",
            hint=f"choose auto or one of {', '.join(n for n, there in present.items() if there)}",
        )
    return torch.device(wanted)


def _computes_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed and not emulated, which would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return False
