"""Names of the results of a cohort that a model with several classes segmented."""

import shutil

import numpy as np
import pytest

import pleura
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions, SegmentationOptions
from pleura.cohort.result_names import list_reports, reports_by_name
from pleura.corrections.cases import cases_from_results
from pleura.formats.image_files import write_image_file
from pleura.report.cohort import read_reports
from pleura.training.export import export
from pleura.training.recipe_loading import load_recipe
from pleura.training.train import train

OUTPUTS = OutputOptions(preview=True, measure=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for i in range(10):
        labels = np.zeros((32, 32), np.uint8)
        labels[6:26, 4:13], labels[10:14, 20:27] = 1, 7
        hu = np.where(labels > 0, -850, 40) + rng.normal(0, 20, labels.shape)
        for name, array in (("images", hu.astype(np.int16)), ("masks", labels)):
            (root / name).mkdir(exist_ok=True)
            write_image_file(root / name / f"{i}.tif", array)
    overrides = [
        "data.labels={1: lung, 7: lesion}",
        "preprocessing.size=[16, 16]",
        "preprocessing.window=[-1000, 200]",
        "network.channels=[4, 8]",
        "training.epochs=1",
        "training.batch_size=2",
        "training.threads=1",
        "split.method=sorted",
    ]
    run = train(root / "images", root / "masks", root / "run", load_recipe("quick", overrides))
    export(run, root / "classes.onnx")
    return root / "classes.onnx"


def test_results_of_several_classes_have_their_own_suffix(sample, model, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    for name in ("a", "b_labels"):
        scans.mkdir(exist_ok=True)
        shutil.copy(sample.folder / "volume" / "ct.nii.gz", scans / f"{name}.nii.gz")
    options = SegmentationOptions(model=model)
    results = segment_cohort(scans, out, options, outputs=OUTPUTS)
    assert [result.mask for result in results] == [
        "a_labels.nii.gz",
        "b_labels_labels.nii.gz",
    ]
    names = {path.name for path in out.iterdir()}
    assert {"a_labels.json", "a_labels_preview.png", "b_labels_labels.json"} <= names
    assert not any("_lungs" in name for name in names)
    again = segment_cohort(scans, out, options, outputs=OUTPUTS)
    assert [result.status for result in again] == ["skipped", "skipped"]
    assert {row["region"] for row in again[0].regions} >= {"lung", "lesion"}
    reports = read_reports(again, out)
    assert reports["a"]["mask"] == "a_labels.nii.gz"
    assert set(reports) == set(reports_by_name(out)) == {"a", "b_labels"}
    assert pleura.methods_paragraph(out)
    assert [case.name for case in sorted(cases_from_results(out), key=lambda c: c.name)] == [
        "a",
        "b_labels",
    ]


def test_the_last_model_is_shown(sample, model, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    shutil.copy(sample.folder / "volume" / "ct.nii.gz", scans / "a.nii.gz")
    (lungs,) = segment_cohort(scans, out)
    (classes,) = segment_cohort(scans, out, SegmentationOptions(model=model))
    assert (lungs.mask, classes.mask) == ("a_lungs.nii.gz", "a_labels.nii.gz")
    assert len(list(list_reports(out))) == 2
    assert reports_by_name(out) == {"a": out / "a_labels.json"}
    # results beside their scans are no scans
    (inside,) = segment_cohort(scans, scans, SegmentationOptions(model=model))
    assert inside.name == "a"
    assert [r.name for r in segment_cohort(scans, scans)] == ["a"]
