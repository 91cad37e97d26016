"""Draw the README's picture from what `make demo` left: a patient that the network never saw."""

from pathlib import Path

import cv2
import numpy as np

from pleura.figures.overlay import overlay
from pleura.formats.pictures import read_picture, write_picture

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "tests" / "data" / "sample"
SLICES = (33, 45, 58, 78)

tiles = []
for number in SLICES:
    name = f"LCTSC-201_{number:03}.tif"
    image = read_picture(SAMPLE / "images" / name).astype(np.float32)[56:184, 44:212]
    mask = read_picture(HERE.parent / "demo" / "masks" / name)[56:184, 44:212]
    size = (2 * image.shape[1], 2 * image.shape[0])
    large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    smooth = cv2.resize((mask > 0).astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
    tiles.append(overlay(large, smooth, window=(-1350, 350)))
write_picture(HERE / "pictures" / "lungs.png", np.ascontiguousarray(np.hstack(tiles)))
