"""A cohort whose files have odd names: each has a row, and no name breaks out of a table."""

import csv
import json
import os
import shutil
import sys

import pytest

from pleura.cohort.batch import INPUTS_FILE, segment_cohort
from pleura.cohort.options import OutputOptions
from pleura.corrections.cases import cases_from_results
from pleura.errors import PleuraError
from pleura.files.hashing import hash_files

NAMES = [b"na\xefve", b"a:b", b"a\\b", b"x" * 240, b"two\nlines", b"\x1b[31mred", b"=1+2", b"-x"]


@pytest.fixture
def odd(cohort, tmp_path):
    """Files of one scan under odd names."""
    if sys.platform != "linux":
        pytest.skip("other systems do not allow these names")
    scan = cohort / "b" / "LCTSC-201_054.tif"
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(os.fsencode(scan), os.fsencode(folder) + b"/" + name + b".tif")
    return folder


def test_odd_names_are_rows_and_results(odd, options, tmp_path):
    rows = segment_cohort(odd, tmp_path / "out", options)
    assert [row.status for row in rows] == ["done"] * len(NAMES)
    text = (tmp_path / "out" / "summary.csv").read_text("utf-8")
    assert "\x1b" not in text
    cells = list(csv.DictReader(text.splitlines()))
    assert len(cells) == len(NAMES)
    assert not any(cell["name"][0] in "=-" or cell["source"][0] in "=-" for cell in cells)
    again = segment_cohort(odd, tmp_path / "out", options)
    assert [row.status for row in again] == ["skipped"] * len(NAMES)
    assert [row.name for row in again] == [row.name for row in rows]


def test_masks_of_odd_names_have_a_fingerprint(odd):
    assert len(hash_files(sorted(odd.iterdir()), names=True)) == 64


def test_the_source_of_each_scan_is_named(odd, options, tmp_path):
    (row,) = (row for row in segment_cohort(odd, tmp_path / "out", options) if "-x" in row.source)
    assert row.source == "-x.tif"
    report = json.loads((tmp_path / "out" / f"{row.name}_lungs.json").read_text())
    assert report["source"] == "-x.tif"
    assert "source" in (tmp_path / "out" / "lungs.csv").read_text("utf-8").splitlines()[0]


def test_anonymous_results_name_no_file(cohort, options, tmp_path):
    outputs = OutputOptions(anonymous=True, measure=True)
    output = tmp_path / "out"
    rows = segment_cohort(cohort, output, options, outputs=outputs)
    words = {"LCTSC-201_049", "LCTSC-201_054", "bad.nrrd", "cohort"}
    written = [path for path in output.rglob("*") if path.suffix in (".csv", ".json")]
    for word in words:
        assert not any(word in path.name for path in output.rglob("*"))
        assert not any(word in path.read_text("utf-8") for path in written), word
    assert not (output / INPUTS_FILE).exists()
    assert len(cases_from_results(output, cohort)) == sum(row.status == "done" for row in rows)
    again = segment_cohort(cohort, output, options, outputs=outputs)
    assert {row.status for row in again} <= {"skipped", "failed"}


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a:b", "x\\y", "n" * 300])
def test_a_manifest_with_a_bad_name_fails_in_that_row(cohort, options, tmp_path, name):
    scan = cohort / "b" / "LCTSC-201_054.tif"
    manifest = tmp_path / "scans.csv"
    manifest.write_text(f'path,name\n{scan},"{name}"\n{scan},good\n')
    rows = {row.status: row for row in segment_cohort(manifest, tmp_path / "out", options)}
    assert rows["done"].name == "good"
    assert "is not a valid name for results" in rows["failed"].error
    assert not any(path.name.startswith("etc") for path in tmp_path.iterdir())


def test_errors_in_a_row_hold_no_line_breaks(cohort, options, tmp_path):
    bad = cohort / "bad\nname.nii.gz"
    bad.write_bytes(b"no NIfTI")
    rows = segment_cohort(cohort, tmp_path / "out", options)
    assert all(row.error.isprintable() for row in rows)
    with pytest.raises(PleuraError) as error:
        segment_cohort(cohort / "gone\x1b[2J", tmp_path / "out", options)
    assert "\x1b" not in str(error.value)
