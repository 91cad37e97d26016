"""Segment images that are no CT, and CT slices as 8-bit images, and count refusals and flags.

    python benchmarks/not_ct.py --covid .data/covid/images --scans .data/scans .data/lctsc .data/sbu

Images that are no CT come from the installed packages scikit-image, matplotlib, pydicom and
nibabel, or are composed here; colour images are also converted to grey. A package that is not
installed is left out. The result is a table of each image, and counts for the CT slices.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pleura.errors import PleuraError
from pleura.formats.find import find_scans
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

Grey = NDArray[np.uint8]

EXPECTED = {"units", "orientation"}
"""Flags of nearly every image in grey values, which do not count."""

WINDOWS = ((-1350, 150), (-1024, 600), (-160, 240))
"""HU of black and white of the exported CT slices."""

PACKAGES = {
    "skimage/data": (
        "astronaut.png brick.png camera.png cell.png chelsea.png chessboard_GRAY.png "
        "clock_motion.png coffee.png coins.png color.png grass.png gravel.png horse.png "
        "hubble_deep_field.jpg ihc.png logo.png microaneurysms.png moon.png motorcycle_left.png "
        "page.png phantom.png retina.jpg rocket.jpg text.png"
    ),
    "matplotlib/mpl-data/sample_data": "grace_hopper.jpg logo2.png Minduka_Present_Blue_Pack.png",
    "pydicom/data/test_files": (
        "MR_small.dcm SC_rgb.dcm examples_palette.dcm examples_ybr_color.dcm examples_overlay.dcm "
        "examples_rgb_color.dcm examples_jpeg2k.dcm liver_1frame.dcm rtdose_1frame.dcm"
    ),
    "nibabel/tests/data": "anatomical.nii functional.nii example4d.nii.gz",
}


def installed_images() -> Iterator[tuple[str, Path]]:
    """Yield name and path of the images in installed packages."""
    for place, names in PACKAGES.items():
        package, _, below = place.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            print(f"left out: {package} is not installed")
            continue
        for name in names.split():
            path = Path(spec.origin).parent / below / name
            if path.exists():
                yield f"{package} {name}", path


def window(hu: NDArray[np.int16], low: float, high: float) -> Grey:
    """Return HU as an 8-bit image of a window."""
    return np.clip(np.rint((hu - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def composed_images(slices: list[Grey]) -> Iterator[tuple[str, Grey]]:
    """Yield name and pixels of panels, screenshots, plots and pages; ``slices`` are CT."""
    for count, columns in ((2, 2), (4, 2), (6, 3), (12, 4)):
        for gap in (0, 8):
            tiles = [np.pad(tile[::2, ::2], gap) for tile in slices[:count]]
            rows = [np.hstack(tiles[i : i + columns]) for i in range(0, count, columns)]
            yield f"{count} panels, {gap} pixels between", np.vstack(rows)
    yield "screenshot", _screenshot(slices[:2])
    yield "page of text", _page()
    rng = np.random.default_rng(0)
    yield "white noise", rng.integers(0, 256, (512, 512), np.uint8)
    ramp = np.linspace(0, 255, 512)
    yield "ramp", np.tile(ramp, (512, 1)).astype(np.uint8)
    yield from _plots(slices[0])


def _screenshot(slices: list[Grey]) -> Grey:
    """Return a window of a viewer: menu, list of series, two images, and text over them."""
    canvas = Image.new("L", (1280, 800), 60)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 1280, 40), fill=200)
    draw.text((20, 12), "File   Edit   View   Tools   Window   Help", fill=0)
    for i in range(8):
        draw.rectangle((10, 60 + 90 * i, 150, 140 + 90 * i), outline=160)
        draw.text((20, 70 + 90 * i), f"Series {i + 1}\nCHEST {i + 1}.0 mm", fill=220)
    for i, image in enumerate(slices):
        canvas.paste(Image.fromarray(image).resize((540, 540)), (170 + 550 * i, 60))
        draw.text((180 + 550 * i, 70), "W 1500 L -600\nZoom 1.2", fill=255)
    return np.asarray(canvas)


def _page() -> Grey:
    canvas = Image.new("L", (850, 1100), 255)
    draw = ImageDraw.Draw(canvas)
    for i in range(45):
        text = "The lungs are clear. No pleural effusion. The heart is of normal size. " * 2
        draw.text((80, 80 + 20 * i), text[i % 7 : i % 7 + 110], fill=0)
    return np.asarray(canvas)


def _plots(image: Grey) -> Iterator[tuple[str, Grey]]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    for name in ("histogram", "heat map", "figure of a slice"):
        figure, axes = plt.subplots(figsize=(6, 5), dpi=100)
        if name == "histogram":
            axes.hist(image.ravel(), 64)
        else:
            axes.imshow(image, cmap="jet" if name == "heat map" else "gray")
        file = io.BytesIO()
        figure.savefig(file, format="png")
        plt.close(figure)
        yield name, np.asarray(Image.open(file).convert("RGB"))


def exported_slices(folders: list[Path], per_scan: int) -> Iterator[tuple[str, NDArray[np.int16]]]:
    """Yield name and HU of slices at even distances, between a fifth and nine tenths of a scan."""
    for folder in folders:
        for entry in find_scans(folder):
            if entry.load is None or not entry.chosen:
                continue
            try:
                scan = entry.load("auto")
            except PleuraError:  # a mask in the folder
                continue
            n = scan.geometry.shape[0]
            if not scan.intensity.calibrated or scan.geometry.to_canonical().axes[0] != 0:
                continue
            chosen = [0] if n == 1 else np.linspace(n / 5, n * 9 / 10, per_scan).astype(int)
            for i in chosen:
                hu = scan.hu(int(i), int(i) + 1)
                yield f"{entry.name} {i}", scan.geometry.to_canonical().apply(hu)[0]


def outcome(segmenter: Segmenter, source: Path | Grey) -> tuple[str, str, str]:
    """Return result, reasons and lung pixels of an image: refused, flagged or confident."""
    try:
        if isinstance(source, np.ndarray):  # through a file, as users do
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "image.png"
                Image.fromarray(source).save(path)
                result = segmenter.segment(path, warn=False)
        else:
            result = segmenter.segment(read(source), warn=False)
    except PleuraError as error:
        return "refused", error.message, ""
    flags = [flag.name for flag in result.flags if flag.name not in EXPECTED]
    size = str(np.count_nonzero(result.labels))
    return "flagged" if flags else "confident", ", ".join(flags), size


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--covid", type=Path, help="folder of 8-bit CT slices")
    parser.add_argument("--scans", type=Path, nargs="*", default=[], help="folders of scans in HU")
    parser.add_argument("--per-scan", type=int, default=3, help="slices of each scan")
    parser.add_argument("--ct-only", action="store_true", help="only the CT slices")
    parser.add_argument("--model", type=Path, help="model file; the default model if omitted")
    parser.add_argument("--volume", type=Path, default=Path("tests/data/sample/volume/ct.nii.gz"))
    arguments = parser.parse_args()
    with Segmenter(arguments.model, threads=1) as segmenter:
        hu = read(arguments.volume).hu()
        slices = [window(hu[i].repeat(4, 0).repeat(4, 1), -1350, 150) for i in range(16, 52, 3)]
        print("| image | result | reason or flags | lung pixels |\n| --- | --- | --- | --- |")
        counts: Counter[str] = Counter()
        for name, source in not_ct(slices) if not arguments.ct_only else ():
            row = outcome(segmenter, source)
            counts[row[0]] += 1
            print(f"| {name} | {' | '.join(row)} |", flush=True)
        print(f"\nno CT: {dict(counts)}\n")
        if arguments.covid:
            paths = sorted(p for p in arguments.covid.iterdir() if not p.name.startswith("."))
            count_ct("8-bit CT slices", segmenter, [(p.name, p) for p in paths])
        rows = list(exported_slices(arguments.scans, arguments.per_scan))
        for low, high in WINDOWS:
            images = ((name, window(values, low, high)) for name, values in rows)
            count_ct(f"window {low} to {high} HU", segmenter, images)


def not_ct(slices: list[Grey]) -> Iterator[tuple[str, Path | Grey]]:
    """Yield all images that are no CT; colour images also in grey."""
    for name, path in installed_images():
        yield name, path
        if path.suffix in (".png", ".jpg"):
            image = Image.open(path)
            if image.mode not in ("L", "1"):
                yield f"{name}, grey", np.asarray(image.convert("L"))
    for name, image in composed_images(slices):
        yield name, image
        if image.ndim == 3:
            yield f"{name}, grey", np.asarray(Image.fromarray(image).convert("L"))


def count_ct(title: str, segmenter: Segmenter, images: Iterable[tuple[str, Path | Grey]]) -> None:
    """Print how many CT slices are refused or flagged, and the flags."""
    counts: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    for name, source in images:
        result, reasons, _ = outcome(segmenter, source)
        counts[result] += 1
        flags.update(reasons.split(", ") if result == "flagged" else [])
        if result == "refused" or {"not_ct", "panels"} & set(reasons.split(", ")):
            print(f"  {name}: {reasons}")
    print(f"{title}: {dict(counts)}, flags {dict(flags)}", flush=True)


if __name__ == "__main__":
    main()
