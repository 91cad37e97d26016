"""Write docs/pictures from the shipped sample: python docs/make_pictures.py [RUN].

RUN is the tutorial's run (runs/first); without it, the same is trained in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import pleura
from pleura.figures.curves import curves_figure
from pleura.figures.palette import PREDICTION, REFERENCE, TRAINING, VALIDATION, rgb
from pleura.figures.plots import contact_sheet, save_figure
from pleura.formats.image_files import read_image_file
from pleura.training.predict import PredictionOptions
from pleura.training.recipe import Recipe
from pleura.training.run import Run

DOCS = Path(__file__).parent
SAMPLE = DOCS.parent / "tests" / "data" / "sample"
IMAGES, MASKS = SAMPLE / "images", SAMPLE / "masks"
SPLIT = ["split.method=file", f"split.file={SAMPLE / 'split.csv'}"]
SHOWN = "LCTSC-201_054"
WIDTH = 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = sys.argv[1:]
        run = pleura.open_run(given[0]) if given else _train(folder / "run")
        pleura.preview(IMAGES, MASKS, folder / "preview.png", _recipe(), 4)
        pleura.evaluate(run, IMAGES, MASKS, output=folder)
        save_figure(_predicted(run, folder), folder / "predicted.png")
        save_figure(curves_figure(run.history()), folder / "curves.png")
        for picture in ("preview", "curves", "cases", "predicted"):
            _shrink(folder / f"{picture}.png", DOCS / "pictures" / f"{picture}.png")


def _train(folder: Path) -> Run:
    return pleura.train(IMAGES, MASKS, folder, _recipe())


def _recipe() -> Recipe:
    return pleura.load_recipe("quick", SPLIT)


def _predicted(run: Run, folder: Path) -> Figure:
    wanted = PredictionOptions(overlay=True, masked=True, crop=True)
    pleura.predict(run, IMAGES / f"{SHOWN}.tif", folder, wanted)
    names = [f"{SHOWN}{end}" for end in (".tif", "_overlay.png", "_masked.tif")]
    return contact_sheet([read_image_file(folder / n) for n in names], names, columns=3)


def _shrink(source: Path, target: Path) -> None:
    with Image.open(source) as picture:
        size = WIDTH, round(picture.height * WIDTH / picture.width)
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        target.parent.mkdir(exist_ok=True)
        small.quantize(palette=_palette(), dither=Image.Dither.NONE).save(target, optimize=True)


def _palette() -> Image.Image:
    """Return greys, and the lines' colours blended with them; a palette by counts loses lines."""
    colours = (TRAINING, VALIDATION, REFERENCE, PREDICTION)
    lines = np.array([rgb(colour) for colour in colours]) / 255
    greys = np.repeat(np.linspace(0, 1, 32)[:, None], 3, axis=1)
    blends = [
        a * line + (1 - a) * greys[g] for line, a, g in product(lines, (0.4, 0.7, 1), (0, 31))
    ]
    palette = Image.new("P", (1, 1))
    colours = np.vstack([greys, blends])
    palette.putpalette(np.rint(255 * colours).astype(np.uint8).tobytes())
    return palette


if __name__ == "__main__":
    main()
