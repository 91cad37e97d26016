"""Take screenshots of the viewer with the sample scan: docs/pictures/view.png, view-phone.png.

python docs/make_viewer_picture.py
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

import pleura
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions
from pleura.corrections.comparison import SAMPLE

PICTURES = Path(__file__).parent / "pictures"
SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WIDTHS = {"view.png": (1280, 760), "view-phone.png": (390, 844)}


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("needs Chromium")
    with tempfile.TemporaryDirectory() as folder:
        scans, out = Path(folder, "scans"), Path(folder, "out")
        scans.mkdir()
        shutil.copy(SAMPLE / "ct.nii.gz", scans / "chest.nii.gz")
        segment_cohort(scans, out, outputs=OutputOptions(measure=True))
        with pleura.view(out, open_browser=False) as viewer, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=SOFTWARE)
            for name, (width, height) in WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(viewer.url)
                while page.evaluate("document.body.dataset.ready") != "0":
                    time.sleep(0.1)
                time.sleep(2)
                page.screenshot(path=PICTURES / name)
            browser.close()


if __name__ == "__main__":
    main()
