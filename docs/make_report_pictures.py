"""Take screenshots of the reports for docs/explanation/design.md.

    python docs/make_report_pictures.py RESULTS COMPARISON

RESULTS is a folder that `pleura segment --preview --measure` wrote; COMPARISON is a report of
`pleura compare --images`. The pictures in docs/pictures are of public scans, of cropped copies of
them, and of two damaged files. The pictures of the earlier design (report-old, scan-old) are kept.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import pleura

PICTURES = Path(__file__).parent / "pictures"
DESKTOP, PHONE = (1440, 1000), (390, 1000)
WIDTH = 1000


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("needs Chromium")
    results, comparison = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        cohort = folder / "cohort.html"
        pleura.write_cohort_report(cohort, results)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            _take(browser, cohort, theme, DESKTOP, PICTURES / f"report-{theme}.webp")
            _take(browser, cohort, theme, PHONE, folder / f"{theme}.png")
        _take(browser, cohort, "light", DESKTOP, PICTURES / "report-cards.webp", "#gallery")
        _take(browser, comparison, "light", DESKTOP, PICTURES / "report-comparison.webp")
        browser.close()
        _join(folder / "light.png", folder / "dark.png", PICTURES / "report-phone.webp")


def _take(
    browser: Browser, report: Path, theme: str, size: tuple[int, int], target: Path, at: str = ""
) -> None:
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.goto(report.resolve().as_uri())
    if at:
        page.locator(at).evaluate("(node) => node.scrollIntoView()")
    page.wait_for_timeout(1000)  # pictures are decoded
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        _write(picture, target)
    page.close()


def _join(left: Path, right: Path, target: Path) -> None:
    with Image.open(left) as first, Image.open(right) as second:
        both = Image.new("RGB", (first.width + second.width + 20, first.height), "white")
        both.paste(first, (0, 0))
        both.paste(second, (first.width + 20, 0))
        _write(both, target)


def _write(picture: Image.Image, target: Path) -> None:
    size = min(picture.width, WIDTH), round(picture.height * min(1, WIDTH / picture.width))
    small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    small.save(target, quality=82, method=6)


if __name__ == "__main__":
    main()
