"""Inference on a GPU by ONNX Runtime beside OpenVINO on the CPU: the same scans, one machine.

    pip install "onnxruntime-gpu[cuda,cudnn]"
    python benchmarks/gpu.py ct-1.nii.gz ct-2.nii.gz ... --output gpu.json

Network: batches of 8 slices of 512x512. Whole command: `pleura segment`, median of three. Scans
per hour: all scans in turn by one `Segmenter`, the masks in memory. Prints Markdown tables.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench import machine

import pleura
from pleura.engine.engine import Engine
from pleura.engine.runtimes import Runtime

RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
BATCH = 8


def network_time(runtime: Runtime, batches: int = 30) -> dict[str, Any]:
    """Return the device, the time of the first batch, and the time per slice of the others."""
    engine = Engine(runtime=runtime, precision="fp32")
    values = np.random.default_rng(0).integers(-1000, 400, (BATCH, 512, 512)).astype(np.int16)
    seconds = []
    for _ in range(batches):
        begin = time.perf_counter()
        engine.probability(values)
        seconds.append(time.perf_counter() - begin)
    return {
        "device": engine.device[0],
        "first_batch_s": seconds[0],
        "ms_per_slice": 1000 * median(seconds[1:]) / BATCH,
    }


def command_seconds(scan: Path, runtime: Runtime, folder: Path) -> list[float]:
    command = [sys.executable, "-m", "pleura", "segment", scan, "-o", folder / "mask.nii.gz"]
    command += ["--overwrite", "--quiet", "--runtime", runtime]
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - begin)
    return seconds


def masks(scans: list[Path], runtime: Runtime, repeat: int) -> tuple[list[Any], float]:
    """Return the labels of each scan, and scans per hour."""
    segmenter = pleura.Segmenter(runtime=runtime, precision="fp32")
    found = [segmenter(scan, warn=False).labels for scan in scans]
    begin = time.perf_counter()
    for scan in scans * repeat:
        segmenter(scan, warn=False)
    return found, 3600 * len(scans) * repeat / (time.perf_counter() - begin)


def dice(a: Any, b: Any) -> float:
    return float(2 * ((a > 0) & (b > 0)).sum() / max(1, (a > 0).sum() + (b > 0).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--repeat", type=int, default=3, help="of all scans, for scans per hour")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    gpu = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    result: dict[str, Any] = {
        "machine": machine(),
        "cpus": os.cpu_count(),
        "gpu": subprocess.run(gpu, capture_output=True, text=True, check=False).stdout.strip(),
        "network": {runtime: network_time(runtime) for runtime in RUNTIMES},
    }
    print(json.dumps(result, indent=1), flush=True)
    found, result["scans_per_hour"] = {}, {}
    for runtime in RUNTIMES:
        found[runtime], result["scans_per_hour"][runtime] = masks(
            options.scans, runtime, options.repeat
        )
    result["scans"] = []
    with tempfile.TemporaryDirectory() as name:
        for index, scan in enumerate(options.scans):
            ours, theirs = (found[runtime][index] for runtime in RUNTIMES)
            row: dict[str, Any] = {"scan": scan.name, "slices": int(min(ours.shape))}
            row |= {"dice": dice(ours, theirs), "voxels_that_differ": int((ours != theirs).sum())}
            row["seconds"] = {
                runtime: command_seconds(scan, runtime, Path(name)) for runtime in RUNTIMES
            }
            result["scans"].append(row)
            print(row, flush=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{result['gpu']}; scans per hour: {result['scans_per_hour']}\n")
    print(
        "| slices | openvino, s | onnxruntime, s | Dice | voxels that differ |\n" + 5 * "|---" + "|"
    )
    for row in result["scans"]:
        seconds = " | ".join(f"{median(row['seconds'][runtime]):.2f}" for runtime in RUNTIMES)
        print(f"| {row['slices']} | {seconds} | {row['dice']:.6f} | {row['voxels_that_differ']} |")


if __name__ == "__main__":
    main()
