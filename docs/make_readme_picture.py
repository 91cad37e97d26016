"""Write the preview of a whole scan: docs/pictures/scan.png.

    python docs/make_readme_picture.py SCAN

The picture in docs/pictures is of patient LCTSC-Test-S1-201.
"""

import sys
from pathlib import Path

from PIL import Image

import pleura

if __name__ == "__main__":
    image = Image.fromarray(pleura.segment(sys.argv[1]).preview_image())
    target = Path(__file__).parent / "pictures" / "scan.png"
    small = image.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(target, optimize=True)
