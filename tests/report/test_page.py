import json
import re
from dataclasses import replace

import pytest

from pleura.cohort.tables import ScanResult, read_summaries
from pleura.formats.image_files import read_image_file
from pleura.report import cohort as cohort_module
from pleura.report.cohort import cohort_page, write_cohort_report
from pleura.report.comparison import comparison_page, write_comparison_report
from pleura.report.images import slice_image
from pleura.report.page import Column, Page, PageCase

DICE = Column("dice", "Dice", decimals=3)


def content(path):
    text = path.read_text("utf-8")
    (found,) = re.findall(r'id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


@pytest.fixture
def page(sample, compared, tmp_path):
    masks, comparison = compared
    comparison_page(comparison, *masks, sample.images).write(tmp_path / "report.html")
    write_comparison_report(tmp_path / "plain.html", comparison, *masks)
    return tmp_path / "report.html"


def test_cases_are_there_worst_first_with_picture_and_contours(page):
    data = content(page)
    ious = [case["values"]["iou"] for case in data["cases"]]
    assert ious == sorted(ious)
    assert ious[-1] == 1
    for case in data["cases"]:
        assert case["picture"]["image"].startswith("data:image/webp;base64,")
        assert {kind for kind, _ in case["picture"]["paths"]} == {"reference", "right"}
    assert sum(bar["count"] for bar in data["plots"][0]["bars"]) == 4
    plain = content(page.with_name("plain.html"))
    assert [case["values"] for case in plain["cases"]] == [case["values"] for case in data["cases"]]
    assert not any(case["picture"] for case in plain["cases"])
    (table,) = plain["statistics"]
    assert [row[0] for row in table["rows"]].count("Dice") == 1
    assert len(table["definitions"]) == len(table["rows"])
    assert all(definition.endswith(".") for definition in table["definitions"])


def test_contours_lie_on_the_border_of_the_mask(sample):
    image, mask = (
        read_image_file(folder / "LCTSC-201_058.tif") for folder in (sample.images, sample.masks)
    )
    picture = slice_image(image, [("reference", mask)])
    ((_, path),) = picture.paths
    points = [tuple(map(float, point.split())) for point in re.split("[MLZ]+", path) if point]
    columns = [column for column, _ in points]
    inside = mask.any(0).nonzero()[0]
    scale = picture.width / image.shape[1]
    assert min(columns) == pytest.approx(inside[0] * scale, abs=0.2)
    assert max(columns) == pytest.approx((inside[-1] + 1) * scale, abs=0.2)


def test_page_asks_nothing_of_the_network_and_names_no_folder(page):
    text = page.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?:http|//|file)', text)
    assert "default-src 'none'" in text
    assert "script-src 'sha256-" in text
    assert str(page.parent) not in text


def test_names_cannot_break_out_of_the_data(tmp_path):
    case = PageCase("</script><script>alert(1)</script>", {"dice": 1.0})
    Page("t", "l", (), (DICE,), (case,)).write(tmp_path / "a.html")
    assert "<script>alert" not in (tmp_path / "a.html").read_text()
    assert content(tmp_path / "a.html")["cases"][0]["name"] == case.name


def test_three_hundred_cases_stay_below_ten_megabytes(sample, tmp_path):
    image = read_image_file(sample.images / "LCTSC-201_058.tif")
    mask = read_image_file(sample.masks / "LCTSC-201_058.tif")
    picture = slice_image(image, [("reference", mask), ("right", mask)])
    cases = tuple(PageCase(f"case {i}", {"dice": 0.9}, (), picture) for i in range(300))
    Page("t", "l", (), (DICE,), cases).write(tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size < 10e6


def test_cohort_page_lists_failed_scans_with_hints_and_flagged_scans_first(cohort, tmp_path):
    write_cohort_report(tmp_path / "report.html", cohort)
    data = content(tmp_path / "report.html")
    (failure,) = data["failures"]
    assert failure["name"] == "bad.nrrd"
    assert failure["problem"]
    assert failure["hint"] == "copy or export the file again"
    counts = [len(case["flags"]) for case in data["cases"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0
    by_name = {case["name"]: case for case in data["cases"]}
    assert all(case["picture"] for case in by_name.values())
    volume = by_name["volume"]
    assert volume["values"]["right_ml"] > 500
    assert -900 < volume["values"]["mean_hu"] < -500
    assert volume["command"].endswith("--select volume")
    assert by_name["LCTSC-201_009"]["flags"][0]["title"]
    for case in data["cases"]:
        assert (cohort / case["link"]).exists()
    assert data["plots"][0]["title"] == "Volume of both lungs"
    assert sum(bar["count"] for bar in data["plots"][0]["bars"]) == 2
    tiles = {tile["label"]: tile["value"] for tile in data["tiles"]}
    assert (tiles["Scans"], tiles["Segmented"], tiles["Failed"]) == ("5", "4", "1")


def test_no_name_of_a_column_of_the_tables_is_shown(cohort):
    page = cohort_page(read_summaries(cohort), cohort)
    shown = [column.label for column in page.columns] + [tile.label for tile in page.tiles]
    shown += [flag.title for case in page.cases for flag in case.flags]
    assert not any("_" in text for text in shown)


def test_pictures_of_a_large_cohort_are_limited(cohort, monkeypatch):
    monkeypatch.setattr(cohort_module, "MAX_IMAGES", 1)
    page = cohort_page(read_summaries(cohort), cohort)
    assert [case.picture is not None for case in page.cases] == [True, False, False, False]
    assert "3 scans have no image" in page.notices[0].text


def test_a_cohort_without_any_result_has_a_page(tmp_path):
    failed = ScanResult("a", "failed", error="unexpected OSError: gone")
    page = cohort_page([failed], tmp_path)
    assert page.failures[0].problem == "unexpected OSError: gone"
    assert page.failures[0].hint == ""
    assert replace(page).html()
