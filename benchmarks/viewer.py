"""Measure the time per frame while the viewer scrolls through a scan, and the page's memory.

    python benchmarks/viewer.py SCAN MASK --slices 600

The scan is repeated to this number of slices. Headless Chromium renders WebGL in software, which is
much slower than a GPU. Prints the results and writes benchmarks/results/viewer.json.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from bench import machine
from playwright.sync_api import sync_playwright

import pleura

HERE = Path(__file__).resolve().parent
SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SCROLL = """async (steps) => {
  const frames = [];
  for (let i = 0; i < steps; i++) {
    const begin = performance.now();
    viewer.moveCrosshairInVox(0, 0, 1);
    viewer.gl.finish();
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - begin);
  }
  return frames;
}"""


def write_repeated(source: Path, slices: int, target: Path) -> None:
    image = nib.load(source)
    values = np.asarray(image.dataobj)
    repeats = -(-slices // values.shape[2])
    tiled = np.concatenate([values] * repeats, 2)[..., :slices]
    nib.save(nib.Nifti1Image(tiled, image.affine), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan, mask = Path(folder, "ct.nii.gz"), Path(folder, "lungs.nii.gz")
        write_repeated(options.scan, options.slices, scan)
        write_repeated(options.mask, options.slices, mask)
        found: dict[str, object] = {"machine": machine(), "slices": options.slices}
        with (
            pleura.view(scan, mask, open_browser=False) as viewer,
            sync_playwright() as playwright,
        ):
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=SOFTWARE)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(600_000)
            begin = time.perf_counter()
            page.goto(viewer.url)
            while page.evaluate("document.body.dataset.ready") != "0":
                time.sleep(0.1)
            found["open_s"] = time.perf_counter() - begin
            memory = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")
            used = memory["usedSize"] + memory.get("backingStorageSize", 0)
            found["memory_mb"] = used / 1e6
            for view in ("axial", "multi"):
                page.click(f"#view [value={view}]")
                page.evaluate("viewer.scene.crosshairPos = [0.5, 0.5, 0.1]")
                frames = page.evaluate(SCROLL, options.steps)
                found[view] = {
                    "median_ms": float(np.median(frames)),
                    "p95_ms": float(np.percentile(frames, 95)),
                }
            browser.close()
    (HERE / "results" / "viewer.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
