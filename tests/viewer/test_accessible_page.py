"""Accessibility of the page (WCAG 2.2 AA), in a real Chromium."""

from dataclasses import replace

import pytest
from viewer_page import NEEDS_AXE, NEEDS_PAGE, ONE_GRID, READY, opened, served, until, violations

from pleura.cohort.batch import segment_cohort
from pleura.corrections.cases import case_from_files
from pleura.viewer.case_list import find_cases

pytestmark = NEEDS_PAGE
THEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDTHS = pytest.mark.parametrize("width", [1440, 390])
FLAGS = {
    "truncated": "the lung reaches the lowest and the highest slice",
    "asymmetric": "the left lung is missing or much smaller than the other",
}


@pytest.fixture
def page(browser, varied):
    with served([case_from_files(*varied)]) as address, opened(browser, address) as page:
        until(page, READY)
        yield page


@ONE_GRID
def test_shortcuts_of_a_single_key_can_be_switched_off(page):
    page.keyboard.press("?")
    page.uncheck("#single-keys")
    page.click("#help button")
    page.keyboard.press("b")
    assert page.get_attribute("#tool [value=brush]", "aria-pressed") == "false"
    page.reload()
    until(page, READY)
    page.keyboard.press("b")
    assert page.get_attribute("#tool [value=brush]", "aria-pressed") == "false"
    page.click("#help-open")
    page.check("#single-keys")
    page.click("#help button")
    page.keyboard.press("b")
    assert page.get_attribute("#tool [value=brush]", "aria-pressed") == "true"


@ONE_GRID
def test_tooltips_name_the_control_and_its_shortcut(page):
    page.hover("#tool [value=brush]")
    until(page, "document.getElementById('tooltip').matches(':popover-open')")
    assert page.text_content("#tooltip") == "Brushb"
    page.keyboard.press("Escape")
    assert page.is_hidden("#tooltip")
    page.locator("#undo").evaluate("(undo) => { undo.disabled = false; }")
    page.locator("#swap").focus()
    page.keyboard.press("Tab")
    until(page, "document.getElementById('tooltip').textContent.startsWith('Undo')")


@ONE_GRID
def test_the_file_input_can_be_reached_with_the_keyboard(page):
    page.locator("#files").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    outline = "getComputedStyle(document.querySelector('nav .drop')).outlineStyle"
    assert page.evaluate(outline) == "solid"


@ONE_GRID
def test_the_page_shows_where_files_can_be_dropped(page):
    """While files are dragged over the page, and not for text."""
    drag = """(kind) => {
      const dataTransfer = new DataTransfer();
      if (kind === 'text') dataTransfer.setData('text/plain', 'text');
      else dataTransfer.items.add(new File(['a'], 'scan.nii'));
      document.body.dispatchEvent(new DragEvent('dragover', { dataTransfer, bubbles: true }));
    }"""
    page.evaluate(drag, "text")
    assert page.is_hidden("#drop-hint")
    page.evaluate(drag, "file")
    assert page.is_visible("#drop-hint")
    page.evaluate("document.body.dispatchEvent(new DragEvent('dragleave', { bubbles: true }))")
    assert page.is_hidden("#drop-hint")


def open_all_states(page):
    """Yield after each state of the page that has colours of its own."""
    page.click("#swap")
    until(page, "!document.getElementById('save').disabled")
    page.click("#aeration")
    page.select_option("#window", "custom")
    yield "edited"
    page.click("#before")
    until(page, "document.getElementById('caption').textContent.includes('before')")
    yield "before the correction"
    page.click("#before")
    page.click("#save")
    until(page, "document.getElementById('save-state').textContent === 'Corrected'")
    page.hover("#save")
    yield "saved"
    page.evaluate("document.getElementById('message').classList.add('error')")
    page.hover("#help-open")
    until(page, "document.getElementById('tooltip').matches(':popover-open')")
    yield "error and tooltip"
    page.click("#help-open")
    yield "help"


@NEEDS_AXE
@ONE_GRID
@THEMES
@WIDTHS
def test_the_page_is_accessible(browser, varied, width, scheme):
    """The page passes the rules that axe-core checks, and targets have 24 pixels."""
    report = {"flags": FLAGS, "source": "a/b.nii.gz", "grid": "6 slices"}
    cases = [replace(case_from_files(*varied), report=report), case_from_files(*varied)]
    with served(cases) as address, opened(browser, address, width, scheme=scheme) as page:
        until(page, READY)
        assert violations(page) == []
        small = page.evaluate(
            """[...document.querySelectorAll('button, select, a, input:not([type=checkbox])')]
            .filter((one) => one.checkVisibility() && !one.matches('.visually-hidden'))
            .map((one) => [one.id || one.ariaLabel || one.textContent, one.getBoundingClientRect()])
            .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)"""
        )
        assert set(small) <= {"opacity"}  # a slider, with nothing near it


@pytest.mark.slow
@NEEDS_AXE
@ONE_GRID
@THEMES
@WIDTHS
def test_other_states_of_the_page_are_accessible(browser, varied, width, scheme):
    case = case_from_files(*varied)
    with served([case]) as address, opened(browser, address, width, scheme=scheme) as page:
        until(page, READY)
        for state in open_all_states(page):
            assert violations(page) == [], state


@NEEDS_AXE
@THEMES
@WIDTHS
def test_the_page_without_scans_is_accessible(browser, tmp_path, width, scheme):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "damaged.nii.gz").write_bytes(b"\x1f\x8b no scan")
    segment_cohort(scans, tmp_path / "out")
    for cases in (find_cases(None), find_cases(tmp_path / "out")):
        with served(cases) as address, opened(browser, address, width, scheme=scheme) as page:
            until(page, "!document.getElementById('empty').hidden")
            assert violations(page) == []
