import json
import re

import pytest
from commands import pleura as run_command

import pleura
from pleura.cohort.tables import read_summaries
from pleura.errors import DataError


def test_the_methods_name_versions_settings_numbers_and_the_citation(cohort):
    text = pleura.methods_paragraph(cohort)
    report = json.loads((cohort / "volume_lungs.json").read_text())
    model = report["options"]["model"]
    assert text.startswith("4 scans were segmented with pleura ")
    for part in (
        pleura.__version__,
        model["name"],
        model["weights_sha256"][:12],
        f"{report['options']['threshold'] / 255:.2f}",
        "Of 5 scans, 4 were segmented and 1 failed.",
        "Right and left lung have separate labels.",
        "LAA-950",
        "Cite as: pleura, version ",
        "U-Net",
    ):
        assert part in text
    flagged = sum(bool(row.flags) for row in read_summaries(cohort))
    assert f"flagged {flagged:,} of 4 masks" in text
    assert "_" not in text


def test_each_setup_has_its_number_of_scans(cohort, tmp_path):
    for path in cohort.iterdir():
        if path.suffix in (".json", ".csv"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    changed = tmp_path / "volume_lungs.json"
    report = json.loads(changed.read_text())
    report["options"]["threshold"] = 51
    report["measurements"] = None
    changed.write_text(json.dumps(report))
    text = pleura.methods_paragraph(tmp_path)
    assert re.findall(r"(\d) scans? (?:was|were) segmented", text) == ["3", "1"]
    assert "at least 0.20" in text


def test_damaged_reports_are_an_error_with_a_hint(cohort, tmp_path):
    (tmp_path / "summary.csv").write_bytes((cohort / "summary.csv").read_bytes())
    (tmp_path / "volume_lungs.json").write_text('{"options": {"model": 5}, "versions": 7}')
    with pytest.raises(DataError, match="reports are damaged"):
        pleura.methods_paragraph(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(DataError, match="no summary"):
        pleura.methods_paragraph(tmp_path)
    with pytest.raises(DataError, match="no such results folder"):
        pleura.methods_paragraph(tmp_path / "gone")


def test_the_command_prints_the_text_and_writes_nothing(cohort):
    before = sorted(cohort.rglob("*"))
    done = run_command("report", cohort, "--methods")
    assert done.stdout.strip() == pleura.methods_paragraph(cohort)
    assert sorted(cohort.rglob("*")) == before
