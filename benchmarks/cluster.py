"""Scans an hour on a Dask cluster of this machine, and what its scheduler costs a scan.

    python benchmarks/cluster.py SCAN [SCAN ...] --copies 4

Segments the scans, so many times each, with measures, on: two workers of one thread, one worker of
two threads (two scans at a time), one scan at a time in two threads, and the same without a
cluster. Then hands out 10,000 tasks that do nothing. Prints a Markdown table, writes
benchmarks/results/cluster.json.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import machine
from distributed import LocalCluster

from pleura.cohort import batch
from pleura.cohort.batch import segment_all
from pleura.cohort.cluster import Cluster
from pleura.cohort.stores import OutputStore
from pleura.cohort.summary import Row
from pleura.cohort.tasks import Task
from pleura.cohort.work import Settings

HERE = Path(__file__).resolve().parent
WAYS = {
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


def seconds_of(way: str, folder: Path, out: Path) -> float:
    """From the first scan handed out to the tables written; models were loaded before."""
    settings = Settings(measure=True, overwrite=True)
    workers = WAYS[way]
    if workers is None:
        begin = time.perf_counter()
        segment_all(folder, out, settings, jobs=int(way[-1]))
        return time.perf_counter() - begin
    n, threads, each = workers
    settings = replace(settings, threads=each)
    with LocalCluster(n_workers=n, threads_per_worker=threads, dashboard_address=None) as local:
        address = local.scheduler_address
        segment_all(folder, out / "warm", settings, cluster=address, shard=(1, 4))
        begin = time.perf_counter()
        segment_all(folder, out, settings, cluster=address)
        return time.perf_counter() - begin


def nothing(task: Task, *_: object) -> Row:
    return Row(task.name, "done")


def overhead(tasks: int) -> float:
    """Milliseconds a task that does nothing, from handing out to the row."""
    listed = [Task(f"{i:05d}", Path(f"scans/{i:05d}.nii.gz")) for i in range(tasks)]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Cluster(local.scheduler_address) as workers,
        patch.object(batch, "segment_task", nothing),
    ):
        begin = time.perf_counter()
        if sum(1 for _ in batch._run(workers, listed, OutputStore("out"), Settings(), 0)) != tasks:
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
        for i, way in enumerate(WAYS):
            out = Path(scratch, f"out-{i}")
            found["seconds"][way] = seconds_of(way, folder, out)
        written = [p.stat().st_size for p in out.iterdir() if p.name.split("_lungs")[0] != p.name]
        found["kb_out"] = sum(written) / found["scans"] / 1e3
    (HERE / "results" / "cluster.json").write_text(json.dumps(found, indent=1) + "\n")
    print("| way | scans an hour |\n|---|---|")
    for way, seconds in found["seconds"].items():
        print(f"| {way} | {found['scans'] / seconds * 3600:.0f} |")
    print(f"\n{found['overhead_ms']:.2f} ms a task of {options.tasks} that do nothing")
    print(f"{found['mb_in']:.0f} MB in, {found['kb_out']:.0f} KB out a scan")


if __name__ == "__main__":
    main()
