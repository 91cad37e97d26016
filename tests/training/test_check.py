"""`pleura.check` with a model, and what its report offers."""

import shutil

import pytest

import pleura
from pleura.dataset.subsets import read_names
from pleura.formats.image_files import read_image_file, write_image_file

NAME = "LCTSC-201_058.tif"


@pytest.fixture(scope="module")
def folders(sample, tmp_path_factory):
    """Four slices; the left lung is missing in one mask."""
    folder = tmp_path_factory.mktemp("check")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
        for path in sorted((sample.folder / kind).glob("LCTSC-201_0[56]*"))[:4]:
            shutil.copy(path, folder / kind)
        shutil.copy(sample.folder / kind / NAME, folder / kind)
    mask = read_image_file(folder / "masks" / NAME)
    mask[:, 128:] = 0
    write_image_file(folder / "masks" / NAME, mask)
    return folder / "images", folder / "masks"


@pytest.fixture(scope="module")
def report(folders):
    return pleura.check(*folders, pleura.CheckOptions(model="default"))


def test_masks_are_compared_with_a_model(report):
    assert report.label_errors[0].name == NAME
    assert any("model disagrees" in reason for reason in report.label_errors[0].reasons)


def test_report_is_readable_in_terminals_and_notebooks(report):
    for shown in (report, *report.findings, *report.label_errors):
        assert len(repr(shown)) < 200
    html = report._repr_html_()
    assert "<table>" in html
    assert "the exported model will segment scans in HU" in html
    assert NAME in html


def test_names_and_figure_of_label_errors(report, folders, tmp_path):
    report.write_label_errors(tmp_path / "exclude.txt")
    assert NAME in read_names(tmp_path / "exclude.txt")
    assert pleura.label_error_figure(report) is not None
    pleura.write_check_report(tmp_path / "check.html", report)
    page = (tmp_path / "check.html").read_text()
    assert NAME in page
    assert "the exported model will segment scans in HU" in page


def test_model_and_folds_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        pleura.CheckOptions(model="default", folds=3)
