"""Records that somebody changed or damaged: results without them, never a traceback."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from pleura.cohort.tables import read_summaries
from pleura.corrections.cases import cases_from_results
from pleura.corrections.saving import read_changed_slices, record_path
from pleura.files.records import read_record, write_json
from pleura.report.cohort import cohort_page
from pleura.viewer.progress import read_progress

DAMAGED = [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"a": 1e999}', b"null"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_is_an_empty_one(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert read_record(tmp_path / "a.json") in ({}, {"a": float("inf")})
    assert read_record(tmp_path / "gone.json") == {}


@pytest.mark.parametrize("slices", ["[1e999]", '["x"]', "5", "{}"])
def test_a_damaged_record_of_a_correction_counts_no_slices(tmp_path, slices):
    mask = tmp_path / "ct_lungs.corrected.nii.gz"
    mask.write_bytes(b"")
    record_path(mask).write_text(f'{{"changed_slices": {slices}}}')
    assert not read_changed_slices(mask)


@pytest.mark.parametrize(
    "content", [*DAMAGED, b'{"completed": 1e999, "failed": 0, "total": 1}', b'{"completed": []}']
)
def test_damaged_progress_is_none(tmp_path, content):
    (tmp_path / "progress.json").write_bytes(content)
    assert read_progress(tmp_path) is None


@pytest.mark.parametrize("content", [*DAMAGED, b'{"options": 5, "flags": 7}'])
def test_results_with_a_damaged_report_can_be_viewed_and_reported(sample, tmp_path, content):
    name = "LCTSC-201_054"
    (tmp_path / f"{name}_lungs.json").write_bytes(content)
    (case,) = cases_from_results(tmp_path, sample.images)
    assert case.name == name
    (tmp_path / "summary.csv").write_text(f"name,status,mask\n{name},done,x.tif\n")
    assert cohort_page(read_summaries(tmp_path), tmp_path).cases


def test_a_report_is_read_as_it_was_written(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"flags": {"units": "Ä"}}))
    assert read_record(tmp_path / "a.json")["flags"] == {"units": "Ä"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        text = reader.submit(pipe.read_text)
        write_json(pipe, {"a": 1})
        assert json.loads(text.result(timeout=30)) == {"a": 1}
    assert not pipe.is_file()
