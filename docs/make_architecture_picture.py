"""Draw the layers of the package: docs/pictures/architecture.svg, from pyproject.toml.

python docs/make_architecture_picture.py
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "pictures" / "architecture.svg"

BANDS = (
    (
        "Applications",
        {
            "cli": "parse, call, print",
            "viewer": "local web page",
            "report": "HTML reports",
            "corrections": "corrected masks",
            "cohort": "many scans",
        },
    ),
    (
        "Training (PyTorch)",
        {"training": "train, evaluate, export", "network": "architectures"},
    ),
    (
        "Evaluation, data",
        {
            "dataset": "pairs, checks, splits, augmentation",
            "evaluation": "metrics, statistics",
            "measurement": "volume, density",
        },
    ),
    (
        "Segmentation",
        {"segmentation": "scan to mask, flags", "engine": "runs a model file"},
    ),
    (
        "Scans and masks",
        {
            "masks": "Mask, labels of other tools",
            "formats": "DICOM, NIfTI, NRRD, ...",
            "scan": "Scan, Geometry",
            "intensity": "units, conversion to HU",
        },
    ),
    (
        "Foundation",
        {
            "figures": "arrays to images",
            "files": "atomic, JSON, CSV",
            "errors": "what, where, hint",
            "names": "safe names",
            "typing": "shared types",
        },
    ),
)
WIDTH, MARGIN, TITLE, BAND, BOX, GAP = 1000, 20, 172, 92, 56, 10
STYLE = """
text { font-family: system-ui, sans-serif; fill: #1a1a1a }
.title { font-size: 14px; font-weight: 600 } .name { font-size: 15px; font-weight: 600 }
.what { font-size: 11px; fill: #555 } .note { font-size: 12px; fill: #0072b2; font-weight: 600 }
.band { fill: #f4f6f8; stroke: #d5dae0 } .box { fill: #fff; stroke: #9aa5b1 }
.arrow { stroke: #0072b2; stroke-width: 2; fill: none; marker-end: url(#head) }
.line { stroke: #d55e00; stroke-width: 2; stroke-dasharray: 6 4 }
svg { background: #fff }
"""


def layers() -> list[str]:
    """Return the packages of the import contract in pyproject.toml, highest first."""
    contract = (ROOT / "pyproject.toml").read_text().split("layers = [")[1].split("]")[0]
    return re.findall(r'"(\w+)"', contract)


def draw() -> str:
    """Return the drawing as SVG."""
    drawn = [name for _, packages in BANDS for name in packages]
    if drawn != layers():
        raise SystemExit(f"BANDS differ from the layers in pyproject.toml: {layers()}")
    height = 2 * MARGIN + len(BANDS) * (BAND + GAP) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Layers of the package; imports point downwards">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#0072b2"/></marker></defs>',
    ]
    for i, (title, packages) in enumerate(BANDS):
        parts += _band(MARGIN + i * (BAND + GAP), title, packages)
    # The model file leaves the right end of the training band and enters the engine's.
    x, top = WIDTH - MARGIN - 8, MARGIN + (BAND + GAP) + BAND / 2
    bottom = MARGIN + 3 * (BAND + GAP) + BAND / 2
    parts.append(f'<path class="arrow" d="M{x - 62} {top} H{x} V{bottom} H{x - 62}"/>')
    for i, word in enumerate(("model", "file")):
        parts.append(_text("note", x - 8, (top + bottom) / 2 + 16 * i - 4, word, "end"))
    y = MARGIN + 2 * (BAND + GAP) - GAP / 2
    parts.append(f'<path class="line" d="M{MARGIN} {y} H{WIDTH - MARGIN}"/>')
    foot = height - MARGIN
    parts.append(
        _text(
            "what",
            MARGIN,
            foot,
            "Imports point right and down. No package below the dashed line imports PyTorch.",
        )
    )
    return "\n".join([*parts, "</svg>", ""])


def _band(y: float, title: str, packages: dict[str, str]) -> list[str]:
    inner = WIDTH - 2 * MARGIN - TITLE - 70
    width = (inner - (len(packages) - 1) * GAP) / len(packages)
    parts = [
        f'<rect class="band" x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" '
        f'height="{BAND}" rx="8"/>',
        _text("title", MARGIN + 12, y + BAND / 2 + 5, title),
    ]
    for i, (name, what) in enumerate(packages.items()):
        x = MARGIN + TITLE + i * (width + GAP)
        top = y + (BAND - BOX) / 2
        parts += [
            f'<rect class="box" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="6"/>',
            _text("name", x + 9, top + 23, name),
            _text("what", x + 9, top + 42, what),
        ]
    return parts


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    TARGET.write_text(draw())
