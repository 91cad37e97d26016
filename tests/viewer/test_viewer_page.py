"""Corrections, uploads and progress on the page, in a real Chromium."""

import nibabel as nib
import numpy as np
import pytest
from viewer_page import (
    NEEDS_PAGE,
    ONE_GRID,
    draw_at,
    opened,
    served,
    until,
)

from pleura.corrections.cases import case_from_files
from pleura.figures.palette import DIFFERENCE, LEFT_LUNG, REFERENCE, RIGHT_LUNG, rgb

pytestmark = NEEDS_PAGE


@pytest.fixture
def page(browser, pair):
    """The pair, its mask its own reference."""
    with served([case_from_files(*pair, pair[1])]) as address, opened(browser, address) as page:
        until(page, "document.body.dataset.ready === '0'")
        yield page


def test_a_stroke_is_saved_at_its_position_and_undo_removes_it(page, pair):
    page.click("#tool [value='brush']")
    page.click("#side [value='2']")
    page.fill("#size", "1")
    page.dispatch_event("#size", "change")
    place = draw_at(page, (0.5, 0.5, 0.75))
    until(page, "!document.getElementById('save').disabled")
    page.click("#save")
    until(page, "document.getElementById('message').textContent.startsWith('saved')")
    corrected = nib.load(pair[1].with_name("lungs.corrected.nii.gz"))
    before = nib.load(pair[1])
    changed = np.argwhere(corrected.get_fdata() != before.get_fdata())
    assert 1 <= len(changed) <= 4
    expected = (np.linalg.inv(before.affine) @ [*place, 1])[:3]
    assert np.abs(changed - expected).max() <= 1
    assert {corrected.get_fdata()[tuple(v)] for v in changed} == {2.0}
    page.keyboard.press("Control+z")
    until(page, "!document.getElementById('save').disabled")
    page.click("#save")
    until(page, "document.getElementById('save').disabled")
    again = nib.load(pair[1].with_name("lungs.corrected.nii.gz"))
    np.testing.assert_array_equal(again.get_fdata(), before.get_fdata())


@ONE_GRID
def test_unsaved_strokes_survive_a_crash_of_the_page(page, pair):
    page.click("#tool [value='brush']")
    draw_at(page, (0.5, 0.5, 0.75))
    until(page, "Object.keys(localStorage).length === 1")
    drawn = page.evaluate("viewer.drawBitmap.reduce((a, b) => a + b, 0)")
    page.evaluate("window.onbeforeunload = null")
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    until(
        page, "document.getElementById('message').textContent === 'unsaved changes were restored'"
    )
    assert page.evaluate("viewer.drawBitmap.reduce((a, b) => a + b, 0)") == drawn
    page.click("#save")
    until(page, "Object.keys(localStorage).length === 0")


def test_keyboard_shortcuts_and_their_help(page):
    page.locator("#canvas").focus()
    page.keyboard.press("3")
    assert page.evaluate("[viewer.volumes[0].cal_min, viewer.volumes[0].cal_max]") == [-450, 1050]
    page.keyboard.press("c")
    assert page.evaluate("viewer.opts.sliceType") == 1
    assert page.evaluate("viewer.scene.clipPlaneDepthAziElevs[0][0]") > 1  # NiiVue's c: not there
    page.keyboard.press("x")
    assert page.get_attribute("#side [value='2']", "aria-pressed") == "true"
    page.evaluate("viewer.scene.crosshairPos = [0.5, 0.5, 0.5]")
    before = page.evaluate("[...viewer.frac2vox(viewer.scene.crosshairPos)]")
    for key in ("Shift+ArrowLeft", "Shift+ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    after = page.evaluate("[...viewer.frac2vox(viewer.scene.crosshairPos)]")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]  # right, front, head
    screen = [
        page.evaluate(f"[...viewer.frac2canvasPos(viewer.vox2frac({v}))]") for v in (before, after)
    ]
    assert screen[1][0] < screen[0][0]
    assert screen[1][1] < screen[0][1]
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert "HU" in page.text_content("#position")
    assert "LPS" in page.text_content("#position")


@ONE_GRID
def test_masks_have_the_colours_of_the_palette(page):
    lungs = page.evaluate("[...viewer.drawLut.lut.slice(4, 12)]")
    assert lungs == [*rgb(RIGHT_LUNG), 255, *rgb(LEFT_LUNG), 255]
    reference = page.evaluate("[...viewer.volumes[1].colormapLabel.lut.slice(4, 12)]")
    assert reference == [*rgb(REFERENCE), 255, *rgb(DIFFERENCE), 130]


@pytest.mark.parametrize("width", [390, 1200])
def test_a_scan_opened_on_the_empty_page_is_segmented(browser, sample, width):
    with served([]) as address, opened(browser, address, width) as page:
        until(page, "!document.getElementById('empty').hidden")
        page.set_input_files("#files", sample.folder / "volume" / "ct.nii.gz")
        until(page, "document.body.dataset.ready === '0'", 60)
        assert "Volume, ml" in page.text_content("#measurements")
        labels = page.evaluate("[...new Set(viewer.drawBitmap)].sort()")
        assert labels == [0, 1, 2]
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_connected_component_is_assigned_to_a_side(page, pair):
    before = nib.load(pair[1])
    place = (before.affine @ [13, 14, 3, 1])[:3]
    at = page.evaluate("(mm) => [...viewer.mm2frac(mm, 0, true)]", place.tolist())
    page.click("#tool [value='assign']")
    page.click("#side [value='2']")
    draw_at(page, at)
    until(page, "!document.getElementById('save').disabled")
    page.click("#save")
    until(page, "document.getElementById('message').textContent.startsWith('saved')")
    corrected = nib.load(pair[1].with_name("lungs.corrected.nii.gz")).get_fdata()
    np.testing.assert_array_equal(corrected, np.where(before.get_fdata() > 0, 2, 0))


def test_the_progress_of_a_training_is_shown(browser, tmp_path):
    """A run folder that grows while the page is open."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"finished": false}')
    (run / "recipe.yaml").write_text("training: {epochs: 4}\n")
    head = "epoch,loss,validation_loss\n1,0.9,0.8\n"
    (run / "history.csv").write_text(head)
    with served([], run) as address, opened(browser, address) as page:
        text = "document.getElementById('progress-text').textContent"
        until(page, f"{text} === '1 of 4 epochs'")
        (run / "history.csv").write_text(f"{head}2,0.7,0.6\n")
        until(page, f"{text} === '2 of 4 epochs'")
        assert page.get_attribute("#curves .validation_loss", "points").count(",") == 2
        (run / "run.json").write_text('{"finished": true}')
        until(page, f"{text} === '2 of 4 epochs, finished'")


@ONE_GRID
def test_the_second_window_is_refused_and_keeps_its_changes(browser, pair):
    def drawn(page, slice_fraction):
        until(page, "document.body.dataset.ready === '0'")
        page.click("#tool [value='brush']")
        draw_at(page, (0.5, 0.5, slice_fraction))
        until(page, "!document.getElementById('save').disabled")

    message = "document.getElementById('message').textContent"
    with (
        served([case_from_files(*pair)]) as address,
        opened(browser, address) as first,
        opened(browser, address, faulty=True) as second,
    ):
        drawn(first, 0.75)
        drawn(second, 0.25)
        first.click("#save")
        until(first, f"{message}.startsWith('saved')")
        second.click("#save")
        until(second, f"{message}.includes('in another window')")
        assert second.evaluate("Object.keys(localStorage).length") == 1
        second.on("dialog", lambda dialog: dialog.accept())
        second.reload()
        until(second, f"{message} === 'unsaved changes were restored'")
        second.click("#save")
        until(second, f"{message}.startsWith('saved')")
        assert second.evaluate("Object.keys(localStorage).length") == 0


@ONE_GRID
def test_changes_are_kept_when_another_scan_is_opened_and_can_be_discarded(browser, pair):
    ready = "document.body.dataset.ready === '{}'"
    cases = [case_from_files(*pair), case_from_files(*pair)]
    with served(cases) as address, opened(browser, address) as page:
        until(page, ready.format(0))
        page.on("dialog", lambda dialog: dialog.accept())
        before = page.evaluate("viewer.drawBitmap.reduce((a, b) => a + b, 0)")
        page.click("#tool [value='brush']")
        draw_at(page, (0.5, 0.5, 0.75))
        until(page, "Object.keys(localStorage).length === 1")
        page.keyboard.press("Escape")
        page.locator("#cases button").nth(1).click()
        until(page, ready.format(1))
        assert page.evaluate("Object.keys(localStorage).length") == 1
        page.click("#discard")
        until(page, "document.getElementById('save').disabled")
        assert page.evaluate("Object.keys(localStorage).length") == 0
        total = "viewer.drawBitmap && viewer.drawBitmap.reduce((a, b) => a + b, 0)"
        until(page, f"({total}) === {before}")


@ONE_GRID
def test_a_browser_without_webgl_2_gets_a_message(browser, pair):
    without = "HTMLCanvasElement.prototype.getContext = () => null"
    with (
        served([case_from_files(*pair)]) as address,
        opened(browser, address, faulty=True, script=without) as p,
    ):
        until(p, "document.getElementById('message').textContent.includes('no WebGL 2')")
