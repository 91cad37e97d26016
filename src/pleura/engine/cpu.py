"""Properties and use of the CPU."""

from __future__ import annotations

from pathlib import Path

MAX_STREAMS = 4
"""Maximum number of slices that OpenVINO predicts at the same time."""


def is_slow_in_bf16() -> bool:
    """Return whether this CPU is known to be slower in bfloat16 than in float32.

    Intel CPUs without AMX, or whose AMX a virtual machine hides, have vector instructions for
    bfloat16 (AVX512-BF16) that are slower for convolutions with few channels; those of AMD are not.
    """
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False
    return "GenuineIntel" in information and "amx_bf16" not in information
