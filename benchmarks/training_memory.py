"""Measure peak memory and time of the training commands on many slices (Linux).

    python benchmarks/training_memory.py FOLDER --slices 10000 --set preprocessing.size=[256,256]

Writes a set of slices of the shipped sample to FOLDER, moved, flipped and with noise, unless it
exists. Prints a Markdown table: the highest anonymous memory (`RssAnon`), which excludes the pages
of mapped files, the highest resident memory (`VmHWM`), which includes them, CPU time and wall time.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

SAMPLE = Path(__file__).parents[1] / "tests" / "data" / "sample"


def write_slices(folder: Path, count: int) -> None:
    """Write images and masks that are similar to those of the sample, but not copies."""
    names = sorted(path.stem for path in (SAMPLE / "images").glob("*.tif"))
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        rng, name = np.random.default_rng(i), names[i % len(names)]
        image = cv2.imread(str(SAMPLE / "images" / f"{name}.tif"), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(SAMPLE / "masks" / f"{name}.tif"), cv2.IMREAD_UNCHANGED)
        image += rng.integers(-8, 9, image.shape).astype(image.dtype)
        step, shift = (1, -1)[int(rng.integers(2))], tuple(rng.integers(-60, 61, 2).tolist())
        for kind, picture in (("images", image), ("masks", mask)):
            moved = np.roll(picture[:, ::step], shift, (0, 1))
            cv2.imwrite(str(folder / kind / f"{name}_{i:05d}.tif"), moved)


def measure(*arguments: str | Path) -> list[str]:
    """Run a command; return RssAnon and VmHWM in MB, CPU time and wall time in s."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pleura", *arguments])
    anonymous = resident = 0
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE))
        anonymous = max(anonymous, int(found.get("RssAnon", 0)))
        resident = max(resident, int(found.get("VmHWM", 0)))
        time.sleep(0.05)
    _, code, usage = os.wait4(process.pid, 0)
    if code:
        sys.exit(f"{arguments} failed")
    seconds = usage.ru_utime + usage.ru_stime, time.perf_counter() - start
    return [*(f"{n / 1024:.0f}" for n in (anonymous, resident)), *(f"{s:.0f}" for s in seconds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--slices", type=int, default=10_000)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--commands", default="check,preview,train,evaluate,cross-validate")
    options = parser.parse_args()
    data, run = options.folder / "data", options.folder / "run"
    if not data.exists():
        write_slices(data, options.slices)
    pairs = data / "images", data / "masks"
    settings = [text for one in options.set for text in ("--set", one)]
    recipe = "--recipe", options.recipe, *settings
    folds = options.folder / "folds"
    commands = {
        "check": ("check", *pairs),
        "preview": ("preview", *pairs, *recipe, "-o", options.folder / "preview.png"),
        "train": ("train", *pairs, *recipe, "-o", run, "--overwrite"),
        "evaluate": ("evaluate", run, *pairs),
        "cross-validate": ("cross-validate", *pairs, *recipe, "-o", folds, "--folds", "3"),
    }
    print("| command | anonymous, MB | with mapped files, MB | CPU time, s | wall time, s |")
    print("|---|---|---|---|---|")
    for name in options.commands.split(","):
        print(f"| `{name}` | {' | '.join(measure(*commands[name]))} |", flush=True)


if __name__ == "__main__":
    main()
