import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from pleura.cohort.batch import segment_cohort
from pleura.cohort.dask_workers import DaskWorkers
from pleura.cohort.options import DistributionOptions
from pleura.errors import PleuraError
from pleura.formats.image_files import read_image_file, write_image_file

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own

if os.name == "nt":
    pytest.skip("signals and ports of Linux and macOS", allow_module_level=True)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread, and a nanny that starts them again."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as started:
        yield started


@pytest.fixture
def cohort(sample, tmp_path):
    """Twelve images and a broken file."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    for path in sorted(sample.images.iterdir())[:12]:
        shutil.copy(path, folder)
    (folder / "bad.nrrd").write_bytes(b"NRRD0005\nno header")
    return folder


def whole(rows, out, count):
    """Check that each scan has its row, once, and its mask, and that no temporary file is left."""
    assert len({row.name for row in rows}) == len(rows) == count
    done = [row for row in rows if row.status != "failed"]
    masks = {p.name for p in out.rglob("*_lungs.tif")}
    assert masks == {row.mask for row in done}
    assert not list(out.rglob(".*"))
    return len(done)


def test_a_cluster_writes_the_same_masks_as_threads(cluster, cohort, options, tmp_path):
    here = segment_cohort(cohort, tmp_path / "here", options)
    there = segment_cohort(
        cohort,
        tmp_path / "there",
        options,
        distribution=DistributionOptions(cluster=cluster.scheduler_address),
    )
    assert [replace(row, seconds=None, regions=()) for row in here] == [
        replace(row, seconds=None, regions=()) for row in there
    ]
    assert whole(there, tmp_path / "there", 13) == 12
    for row in there:
        if row.mask:
            masks = (read_image_file(tmp_path / where / row.mask) for where in ("here", "there"))
            assert np.array_equal(*masks)


def test_relative_paths_start_at_the_folder_of_the_caller(
    cluster, cohort, options, tmp_path, monkeypatch
):
    """Workers work in another folder."""
    monkeypatch.chdir(tmp_path)
    rows = segment_cohort(
        "cohort",
        "out",
        options,
        distribution=DistributionOptions(cluster=cluster.scheduler_address),
    )
    assert whole(rows, tmp_path / "out", 13) == 12


def test_a_worker_that_is_killed_loses_no_scan(cluster, cohort, options, tmp_path):
    def kill(through, _):
        if through == 2:
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    address = cluster.scheduler_address
    rows = segment_cohort(
        cohort,
        tmp_path / "out",
        options,
        distribution=DistributionOptions(cluster=address),
        progress=kill,
    )
    assert whole(rows, tmp_path / "out", 13) == 12
    again = segment_cohort(
        cohort, tmp_path / "out", options, distribution=DistributionOptions(cluster=address)
    )
    assert [row.status for row in again].count("skipped") == 12


def dask(*arguments, log):
    command = [sys.executable, "-m", "dask", *arguments]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def test_a_scheduler_that_is_started_again_loses_no_scan(cohort, options, tmp_path):
    started = []
    note = tmp_path / "scheduler.json"

    def start(port):
        with (tmp_path / "dask.log").open("a") as log:
            arguments = ("--port", port, "--no-dashboard", "--scheduler-file", str(note))
            started.append(dask("scheduler", *arguments, log=log))
            worker = ("worker", "--scheduler-file", str(note), "--no-nanny", "--no-dashboard")
            deadline = time.monotonic() + 60
            while not note.exists():
                assert time.monotonic() < deadline, "the scheduler did not start"
                time.sleep(0.1)
            started.append(dask(*worker, "--nthreads", "1", log=log))

    def restart(through, _):
        if through == 3:
            port = json.loads(note.read_text())["address"].rpartition(":")[2]
            started[0].send_signal(signal.SIGKILL)
            started[0].wait()
            note.unlink()
            start(port)

    try:
        start("0")
        rows = segment_cohort(
            cohort,
            tmp_path / "out",
            options,
            distribution=DistributionOptions(cluster=str(note)),
            progress=restart,
        )
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert whole(rows, tmp_path / "out", 13) == 12


@pytest.mark.slow
def test_a_thousand_tiny_scans(cluster, sample, options, tmp_path):
    hu = read_image_file(sample.images / "LCTSC-201_058.tif")[::8, ::8]
    folder = tmp_path / "cohort"
    for i in range(1000):
        write_image_file(folder / f"{i % 10}" / f"{i:04d}.tif", (hu + i % 7).astype(np.int16))
    rows = segment_cohort(
        folder,
        tmp_path / "out",
        replace(options, units="hu"),
        distribution=DistributionOptions(cluster=cluster.scheduler_address),
    )
    assert whole(rows, tmp_path / "out", 1000) == 1000
    lines = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    assert len(lines) == 1001


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounts a small disk")
def test_a_full_disk_loses_nothing(cluster, cohort, options, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)], check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    address = cluster.scheduler_address
    try:
        with pytest.raises(PleuraError, match="No space left"):
            segment_cohort(cohort, out, options, distribution=DistributionOptions(cluster=address))
        assert not list(out.rglob(".*"))
        before = len(list(out.rglob("*_lungs.json")))
        assert 0 < before < 12
        subprocess.run(["mount", "-o", "remount,size=8m", str(out)], check=True)
        rows = segment_cohort(
            cohort, out, options, distribution=DistributionOptions(cluster=address)
        )
        assert [row.status for row in rows].count("skipped") == before
        assert whole(rows, out, 13) == 12
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "nowhere.json"])
def test_a_missing_scheduler_is_an_error(address):
    with pytest.raises(PleuraError, match="the Dask scheduler does not respond"):
        DaskWorkers(address, reconnect_seconds=0)


def test_workers_of_another_version_are_refused(cluster, cohort, monkeypatch, tmp_path):
    monkeypatch.setattr("pleura.__version__", "99.0")
    with pytest.raises(PleuraError, match=r"has pleura 0\.\S+, but this process has 99\.0"):
        segment_cohort(
            cohort,
            tmp_path / "out",
            distribution=DistributionOptions(cluster=cluster.scheduler_address),
        )
    assert not (tmp_path / "out").exists()
