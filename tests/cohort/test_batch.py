import csv
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from pleura.cli import cli
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import DistributionOptions, OutputOptions
from pleura.cohort.pool import SegmenterPool
from pleura.cohort.tables import read_summaries
from pleura.errors import ScanError
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

TABLES = ("summary.csv", "lungs.csv", "lungs.parquet", "progress.json")


def summary(folder):
    with (folder / "summary.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_scan_has_a_mask_and_a_bad_one_is_a_failed_result(cohort, options, tmp_path, jobs):
    out, seen = tmp_path / "out", []
    rows = segment_cohort(
        cohort,
        out,
        options,
        distribution=DistributionOptions(jobs),
        progress=lambda n, all_: seen.append((n, all_)),
    )
    assert [row.status for row in rows] == ["done", "done", "done", "failed"]
    assert seen[-1] == (4, 4)
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    masks = {"a/ct_lungs.nii.gz", "b/LCTSC-201_049_lungs.tif", "b/LCTSC-201_054_lungs.tif"}
    reports = {f"{name.partition('.')[0]}.json" for name in masks}
    assert written == masks | reports | {*TABLES, "inputs.txt"}
    rows_by_name = summary(out)
    assert rows_by_name["b/bad"]["status"] == "failed"
    assert rows_by_name["b/bad"]["error"]
    assert float(rows_by_name["a/ct"]["right_ml"]) > 100
    mask = read(out / "a/ct_lungs.nii.gz", units="hu")
    assert mask.geometry.is_close(read(cohort / "a" / "ct").geometry)
    report = json.loads((out / "a/ct_lungs.json").read_text())
    assert report["options"]["model"]["name"] == "small"
    assert report["decisions"][-1]["topic"] == "units"


def test_what_is_done_is_skipped_unless_overwrite_is_set(cohort, options, tmp_path):
    out = tmp_path / "out"
    segment_cohort(cohort, out, options)
    (out / "b" / "LCTSC-201_049_lungs.json").unlink()
    before = (out / "a" / "ct_lungs.nii.gz").stat().st_mtime_ns
    statuses = {row.name: row.status for row in segment_cohort(cohort, out, options)}
    assert statuses["a/ct"] == "skipped"
    assert statuses["b/LCTSC-201_049"] == "done"
    assert (out / "a" / "ct_lungs.nii.gz").stat().st_mtime_ns == before
    assert summary(out)["a/ct"]["mask"] == "ct_lungs.nii.gz"
    again = segment_cohort(cohort, out, options, outputs=OutputOptions(overwrite=True))
    assert "skipped" not in {row.status for row in again}


def test_other_options_or_content_are_segmented_again(cohort, options, sample, tmp_path):
    out, name = tmp_path / "out", "b/LCTSC-201_049"

    def status(outputs=None, **changes):
        outputs = OutputOptions() if outputs is None else outputs
        rows = segment_cohort(cohort, out, replace(options, **changes), outputs=outputs)
        return {row.name: row.status for row in rows}[name]

    assert status() == "done"
    assert status() == "skipped"
    assert status(OutputOptions(preview=True)) == "done"
    assert status(units="hu") == "done"
    assert status(sides=False, units="hu") == "done"
    shutil.copy(sample.images / "LCTSC-201_062.tif", cohort / f"{name}.tif")
    assert status() == "done"


def test_pictures_can_be_flipped_and_scans_with_orientation_are_not(cohort, options, tmp_path):
    for name in ("plain", "flipped"):
        segment_cohort(cohort, tmp_path / name, replace(options, flip=name == "flipped"))
    picture, series = "b/LCTSC-201_054_lungs.tif", "a/ct_lungs.nii.gz"
    plain, flipped = (read_image_file(tmp_path / n / picture) for n in ("plain", "flipped"))
    both = (plain > 0) & (flipped > 0)
    assert (plain[both] != flipped[both]).mean() > 0.95
    known = [read(tmp_path / n / series, units="hu").hu() for n in ("plain", "flipped")]
    assert np.array_equal(*known)


def test_scans_of_one_name_have_results_of_different_names(cohort, options, tmp_path):
    shutil.copy(cohort / "b" / "LCTSC-201_049.tif", cohort / "b" / "LCTSC-201_049.TIFF")
    out = cohort / "out"
    first = segment_cohort(cohort, out, options)
    assert len({row.name for row in first}) == 5
    assert len(list(out.rglob("LCTSC-201_049-*_lungs.tif"))) == 2
    again = segment_cohort(cohort, out, options)
    assert [row.name for row in again] == [row.name for row in first]


def test_an_unexpected_error_is_a_failed_result(cohort, options, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Segmenter, "segment", fail)
    rows = segment_cohort(cohort, tmp_path / "out", options)
    assert {row.status for row in rows} == {"failed"}
    assert any("ZeroDivisionError: oops" in row.error for row in rows)


def test_another_format_can_be_chosen(cohort, options, tmp_path):
    segment_cohort(
        cohort / "a", tmp_path / "out", options, outputs=OutputOptions(format="dicom-seg")
    )
    assert (tmp_path / "out" / "ct_lungs.dcm").exists()


def test_a_stopped_cohort_can_be_resumed(cohort, options, tmp_path):
    out = tmp_path / "out"

    def stop(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_cohort(cohort, out, options, progress=stop)
    assert len(summary(out)) == 2
    statuses = [row.status for row in segment_cohort(cohort, out, options)]
    assert statuses.count("skipped") >= 1
    assert len(statuses) == 4


def test_shards_share_out_the_scans_and_one_page_shows_all(cohort, options, tmp_path):
    out = tmp_path / "out"
    parts = [
        segment_cohort(
            cohort,
            out,
            options,
            outputs=OutputOptions(preview=True),
            distribution=DistributionOptions(shard=(i, 3)),
        )
        for i in (1, 2, 3)
    ]
    names = [row.name for part in parts for row in part]
    assert sorted(names) == ["a/ct", "b/LCTSC-201_049", "b/LCTSC-201_054", "b/bad"]
    rows = read_summaries(out)
    assert [row.name for row in rows] == sorted(names)
    whole = segment_cohort(cohort, out, options, outputs=OutputOptions(preview=True))
    assert [row.status for row in whole] == ["skipped", "skipped", "skipped", "failed"]
    assert {row.name: row.right_ml for row in rows} == {row.name: row.right_ml for row in whole}
    result = CliRunner().invoke(cli, ["report", str(out)], catch_exceptions=False)
    assert "4 scans, 1 failed" in result.output
    assert (out / "report.html").read_text("utf-8").count("data:image/webp") == 3


@pytest.mark.parametrize("shard", ["0/3", "4/3", "2", "a/b", "1/0"])
def test_invalid_shards_are_refused(cohort, tmp_path, shard):
    arguments = ["segment", str(cohort), "-o", str(tmp_path / "out"), "--shard", shard]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "is not a shard" in result.output


def test_results_among_the_scans_are_not_segmented_again(cohort, options):
    first = segment_cohort(cohort, cohort, options)
    assert [row.status for row in first] == ["done", "done", "done", "failed"]
    again = segment_cohort(cohort, cohort, options)
    assert [row.name for row in again] == [row.name for row in first]
    assert {row.status for row in again} == {"skipped", "failed"}


def test_a_folder_without_scans_is_refused(options, tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "notes.txt").write_text("nothing")
    with pytest.raises(ScanError, match="no scan found"):
        segment_cohort(tmp_path / "scans", tmp_path / "out", options)


def test_an_interrupted_second_run_keeps_the_rows_of_the_first(cohort, options, tmp_path):
    out = tmp_path / "out"
    segment_cohort(cohort, out, options)

    def stop(done, _):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_cohort(cohort, out, options, progress=stop)
    assert len(summary(out)) == 4


def test_a_report_of_other_options_is_never_kept_beside_a_mask(
    cohort, options, tmp_path, monkeypatch
):
    """A run with other options that dies between mask and report."""
    out = tmp_path / "out"
    segment_cohort(cohort / "b", out, options)
    monkeypatch.setattr("pleura.cohort.worker.write_json", lambda *_, **__: 1 / 0)
    segment_cohort(cohort / "b", out, replace(options, sides=False))
    monkeypatch.undo()
    again = segment_cohort(cohort / "b", out, options)
    assert {row.status for row in again if row.name != "bad"} == {"done"}


def test_temporary_files_of_a_killed_batch_are_removed(cohort, options, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    names = ("summary.csv", "lungs.parquet", "inputs.txt")
    for name in (*names, "summary-1-of-2.csv"):
        (out / f".{name}.0123abcd").touch()
    segment_cohort(cohort / "b", out, options)
    left = {path.name for path in out.rglob(".*")}
    assert left == {".summary-1-of-2.csv.0123abcd"}  # another process may be writing it


def test_voxels_beside_a_header_belong_to_the_scan(sample, options, tmp_path):
    import SimpleITK as sitk  # noqa: N813

    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    image = sitk.ReadImage(str(sample.folder / "volume" / "ct.nii.gz"))
    sitk.WriteImage(image[:, :, 20:24], str(scans / "chest.mhd"))
    assert [row.status for row in segment_cohort(scans, out, options)] == ["done"]
    assert [row.status for row in segment_cohort(scans, out, options)] == ["skipped"]
    content = (scans / "chest.raw").read_bytes()
    (scans / "chest.raw").write_bytes(content[256:] + content[:256])
    assert [row.status for row in segment_cohort(scans, out, options)] == ["done"]


def test_a_model_that_is_exported_again_is_loaded_again(cohort, options, tmp_path):
    copied = tmp_path / "mine.onnx"
    shutil.copy(options.model, copied)
    mine = replace(options, model=str(copied))
    pool = SegmenterPool()
    first = pool.segmenter(mine)
    assert pool.segmenter(mine) is first
    os.utime(copied, (1, 1))
    assert pool.segmenter(mine) is not first
