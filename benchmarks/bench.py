"""Speed and memory of recipe `exercise`, pleura and Keras side by side on this machine (Linux).

    python benchmarks/bench.py                      # on the shipped sample
    python benchmarks/bench.py --images IMAGES --masks MASKS
    python benchmarks/bench.py --set training.precision=fp32

Each repetition is a whole process of either peer, in turn: read, train, validate, test. Both take
the recipe's sorted split and batches of 16, so both do the same steps on the same images; a step
is the same work whatever the pixels, so the sample serves. Steps and validations of the first
epoch are warm-up and left out. Writes benchmarks/results/bench.json, prints a Markdown table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from peers import HERE, Result, keras_python, run_peer

SAMPLE = HERE.parent / "tests" / "data" / "sample"

ENOUGH = 54
"""Pairs of which 0.6 are two batches of 16: a step is timed from the end of the one before."""

MEASURES = {
    "steps_per_second": ("training steps per second", ".3f"),
    "validation_seconds": ("a validation pass, s", ".2f"),
    "process_seconds": ("whole process, s", ".1f"),
    "cpu_seconds": ("whole process, CPU seconds", ".1f"),
    "peak_memory_mb": ("peak memory, MiB", ".0f"),
}

START_UP = {
    "help": ("`pleura --help`", 0.3),
    "import": ("`import pleura`, without torch", 0.5),
}
"""What is timed, and the seconds aimed at."""


def start_up(repetitions: int = 5) -> dict[str, list[float]]:
    """Return wall-clock seconds of whole processes, the interpreter's start among them."""
    python = Path(sys.executable)
    without_torch = "import sys, pleura; sys.exit('torch' in sys.modules)"
    commands: dict[str, list[str | Path]] = {
        "help": [python.with_name("pleura"), "--help"],
        "import": [python, "-c", without_torch],
    }
    seconds: dict[str, list[float]] = {what: [] for what in commands}
    for _ in range(repetitions):
        for what, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[what].append(time.perf_counter() - begin)
    return seconds


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
    }


def spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(bench: dict[str, Any]) -> str:
    """Return the Markdown table: medians, and minimum to maximum, over repetitions."""
    runs: dict[str, list[Result]] = {
        peer: [run for run in bench["runs"] if run["peer"] == peer] for peer in ("pleura", "keras")
    }
    ours, theirs = runs["pleura"], runs["keras"]
    lines = ["| | pleura | Keras | pleura / Keras |", "|---|---|---|---|"]
    for key, (label, form) in MEASURES.items():
        a, b = ([run[key] for run in peer] for peer in (ours, theirs))
        ratio = median(a) / median(b)
        lines.append(f"| {label} | {spread(a, form)} | {spread(b, form)} | {ratio:.2f} |")
    lines += [
        f"| {key} | {ours[0][key]} | {theirs[0][key]} | |" for key in ("threads", "precision")
    ]
    lines += ["", "| start-up, s | median | aim |", "|---|---|---|"]
    for key, (label, aim) in START_UP.items():
        lines.append(f"| {label} | {spread(bench['start_up'][key], '.3f')} | < {aim} |")
    return "\n".join([*lines, "", describe(bench, ours[0], theirs[0])])


def describe(bench: dict[str, Any], ours: Result, theirs: Result) -> str:
    have, settings = bench["machine"], bench["settings"]
    packages = [
        ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        for run in (ours, theirs)
    ]
    recipe = " ".join(settings["overrides"]) or "recipe as it ships"
    return (
        f"Median (minimum to maximum) of {settings['repetitions']} processes of "
        f"{settings['epochs']} epochs each, in turn; {recipe}; {settings['pairs']} pairs of "
        f"{settings['images']}. {have['cpu']}, {have['cores']} cores, load before "
        f"{have['load_before']:.1f}. pleura: {packages[0]}. Keras: {packages[1]}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=SAMPLE / "images")
    parser.add_argument("--masks", type=Path, default=SAMPLE / "masks")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5, help="2 or more")
    parser.add_argument("--threads", type=int, help="of both; as many as there are cores if unset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of pleura's recipe"
    )
    parser.add_argument("--keras", type=Path, metavar="PYTHON", help="an interpreter with Keras")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "bench.json")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: the first one is warm-up, so give at least 2")
    pairs = len(list(options.images.glob("*.tif")))
    if pairs < ENOUGH:
        parser.error(f"--images: {pairs} .tif images there; give at least {ENOUGH}")

    pythons = {"pleura": Path(sys.executable), "keras": options.keras or keras_python()}
    shared = ["--epochs", str(options.epochs)]
    if options.threads:
        shared += ["--threads", str(options.threads)]
    extra = {"pleura": [f"--set={override}" for override in options.set], "keras": []}
    bench: dict[str, Any] = {
        "machine": machine(),
        "settings": {
            "overrides": options.set,
            "pairs": pairs,
            "images": f"{options.images.parent.name}/{options.images.name}",
            "epochs": options.epochs,
            "repetitions": options.repetitions,
        },
        "start_up": start_up(),
        "runs": [
            run_peer(peer, python, options.images, options.masks, [*shared, *extra[peer]])
            for _ in range(options.repetitions)
            for peer, python in pythons.items()
        ],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(bench, indent=2) + "\n")
    print(table(bench))


if __name__ == "__main__":
    main()
