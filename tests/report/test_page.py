import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions, SegmentationOptions
from pleura.evaluation.compare import compare
from pleura.formats.pictures import read_picture, write_picture
from pleura.report.cohort import write_cohort_report
from pleura.report.comparison import comparison_page, write_comparison_report
from pleura.report.page import Page, PageCase, histogram, iou_histogram, line_plot, slice_picture

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def content(path):
    text = path.read_text("utf-8")
    (found,) = re.findall(r'id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


@pytest.fixture(scope="module")
def page(sample, tmp_path_factory):
    """Predictions that are references shifted, by more and more pixels."""
    folder = tmp_path_factory.mktemp("report")
    names = [f"LCTSC-201_{n:03d}" for n in (33, 45, 58, 70)]
    for i, name in enumerate(names):
        mask = read_picture(sample.masks / f"{name}.tif")
        write_picture(folder / "found" / f"{name}_lungs.png", np.roll(mask, 2 * i, 1))
        write_picture(folder / "wanted" / f"{name}.png", mask)
    compared = compare(folder / "found", folder / "wanted")
    masks = folder / "found", folder / "wanted"
    made = comparison_page(compared, *masks, sample.images)
    curves = line_plot("Loss", [1, 2, 3], {"loss": [3, 2, 1], "validation_loss": [3, 3, 2]})
    replace(made, plots=(*made.plots, curves)).write(folder / "report.html")
    write_comparison_report(folder / "plain.html", compared, *masks)
    return folder / "report.html"


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
    assert [row[0] for row in data["summary"]["rows"] if row[0][-4:] == "dice"] == ["lungs, dice"]


def test_page_asks_nothing_of_the_network_and_names_no_folder(page):
    text = page.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?:http|//|file)', text)
    assert "default-src 'none'" in text
    assert str(page.parent) not in text


def test_names_cannot_break_out_of_the_data(tmp_path):
    case = PageCase("</script><script>alert(1)</script>", {"dice": 1.0})
    Page("t", "l", (), ("dice",), (case,)).write(tmp_path / "a.html")
    assert "<script>alert" not in (tmp_path / "a.html").read_text()
    assert content(tmp_path / "a.html")["cases"][0]["name"] == case.name


def test_three_hundred_cases_stay_below_ten_megabytes(sample, tmp_path):
    image = read_picture(sample.images / "LCTSC-201_058.tif")
    mask = read_picture(sample.masks / "LCTSC-201_058.tif")
    picture = slice_picture(image, {"reference": mask, "right": mask})
    cases = tuple(PageCase(f"case {i}", {"dice": 0.9}, (), picture) for i in range(300))
    Page("t", "l", (), ("dice",), cases).write(tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size < 10e6


def test_bands_are_those_of_the_exercise():
    bars = iou_histogram([0.2, 0.85, 0.9, 0.94, 0.95, 1.0])["bars"]
    assert [(bar["label"], bar["count"]) for bar in bars] == [
        ("[0, 0.85)", 1),
        ("[0.85, 0.9)", 1),
        ("[0.9, 0.95)", 2),
        ("[0.95, 1]", 2),
    ]
    assert sum(bar["count"] for bar in histogram("x", [1.0, 2.0, 2.0])["bars"]) == 3


def test_cohort_page_shows_failed_and_flagged_scans_first(sample, model, tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    for name in ("LCTSC-201_058.tif", "LCTSC-201_009.tif"):
        shutil.copy(sample.images / name, folder)
    (folder / "bad.nrrd").write_bytes(b"NRRD0005\nno header")
    segment_cohort(
        folder,
        tmp_path / "out",
        SegmentationOptions(model),
        outputs=OutputOptions(preview=True, measure=True),
    )
    write_cohort_report(tmp_path / "out" / "report.html", tmp_path / "out")
    data = content(tmp_path / "out" / "report.html")
    assert data["cases"][0]["name"] == "bad (bad.nrrd)"
    assert data["warnings"][0].startswith("bad: ")
    assert {case["name"]: bool(case["picture"]) for case in data["cases"]}[
        "LCTSC-201_058 (LCTSC-201_058.tif)"
    ]
    assert (
        data["cases"][-1]["values"]["mean_hu"] is None or data["cases"][-1]["values"]["mean_hu"] < 0
    )
    for case in data["cases"]:
        assert case["link"] is None or (tmp_path / "out" / case["link"]).exists()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_the_page_sorts_its_table_and_hides_the_contours(page, tmp_path):
    script = """
    <script>
    const errors = []; window.addEventListener("error", (e) => errors.push(e.message));
    window.addEventListener("load", () => {
      const all = (query) => [...document.querySelectorAll(query)];
      const rows = () => all("#cases tbody tr").map((r) => r.cells[1].textContent);
      const first = rows();
      const sort = all("th button").find((b) => b.textContent === "dice");
      sort.click(); const up = rows(); sort.click(); const down = rows();
      document.getElementById("toggle-reference").click();
      const path = document.querySelector("path.reference");
      const search = document.querySelector("input[type=search]");
      search.value = "201_058"; search.dispatchEvent(new Event("input"));
      document.body.dataset.told = JSON.stringify({ first, up, down, errors,
        lines: all("#plots polyline").length, points: all("#plots circle").length,
        left: rows().length, hidden: getComputedStyle(path).display,
        figures: all("figure").length });
    });
    </script>"""
    tested = tmp_path / "tested.html"
    tested.write_text(page.read_text("utf-8").replace("</body>", script + "</body>"), "utf-8")
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        tested.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (told,) = re.findall(r'data-told="(.*?)"', done.stdout)
    told = json.loads(told.replace("&quot;", '"'))
    assert told["errors"] == []
    assert told["figures"] == len(told["first"]) == 4
    assert told["up"] == sorted(told["up"], key=float)
    assert told["down"] == told["up"][::-1]
    assert told["hidden"] == "none"
    assert told["left"] == 1
    assert told["points"] == 4
    assert told["lines"] == 2
