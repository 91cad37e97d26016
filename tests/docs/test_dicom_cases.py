"""The page of odd DICOM files says what the code does."""

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_says_what_becomes_of_each_file(data, monkeypatch):
    if not (data / "dicom_cases").is_dir():
        pytest.skip("needs the collection of DICOM cases")
    monkeypatch.syspath_prepend(str(DOCS))
    import make_dicom_cases

    expected = make_dicom_cases.PAGE.read_text("utf-8")
    assert make_dicom_cases.page(data / "dicom_cases") == expected
    sys.modules.pop("make_dicom_cases")
