"""The reports in a real Chromium."""

import shutil
from contextlib import contextmanager

import pytest

from pleura.dataset.checks import check_folders
from pleura.report.check import check_page
from pleura.report.cohort import write_cohort_report
from pleura.report.comparison import comparison_page
from pleura.report.evaluation import EvaluationOptions, evaluate_and_report
from pleura.report.page import Column, Notice, Page, PageCase
from pleura.viewer.app import STATIC

AXE = STATIC.with_name("web") / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

UNKNOWN = "\N{EN DASH}"
OVERLAPS = """
[...document.querySelectorAll('#plots svg')].flatMap((svg) => {
  const texts = [...svg.querySelectorAll('text')]
    .map((node) => [node.textContent, node.getBoundingClientRect()]);
  const meet = (p, q) =>
    p.left < q.right && q.left < p.right && p.top < q.bottom && q.top < p.bottom;
  return texts.flatMap(([a, p], i) => texts.slice(i + 1)
    .filter(([, q]) => meet(p, q)).map(([b]) => `${a} | ${b}`));
})
"""
HEIGHTS = """
[...document.querySelectorAll('#plots text')].map((node) => node.getBoundingClientRect().height)
"""
CLIPPED = """
[...document.querySelectorAll('#plots svg')].flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter((node) => {
    const text = node.getBoundingClientRect();
    return text.left < box.left - 1 || text.right > box.right + 1 || text.bottom > box.bottom + 1;
  }).map((node) => node.textContent);
})
"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(sample, compared, cohort, tmp_path_factory):
    """Return one file of each kind of report."""
    folder = tmp_path_factory.mktemp("pages")
    write_cohort_report(folder / "cohort.html", cohort)
    masks, comparison = compared
    comparison_page(comparison, *masks, sample.images).write(folder / "comparison.html")
    images, references = folder / "images", folder / "masks"
    for source, target in ((sample.images, images), (sample.masks, references)):
        target.mkdir()
        for path in sorted(source.glob("LCTSC-201_0[3-5]*")):
            shutil.copy(path, target)
    options = EvaluationOptions(report=folder / "evaluation.html")
    evaluate_and_report("default", images, references, options)
    check_page(check_folders(images, references), "pleura check").write(folder / "check.html")
    return folder


@contextmanager
def opened(browser, path, width=1440, scheme="light"):
    """A page without faults on its console."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, permissions=[]
    )
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    yield page
    assert faults == []
    assert page.locator(".icon:empty, .icon:not(:has(*))").count() == 0
    context.close()


KINDS = pytest.mark.parametrize("kind", ["cohort", "comparison", "evaluation", "check"])


@KINDS
@pytest.mark.parametrize("width", [1440, 390])
def test_labels_of_plots_do_not_overlap_and_the_page_does_not_scroll_sideways(
    browser, pages, kind, width
):
    with opened(browser, pages / f"{kind}.html", width) as page:
        assert page.evaluate(OVERLAPS) == []
        assert page.evaluate(CLIPPED) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert kind == "check" or page.locator("#plots svg text.tick").count() > 4
        assert all(9 < height < 24 for height in page.evaluate(HEIGHTS))


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core, which `npm ci` installs")
@KINDS
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "dark")])
def test_reports_are_accessible(browser, pages, kind, width, scheme):
    """The page passes the rules of WCAG 2.2 AA that axe-core checks."""
    with opened(browser, pages / f"{kind}.html", width, scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.evaluate(AXE.read_text("utf-8"))
        rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}"
        found = page.evaluate(f"axe.run(document, {rules})")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    assert len(found["passes"]) > 12


def column(page, index):
    rows = "[...document.querySelectorAll('#cases tbody tr')]"
    return page.evaluate(f"{rows}.map((row) => row.cells[{index}].textContent)")


def test_a_click_on_a_header_sorts_the_table(browser, pages):
    with opened(browser, pages / "comparison.html") as page:
        button = page.locator("#cases th button", has_text="Dice").first
        head = page.locator("#cases th:has(button)", has_text="Dice").first
        assert head.get_attribute("aria-sort") is None
        button.click()
        up = [float(text) for text in column(page, 2)]
        assert head.get_attribute("aria-sort") == "ascending"
        button.focus()
        page.keyboard.press("Enter")
        down = [float(text) for text in column(page, 2)]
        assert head.get_attribute("aria-sort") == "descending"
        assert page.locator("#cases th[aria-sort]").count() == 1
    assert up == sorted(up)
    assert down == up[::-1]
    assert len(set(up)) == 4


def test_unknown_values_are_last_in_both_orders(browser, tmp_path):
    values = [2.0, None, -1.0]
    cases = tuple(PageCase(f"case {i}", {"v": value}) for i, value in enumerate(values))
    Page("t", "s", (), (Column("v", "Value", "ml"),), cases).write(tmp_path / "a.html")
    with opened(browser, tmp_path / "a.html") as page:
        button = page.locator("#cases th button", has_text="Value (ml)")
        button.click()
        assert column(page, 1) == ["-1", "2", UNKNOWN]
        button.click()
        assert column(page, 1) == ["2", "-1", UNKNOWN]


def test_flags_and_text_filter_gallery_and_table(browser, pages):
    with opened(browser, pages / "cohort.html") as page:
        cards = page.locator("#gallery article:visible")
        assert cards.count() == 4
        button = page.locator("#filter button").nth(1)
        kind, _, count = button.text_content().rpartition(" ")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert f"({cards.count()})" == count
        assert len(column(page, 0)) == cards.count() < 4
        assert all(kind in text for text in column(page, -1 + page.locator("#cases th").count()))
        assert page.text_content("#filter .count") == f"{cards.count()} of 4 shown"
        page.locator("#filter button").first.click()
        page.fill("#filter input", ".NII")
        assert column(page, 0) == ["thick", "volume"]


def test_contours_can_be_hidden(browser, pages):
    with opened(browser, pages / "comparison.html") as page:
        path = page.locator(".contours path.reference").first
        page.uncheck("#toggle-reference")
        assert path.evaluate("(node) => getComputedStyle(node).display") == "none"
        assert page.locator(".contours path.right").first.is_visible()


def test_numbers_have_units_and_no_exponent(browser, pages):
    for kind in ("cohort", "comparison", "evaluation"):
        with opened(browser, pages / f"{kind}.html") as page:
            text = page.inner_text("body")
        assert "e+0" not in text
        assert not {"right_ml", "laa_950_percent", "surface_dice_2", "hd95"} & set(text.split())


def test_a_card_shows_the_command_that_opens_the_scan(browser, pages):
    with opened(browser, pages / "cohort.html") as page:
        page.locator("article summary").first.click()
        command = page.locator("article code").first
        assert command.is_visible()
        assert command.text_content().startswith("pleura view ")


def test_a_long_table_shows_its_first_rows_and_all_on_demand(browser, tmp_path):
    cases = tuple(PageCase(f"case {i}", {"v": float(i)}) for i in range(450))
    Page("t", "s", (), (Column("v", "Value"),), cases).write(tmp_path / "a.html")
    with opened(browser, tmp_path / "a.html") as page:
        assert len(column(page, 0)) == 200
        page.locator("#cases > button").click()
        assert len(column(page, 0)) == 450


@pytest.mark.parametrize("level", ["", "warning", "error"])
def test_notices_of_each_severity_have_an_icon(browser, tmp_path, level):
    Page("t", "s", (), (), (), notices=(Notice("text", level),)).write(tmp_path / "a.html")
    with opened(browser, tmp_path / "a.html") as page:
        assert page.locator("#notices .icon").count() == 1


def test_the_page_prints_without_controls(browser, pages):
    with opened(browser, pages / "cohort.html", scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert not page.locator("#filter input").is_visible()
        assert (
            page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        )
        assert page.pdf()[:4] == b"%PDF"
