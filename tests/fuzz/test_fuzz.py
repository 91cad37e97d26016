"""A small part of `make fuzz`: no damaged file crashes, stalls, or raises anything unforeseen."""

import textwrap

import fuzz_readers
import pytest
from fuzz_seeds import write_seeds
from fuzz_worker import COMPANIONS, READERS, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import damaged_files

FEW = 120


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "seeds"
    write_seeds(folder)
    return folder


def test_whole_files_are_read(seeds):
    paths = [p for p in sorted(seeds.rglob("*")) if p.is_file() and p.suffix not in COMPANIONS]
    assert {path.parent.name for path in paths} == set(READERS)
    for path in paths:
        if path.parent.name != "manifest":  # the scans that it names are not there
            assert outcome(path)["kind"] == "ok", (path, outcome(path))


def test_damaged_files_in_a_worker(seeds, tmp_path):
    counts, failures = fuzz_readers.fuzz(seeds, tmp_path, range(FEW))
    assert failures == []
    assert counts["ok"] + counts["PleuraError"] == FEW
    assert counts["ok"] > FEW / 10
    assert counts["PleuraError"] > FEW / 10


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_scan_is_read_or_refused(seeds, tmp_path, data):
    paths = [p for p in sorted((seeds / "scan").iterdir()) if p.suffix not in COMPANIONS]
    strategy = damaged_files([(path.name, path.read_bytes()) for path in paths])
    name, content = data.draw(strategy)
    folder = tmp_path / "scan"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    assert outcome(folder / name)["kind"] in ("ok", "PleuraError"), outcome(folder / name)


def test_crash_and_stall_of_a_worker_are_noticed(seeds, tmp_path, monkeypatch):
    script = """
        import os, sys, time
        print("ready", flush=True)
        for line in sys.stdin:
            if line == "1\\n":
                os.abort()
            if line == "2\\n":
                time.sleep(60)
            print('{"kind": "ok"}', flush=True)
    """
    (tmp_path / "worker.py").write_text(textwrap.dedent(script))
    monkeypatch.setattr(fuzz_readers, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(fuzz_readers, "SECONDS", 2)
    counts, failures = fuzz_readers.fuzz(seeds, tmp_path, range(4))
    assert (counts["ok"], counts["crash"], counts["timeout"]) == (2, 1, 1)
    assert [failure["number"] for failure in failures] == ["1", "2"]
