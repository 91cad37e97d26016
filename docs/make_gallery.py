"""Draw the slices of LCTSC with the most wrong pixels: docs/pictures/worst.webp.

    python docs/make_gallery.py DATA RUNS

RUNS is the output folder of benchmarks/leave_one_out.py: each patient is segmented by the model
that was trained without it. The reference is green, the prediction yellow.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pleura.figures.palette import PREDICTION, REFERENCE, rgb
from pleura.figures.preview import LUNG_WINDOW
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

HERE = Path(__file__).parent
COLUMNS, ROWS, SIDE = 5, 4, 300
APART = 3  # slices; nearer slices have the same errors


def main() -> None:
    data, runs = Path(sys.argv[1]), Path(sys.argv[2])
    tiles = []
    for patient in ("101", "201", "202"):
        folder = data / "lctsc" / f"LCTSC-Test-S1-{patient}"
        scan, lungs = read(folder / "ct.nii.gz"), read(folder / "lungs.nii.gz", units="hu")
        order = scan.geometry.to_canonical()
        with Segmenter(runs / f"without-{patient}.onnx") as segmenter:
            labels = order.apply(segmenter(scan).labels)
        hu, reference = order.apply(scan.hu()), order.apply(lungs.hu()) > 0
        wrong = ((labels > 0) != reference).sum((1, 2))
        kept: list[int] = []
        for i in np.argsort(-wrong):
            if all(abs(i - other) >= APART for other in kept):
                kept.append(int(i))
        tiles += [
            (int(wrong[i]), f"{patient}, slice {i}", tile(hu[i], labels[i], reference[i]))
            for i in kept
        ]
    tiles.sort(key=lambda one: -one[0])
    chosen = []
    for wrong_pixels, name, picture in tiles[: COLUMNS * ROWS]:
        print(f"{name}: {wrong_pixels} pixels wrong")
        text = name, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
        cv2.putText(picture, *text)
        chosen.append(picture)
    rows = [np.hstack(chosen[i : i + COLUMNS]) for i in range(0, len(chosen), COLUMNS)]
    gallery = Image.fromarray(np.vstack(rows))
    gallery.save(HERE / "pictures" / "worst.webp", quality=80, method=6)


def tile(hu: np.ndarray, labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    low, high = LUNG_WINDOW
    grey = np.clip((hu.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, 2)
    for mask, colour in ((reference, rgb(REFERENCE)), (labels > 0, rgb(PREDICTION))):
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, found, -1, colour, 1)
    body = np.argwhere(hu > -500)
    (top, left), (bottom, right) = body.min(0), body.max(0)
    middle, half = ((top + bottom) // 2, (left + right) // 2), max(bottom - top, right - left) // 2
    rows = slice(max(middle[0] - half, 0), middle[0] + half)
    columns = slice(max(middle[1] - half, 0), middle[1] + half)
    return cv2.resize(picture[rows, columns], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
