"""`pleura segment --dense include`."""

import csv
import json

import numpy as np
import pytest
from commands import pleura

from pleura.formats.image_files import read_image_file, write_image_file


@pytest.fixture
def chest(sample):
    return sample.folder / "volume" / "ct.nii.gz"


def test_added_volume_is_printed_and_stored(chest, tmp_path):
    done = pleura("segment", chest, "-o", tmp_path / "a.nii.gz", "--json", tmp_path / "a.json")
    assert "dense lung" not in done.stdout
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["dense_added_ml"] is None
    assert report["options"]["dense"] == "exclude"
    arguments = ("--dense", "include", "--json", tmp_path / "b.json")
    done = pleura("segment", chest, "-o", tmp_path / "b.nii.gz", *arguments)
    include = json.loads((tmp_path / "b.json").read_text())
    right, left = (include["dense_added_ml"][side] for side in ("right", "left"))
    expected = f"dense lung: included (as requested; it adds right {right:.0f} ml, left {left:.0f}"
    assert expected in done.stdout
    assert include["options"]["dense"] == "include"
    more = sum(include["volume_ml"].values()) - sum(report["volume_ml"].values())
    assert more == pytest.approx(right + left, abs=0.2)


def test_cohort_has_the_added_volume_in_table_and_report(chest, tmp_path):
    out, page = tmp_path / "out", tmp_path / "report.html"
    assert "1 done" in pleura("segment", chest, "-o", out).stdout
    done = pleura("segment", chest, "-o", out, "--dense", "include", "--report", page)
    assert "1 done" in done.stdout
    with (out / "lungs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    report = json.loads(next(out.glob("*_lungs.json")).read_text())
    assert {row["region"]: float(row["dense_added_ml"]) for row in rows} == report["dense_added_ml"]
    text = page.read_text(encoding="utf-8")
    assert "Added dense lung, right" in text
    assert "added by a second network" in text


def test_grey_values_are_refused(sample, tmp_path):
    picture = read_image_file(sample.images / "LCTSC-201_058.tif")
    grey = np.clip((picture + 1000.0) / 6, 0, 255).astype(np.uint8)
    write_image_file(tmp_path / "grey.png", grey)
    arguments = ("-o", tmp_path / "mask.png", "--dense", "include")
    done = pleura("segment", tmp_path / "grey.png", *arguments, code=1)
    assert "in HU only" in done.stderr
    assert "--dense exclude" in done.stderr
    assert not (tmp_path / "mask.png").exists()
