"""Take screenshots of the viewer: docs/pictures/view*.webp.

python docs/make_viewer_picture.py [SCAN]

SCAN is the scan of the pictures; default: the sample of the package. The documentation shows
patient LCTSC-Test-S1-101 of the Lung CT Segmentation Challenge 2017.
"""

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import pleura
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions
from pleura.corrections.comparison import SAMPLE

PICTURES = Path(__file__).parent / "pictures"
SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TIMEOUT = 300_000  # ms: WebGL in software


def show_aeration(page: Page) -> None:
    page.click("#aeration")
    page.click("#measurements button[aria-label^='Poorly aerated, %, right']")


def correct(page: Page) -> None:
    """Draw with the brush in the axial view, and show the changed voxels."""
    page.click("#view [value=axial]")
    page.click("#tool [value=brush]")
    page.fill("#size", "14")
    page.dispatch_event("#size", "change")
    x, y = page.evaluate(
        """(() => { const { x, y, width, height } = canvas.getBoundingClientRect();
        return [x + width / 2, y + height / 2]; })()"""
    )
    page.mouse.move(x - 60, y - 20)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(x - 60 + 6 * step, y - 20 + 5 * step)
    page.mouse.up()
    page.click("#changes")
    page.locator("#correction tbody tr").first.wait_for()
    page.hover("#tool [value=outline]")


def show_flag(page: Page) -> None:
    page.locator("#cases button", has_text="part").click()
    wait_until_ready(page, "part")
    page.locator("#flags button").first.click()


def show_surfaces(page: Page) -> None:
    page.click("#view [value=render]")


SHOTS: dict[str, tuple[int, int, str, Callable[[Page], None] | None]] = {
    "view": (1440, 860, "dark", None),
    "view-aeration": (1440, 860, "light", show_aeration),
    "view-correction": (1440, 860, "dark", correct),
    "view-flag": (1440, 860, "light", show_flag),
    "view-phone": (390, 844, "dark", None),
    "view-phone-light": (390, 844, "light", show_surfaces),
}


def wait_until_ready(page: Page, name: str) -> None:
    """Wait until a scan is displayed; its name is the first line of the caption."""
    caption = f"document.getElementById('caption').textContent.startsWith('{name}\\n')"
    end = time.monotonic() + TIMEOUT / 1000
    while not page.evaluate(f"{caption} && document.body.dataset.ready !== undefined"):
        if time.monotonic() > end:
            sys.exit(f"{name} was not displayed: {page.text_content('#message')}")
        time.sleep(0.2)


def take(browser: Browser, url: str, name: str) -> None:
    width, height, scheme, prepare = SHOTS[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(TIMEOUT)
    page.goto(f"{url}&scan=chest")
    wait_until_ready(page, "chest")
    if prepare is not None:
        prepare(page)
    time.sleep(2)
    picture = Image.open(io.BytesIO(page.screenshot(timeout=TIMEOUT)))
    picture.save(PICTURES / f"{name}.webp", quality=80, method=6)
    page.close()


def make_results(folder: Path, scan: Path) -> Path:
    """Segment the scan, a part of the sample, and a damaged file."""
    scans = folder / "scans"
    scans.mkdir()
    shutil.copy(scan, scans / "chest.nii.gz")
    nib.save(nib.load(SAMPLE / "ct.nii.gz").slicer[:, :, 20:45], scans / "part.nii.gz")
    (scans / "damaged.nii.gz").write_bytes((SAMPLE / "ct.nii.gz").read_bytes()[:20_000])
    segment_cohort(scans, folder / "out", outputs=OutputOptions(measure=True))
    return folder / "out"


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("needs Chromium")
    scan = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE / "ct.nii.gz"
    with tempfile.TemporaryDirectory() as folder:
        results = make_results(Path(folder), scan)
        with pleura.view(results, open_browser=False) as viewer, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=SOFTWARE)
            for name in SHOTS:
                take(browser, viewer.url, name)
            browser.close()


if __name__ == "__main__":
    main()
