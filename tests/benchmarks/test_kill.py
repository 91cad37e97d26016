"""Some of the trials of `benchmarks/kill.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILL = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("work", ["cohorts", "trainings", "exports", "corrections"])
def test_killed_work_ends_with_the_same_files_when_started_again(work):
    command = [sys.executable, KILL, f"--{work}", "4", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {work} | 4 |" in done.stdout
