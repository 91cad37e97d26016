"""Measure scans per hour on a local Dask cluster, and the overhead of its scheduler per scan.

    python benchmarks/cluster.py SCAN [SCAN ...] --copies 4

Segments and measures copies of the scans on two workers of one thread, on one worker of two threads
(two scans at a time), one scan at a time in two threads, and without a cluster. Then submits 10,000
tasks that do nothing. Prints a Markdown table and writes benchmarks/results/cluster.json.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import machine
from distributed import LocalCluster

from pleura.cohort import batch
from pleura.cohort.batch import segment_cohort
from pleura.cohort.dask_workers import DaskWorkers
from pleura.cohort.options import DistributionOptions, OutputOptions, SegmentationOptions
from pleura.cohort.stores import OutputStore
from pleura.cohort.tables import ScanResult
from pleura.cohort.task import Task
from pleura.cohort.worker import WorkerOptions

HERE = Path(__file__).resolve().parent
CONFIGURATIONS = {
    "two workers of one thread": (2, 1, 1),
    "one worker of two threads, two scans at a time": (1, 2, 1),
    "one worker, one scan at a time in two threads": (1, 1, 2),
    "no cluster, --jobs 1": None,
    "no cluster, --jobs 2": None,
}


def cohort(scans: list[Path], copies: int, folder: Path) -> int:
    for scan in scans:
        for i in range(copies):
            shutil.copy(scan, folder / f"{scan.parent.name}-{i:02d}.nii.gz")
    return len(scans) * copies


def seconds_of(configuration: str, folder: Path, out: Path) -> float:
    """Return the seconds from the first submitted scan to the tables; models are loaded before."""
    outputs = OutputOptions(measure=True, overwrite=True)
    workers = CONFIGURATIONS[configuration]
    if workers is None:
        begin = time.perf_counter()
        jobs = DistributionOptions(int(configuration[-1]))
        segment_cohort(folder, out, outputs=outputs, distribution=jobs)
        return time.perf_counter() - begin
    n, threads, each = workers
    options = SegmentationOptions(threads=each)
    with LocalCluster(n_workers=n, threads_per_worker=threads, dashboard_address=None) as local:
        address = local.scheduler_address
        quarter = DistributionOptions(cluster=address, shard=(1, 4))
        segment_cohort(folder, out / "warm", options, outputs=outputs, distribution=quarter)
        begin = time.perf_counter()
        everything = DistributionOptions(cluster=address)
        segment_cohort(folder, out, options, outputs=outputs, distribution=everything)
        return time.perf_counter() - begin


def nothing(task: Task, *_: object) -> ScanResult:
    return ScanResult(task.name, "done")


def overhead(tasks: int) -> float:
    """Return the milliseconds per task that does nothing, from submission to result."""
    store, options = OutputStore("out"), WorkerOptions(SegmentationOptions(), OutputOptions())
    listed = [Task(f"{i:05d}", Path(f"scans/{i:05d}.nii.gz")) for i in range(tasks)]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        DaskWorkers(local.scheduler_address) as workers,
        patch.object(batch, "segment_task", nothing),
    ):
        begin = time.perf_counter()
        if sum(1 for _ in batch._run(workers, listed, store, options, 0)) != tasks:
            raise RuntimeError("tasks were lost")
        return (time.perf_counter() - begin) / tasks * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=10_000)
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "tasks": options.tasks}
    found["overhead_ms"] = overhead(options.tasks)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "scans")
        folder.mkdir()
        found["scans"] = cohort(options.scans, options.copies, folder)
        sizes = [path.stat().st_size for path in folder.iterdir()]
        found["mb_in"] = sum(sizes) / len(sizes) / 1e6
        found["seconds"] = {}
        for i, configuration in enumerate(CONFIGURATIONS):
            out = Path(scratch, f"out-{i}")
            found["seconds"][configuration] = seconds_of(configuration, folder, out)
        written = [p.stat().st_size for p in out.iterdir() if p.name.split("_lungs")[0] != p.name]
        found["kb_out"] = sum(written) / found["scans"] / 1e3
    (HERE / "results" / "cluster.json").write_text(json.dumps(found, indent=1) + "\n")
    print("| configuration | scans per hour |\n|---|---|")
    for configuration, seconds in found["seconds"].items():
        print(f"| {configuration} | {found['scans'] / seconds * 3600:.0f} |")
    print(f"\n{found['overhead_ms']:.2f} ms per task of {options.tasks} that do nothing")
    print(f"{found['mb_in']:.0f} MB in, {found['kb_out']:.0f} KB out per scan")


if __name__ == "__main__":
    main()
