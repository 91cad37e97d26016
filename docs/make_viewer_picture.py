"""Draw docs/pictures/view.png and view-phone.png: the viewer with the scan that ships, in Chromium.

python docs/make_viewer_picture.py
"""

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions
from pleura.corrections.cases import cases_from_results
from pleura.corrections.comparison import SAMPLE
from pleura.viewer.server import make_app

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
        config = uvicorn.Config(lambda: None, port=0, log_level="error")
        listening = config.bind_socket()
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        config.app = make_app(cases_from_results(out), "secret", [host], folder=out)
        server = uvicorn.Server(config)
        threading.Thread(target=server.run, args=([listening],), daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=SOFTWARE)
            for name, (width, height) in WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(f"http://{host}/?token=secret")
                while page.evaluate("document.body.dataset.ready") != "0":
                    time.sleep(0.1)
                time.sleep(2)
                page.screenshot(path=PICTURES / name)
            browser.close()
        server.should_exit = True


if __name__ == "__main__":
    main()
