"""Measure peak memory and CPU time of a segmentation, and CPU time of postprocessing, per scan.

    python benchmarks/memory.py SCAN [SCAN ...] --repetitions 3

Runs `pleura segment SCAN -o lungs.nii.gz -q` for each scan, and then repeats everything after
inference in this process. Prints a Markdown table: highest peak memory, smallest CPU times.
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import pleura
from pleura.segmentation.inference import predict_slices


def measure_command(scan: Path) -> tuple[float, float]:
    """Return peak memory in MB and CPU time in seconds of the command."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lungs.nii.gz"
        arguments = [sys.executable, "-m", "pleura", "segment", scan, "-o", output, "-q"]
        _, status, usage = os.wait4(subprocess.Popen(arguments).pid, 0)
    if status:
        sys.exit(f"the segmentation of {scan} failed")
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def measure_postprocessing(segmenter: pleura.Segmenter, path: Path, repetitions: int) -> float:
    """Return the smallest CPU time in ms per slice of everything after inference."""
    scan = pleura.read(path)
    predictions = predict_slices(segmenter.engine, scan, segmenter.threshold_level)
    lung, seconds, started = predictions.take_lung(), [], 0.0

    def predict_again(*_: object, **__: object) -> object:
        nonlocal started
        repeated = copy.copy(predictions)
        repeated.lung = lung.copy()
        started = time.process_time()
        return repeated

    with patch("pleura.segmentation.segmenter.predict_slices", predict_again):
        for _ in range(repetitions):
            segmenter.segment(scan, warn=False)
            seconds.append(time.process_time() - started)
    return 1000 * min(seconds) / len(lung)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="+", type=Path, metavar="SCAN")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    commands = [
        [measure_command(scan) for _ in range(options.repetitions)] for scan in options.scans
    ]
    segmenter = pleura.Segmenter(threads=1)
    print("| scan | peak memory, MB | CPU time, s | postprocessing, CPU ms per slice |")
    print("|---|---|---|---|")
    for scan, runs in zip(options.scans, commands, strict=True):
        peak, seconds = max(peak for peak, _ in runs), min(seconds for _, seconds in runs)
        per_slice = measure_postprocessing(segmenter, scan, options.repetitions)
        print(f"| {scan} | {peak:.0f} | {seconds:.2f} | {per_slice:.2f} |", flush=True)


if __name__ == "__main__":
    main()
