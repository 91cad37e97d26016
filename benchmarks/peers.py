"""The two peers, pleura and Keras: each run is a whole process in the peer's own environment."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".cache" / "keras"

Result = dict[str, Any]
"""What a peer wrote: the JSON of keras_exercise.py or pleura_exercise.py."""


def keras_python() -> Path:
    """Return the interpreter of the Keras environment, which is made where it is missing."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".ready"
    if not ready.exists():
        print(f"making {ENVIRONMENT} for Keras (about 2 GB)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        needed = HERE / "requirements-keras.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", needed], check=True)
        ready.touch()
    return python


def run_peer(
    peer: str, python: Path, images: Path, masks: Path, options: Sequence[str | Path]
) -> Result:
    """Run a peer and return its result, with the seconds of the whole process.

    A child's peak memory starts at its parent's, so the caller must not import torch itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        json_file = Path(folder, "result.json")
        command = [python, HERE / f"{peer}_exercise.py", images, masks, *options]
        begin = time.perf_counter()
        done = subprocess.run([*command, "--json", json_file], stdout=sys.stderr, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode:
            sys.exit(f"{peer}_exercise.py failed with exit code {done.returncode}")
        return {**json.loads(json_file.read_text()), "process_seconds": seconds}
