"""The page of the viewer in a real Chromium, with WebGL in software."""

import shutil
import time
from contextlib import contextmanager

import numpy as np
import pytest

from pleura.viewer.app import STATIC
from pleura.viewer.case_list import CaseList
from pleura.viewer.server import Viewer

AXE = STATIC.with_name("web") / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NEEDS_PAGE = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(
        not (STATIC / "viewer.js").exists(), reason="the page is not built: needs Node.js"
    ),
]
NEEDS_AXE = pytest.mark.skipif(not AXE.exists(), reason="needs axe-core, which `npm ci` installs")
ONE_GRID = pytest.mark.parametrize("pair", ["oblique, flipped"], indirect=True)
"""Of tests in which nothing depends on the grid of the scan."""
SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
READY = "document.body.dataset.ready === '0'"


@contextmanager
def launched():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        yield browser
        browser.close()


@contextmanager
def served(cases, folder=None):
    """Serve a list of cases; yield the address with the token."""
    cases = cases if isinstance(cases, CaseList) else CaseList(cases, folder)
    with Viewer(cases) as viewer:
        viewer.start()
        yield viewer.url


@contextmanager
def opened(browser, address, width=1200, *, faulty=False, script="", scheme="light"):
    """A page without faults on its console, unless they are expected."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.add_init_script(script)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.goto(address)
    yield page
    assert faulty or faults == []
    context.close()


def until(page, expression, seconds=30):
    """Wait for a condition; the page forbids what Playwright's own waiting is made of."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression}: {page.text_content('#message')}"
        time.sleep(0.05)


def draw_at(page, fraction):
    """Click at a position in the axial view; returns its world coordinates, RAS in mm."""
    page.click("#view [value=axial]")
    found = page.evaluate(
        """(at) => {
          viewer.scene.crosshairPos = at; viewer.drawScene();
          const [x, y] = viewer.frac2canvasPos(at), box = viewer.canvas.getBoundingClientRect();
          const scale = box.width / viewer.canvas.width;
          return { x: box.x + x * scale, y: box.y + y * scale,
                   mm: [...viewer.frac2mm(at, 0, true)].slice(0, 3) };
        }""",
        list(fraction),
    )
    page.mouse.click(found["x"], found["y"])
    return np.array(found["mm"])


def violations(page):
    """Return the violations of the rules of WCAG 2.2 AA that axe-core checks."""
    page.evaluate(AXE.read_text("utf-8"))
    rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}"
    found = page.evaluate(f"axe.run(document, {rules})")
    assert len(found["passes"]) > 15
    return [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]
