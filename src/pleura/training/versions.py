"""Versions of the software on which results depend."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import torch

import pleura
from pleura.dataset.opencv import cv2


def versions() -> dict[str, str]:
    """Return the versions of the software on which results depend, by name."""
    return {
        "pleura": pleura.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": torch.__version__,
    }


def git_describe() -> str | None:
    """Return git-describe of the source folder; None for an installed package."""
    source = Path(pleura.__file__).parents[2]
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
