"""Measure the accuracy of `segment` on 8-bit greyscale images that are rendered from HU.

    python benchmarks/greyscale.py DATA --sets kmader-validation
    python benchmarks/greyscale.py DATA --sets kmader-test lctsc covid --model MODEL.onnx

Three tables: mean Dice for each window (level and width); Dice on randomly rendered images, by what
was done to them; Dice by lung area. Images are rendered at the size of the scan, with Pillow, and
share no code with the simulation of the training. `segment` is told neither window nor units.
"""

import argparse
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import FACTOR, WRONG_REFERENCES
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

import pleura
from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe, split_names
from pleura.errors import PleuraError
from pleura.evaluation.metrics import dice
from pleura.figures.drawing import draw_contour, draw_text
from pleura.figures.palette import PREDICTION, REFERENCE
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

LEVELS = (-1000, -800, -600, -400, -200, 0, 100, 300)
WIDTHS = (200, 400, 800, 1500, 2500, 4000)
CANDIDATES = (  # level and width
    (-600, 1500),
    (-500, 1400),
    (-212, 1624),
    (-700, 1000),
    (40, 400),
    (50, 700),
    (-100, 1000),
    (400, 2000),
    (0, 2000),
    (0, 3000),
    (1024, 4096),
)
AIR, LUNG, TISSUE = -1000.0, -850.0, 40.0
MIN_CONTRAST = 0.06  # of the range of grey values, between lung and soft tissue or air
COLUMNS, ROWS, SIDE = 5, 4, 300  # of the worst images
MIN_AREA = 10.0  # cm2
AREAS = (0, 0.001, 2, 10, 40, 100, 1000)  # cm2

Grey = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Score = Callable[[Segmenter, Grey, Flags], float]
Pair = tuple[Any, Any]  # an image of Pillow, and its reference
Box = tuple[int, int, int, int] | None  # left, upper, right, lower
Slice = tuple[str, NDArray[np.float32], Flags, float]  # name, HU, reference, mm2 of a pixel


def kmader(part: str, data: Path) -> Iterator[Slice]:
    pairs = find_pairs(data / "kmader" / "2d_images", data / "kmader" / "2d_masks")
    names = [pair.name for pair in pairs]
    split = split_names(names, SplitRecipe(training_fraction=0.6, validation_fraction=0.2))
    chosen = set(getattr(split, part)) - set(WRONG_REFERENCES)
    for pair in pairs:
        if pair.name in chosen:
            image, mask = read_pair(pair)
            yield pair.name, (image / FACTOR).astype(np.float32), mask > 0, 0.49


def lctsc(options: argparse.Namespace) -> Iterator[Slice]:
    for patient in options.patients:
        folder = options.data / "lctsc" / f"LCTSC-Test-S1-{patient}"
        scan = read(folder / "ct.nii.gz")
        masks = read(folder / "lungs.nii.gz", units="hu").hu() > 0
        geometry = scan.geometry
        order = geometry.to_canonical()
        hu, masks = order.apply(scan.hu()), order.apply(masks)
        spacing = order.apply_to(geometry).spacing
        for i in range(len(hu)):
            yield f"{patient}/{i}", hu[i].astype(np.float32), masks[i], spacing[1] * spacing[2]


def windowed(hu: NDArray[np.float32], level: float, width: float) -> Grey:
    share = np.clip((hu - level) / width + 0.5, 0, 1)
    return np.asarray(np.rint(share * 255), np.uint8)


def contrast(level: float, width: float) -> tuple[float, bool]:
    """Return the larger contrast of lung to tissue or air, and whether lung is saturated black."""
    air, lung, tissue = (np.clip((v - level) / width + 0.5, 0, 1) for v in (AIR, LUNG, TISSUE))
    return float(max(lung - air, tissue - lung)), bool(lung == 0)


def rendered(
    hu: NDArray[np.float32], mask: Flags, rng: np.random.Generator
) -> tuple[Grey, Flags, list[str]]:
    """Return a randomly rendered image, its reference, and what was done."""
    done = []
    box = _body_box(hu, rng)
    if rng.random() < 0.2:
        done.append("noise before")
        hu = hu + rng.normal(0, rng.uniform(20, 150), hu.shape).astype(np.float32)
    kind, low, high = _sample_window(rng)
    done.append(f"window: {kind}")
    image = Image.fromarray(windowed(hu, (low + high) / 2, high - low))
    reference = Image.fromarray(mask)
    for name, (probability, effect) in EFFECTS.items():
        if rng.random() < probability:
            done.append(name)
            crop = box if name == "cropped to the body" else None
            image, reference = effect(image, reference, rng, crop)
    return np.asarray(image), np.asarray(reference), done


def _gamma(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    exponent = np.exp(rng.uniform(-0.6, 0.6))
    return image.point([round(255 * (i / 255) ** exponent) for i in range(256)]), reference


def _circle(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    radius = rng.uniform(0.46, 0.5) * image.width
    x, y = image.width / 2, image.height / 2
    inside = Image.new("1", image.size)
    ImageDraw.Draw(inside).ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    outside = Image.new("L", image.size, int(rng.uniform(0, 255)))
    return (
        Image.composite(image, outside, inside),
        ImageChops.logical_and(reference, inside),
    )


def _inverted(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    return ImageChops.invert(image), reference


def _cropped(image: Any, reference: Any, rng: np.random.Generator, box: Box) -> Pair:
    return image.crop(box), reference.crop(box)


def _resized(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    scale = np.exp(rng.uniform(np.log(0.35), np.log(1.6)))
    size = (int(image.width * scale), int(image.height * scale * rng.uniform(0.9, 1.1)))
    method = Image.Resampling(int(rng.integers(1, 4)))
    return image.resize(size, method), reference.resize(size, Image.Resampling.NEAREST)


def _padded(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    left, top, right, bottom = (int(v) for v in rng.integers(0, 60, 4))
    size = (image.width + left + right, image.height + top + bottom)
    frame, empty = Image.new("L", size, int(rng.choice([0, 0, 255]))), Image.new("1", size)
    frame.paste(image, (left, top))
    empty.paste(reference, (left, top))
    return frame, empty


def _text(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    draw = ImageDraw.Draw(image)
    draw.text((4, 4), "CHEST 5.0\nkVp 120", fill=255)
    draw.text((image.width - 40, image.height - 14), "L  12", fill=255)
    draw.line((8, image.height // 4, 8, 3 * image.height // 4), fill=255)
    return image, reference


def _noise(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    noise = rng.normal(0, rng.uniform(2, 15), (image.height, image.width))
    noisy = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(noisy), reference


def _jpeg(image: Any, reference: Any, rng: np.random.Generator, _: Box) -> Pair:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=int(rng.uniform(30, 95)))
    return Image.open(buffer).convert("L"), reference


EFFECTS = {
    "gamma": (0.3, _gamma),
    "circle": (0.2, _circle),
    "inverted": (0.2, _inverted),
    "cropped to the body": (0.3, _cropped),
    "resized": (0.4, _resized),
    "padded": (0.2, _padded),
    "text": (0.2, _text),
    "noise after": (0.2, _noise),
    "JPEG": (0.4, _jpeg),
}


def _sample_window(rng: np.random.Generator) -> tuple[str, float, float]:
    kind = str(rng.choice(["lung", "full", "mediastinum", "soft tissue", "bone"]))
    level, width = {
        "lung": (rng.uniform(-700, -450), rng.uniform(1200, 1700)),
        "full": (rng.uniform(0, 1000), rng.uniform(2000, 4096)),
        "mediastinum": (rng.uniform(0, 80), rng.uniform(300, 500)),
        "soft tissue": (rng.uniform(-200, 50), rng.uniform(500, 1200)),
        "bone": (rng.uniform(250, 500), rng.uniform(1500, 2500)),
    }[kind]
    return kind, level - width / 2, level + width / 2


def _body_box(hu: NDArray[np.float32], rng: np.random.Generator) -> tuple[int, int, int, int]:
    rows, columns = (np.flatnonzero((hu > -300).sum(axis) > 20) for axis in (1, 0))
    margin = rng.integers(0, 12, 4)
    return (
        max(int(columns[0] - margin[0]), 0),
        max(int(rows[0] - margin[1]), 0),
        min(int(columns[-1] + margin[2]), hu.shape[1]),
        min(int(rows[-1] + margin[3]), hu.shape[0]),
    )


def most_confident(segmenter: Segmenter, grey: Grey) -> Flags:
    """Return the mask of the candidate window for which the network is most confident."""
    best, mask = -1.0, np.zeros(grey.shape, bool)
    for level, width in CANDIDATES:
        for values in (grey, 255 - grey):
            hu = np.rint(level + width * (values / 255.0 - 0.5)).astype(np.int16)
            probability = segmenter.engine.probability(hu[None])[0]
            lung = probability >= segmenter.threshold_level
            share = lung.mean()
            if not 0.005 < share < 0.6:
                continue
            doubtful = np.count_nonzero((probability > 51) & (probability < 205))
            confidence = 1 / (1 + doubtful / np.count_nonzero(lung) * share**0.35)
            if confidence > best:
                best, mask = confidence, lung
    return mask


def score_of_candidates(segmenter: Segmenter, grey: Grey, reference: Flags) -> float:
    return overlap(reference, most_confident(segmenter, grey))


def score_of_segment(segmenter: Segmenter, grey: Grey, reference: Flags) -> float:
    """Return the Dice of one image: 0 if it is refused, 1 if neither has lung."""
    try:
        scan = pleura.from_array(np.ascontiguousarray(grey))
        labels = segmenter.segment(scan, warn=False).labels
    except PleuraError as error:
        print(error, file=sys.stderr)
        return 0.0
    return overlap(reference, labels[0] > 0)


def overlap(reference: Flags, found: Flags) -> float:
    empty = not reference.any() and not found.any()
    return 1.0 if empty else float(dice(reference, found))


def cases_of(
    slices: list[Slice], segmenter: Segmenter, score: Score, windows: bool
) -> Iterator[dict[str, Any]]:
    """Yield the Dice in each window, and of three images rendered at random."""
    for i, (name, hu, reference, pixel) in enumerate(slices):
        area = float(reference.sum() * pixel / 100)
        kept = {"case": name, "cm2": area}
        for level in LEVELS if windows else ():
            for width in WIDTHS:
                if contrast(level, width)[0] >= MIN_CONTRAST:
                    found = score(segmenter, windowed(hu, level, width), reference)
                    yield {**kept, "level": level, "width": width, "dice": found}
        for repeat in range(3):
            image, mask, done = rendered(hu, reference, np.random.default_rng((i, repeat)))
            found = score(segmenter, image, mask)
            yield {**kept, "done": done, "seed": (i, repeat), "dice": found}


def draw_worst(
    path: Path, slices: list[Slice], cases: list[dict[str, Any]], segmenter: Segmenter
) -> None:
    """Draw the images rendered at random with the lowest Dice: reference green, mask yellow."""
    tiles = []
    worst = sorted((case for case in cases if "seed" in case), key=lambda case: case["dice"])
    for case in worst[: COLUMNS * ROWS]:
        _, hu, reference, _ = slices[case["seed"][0]]
        grey, mask, done = rendered(hu, reference, np.random.default_rng(case["seed"]))
        labels = segmenter.segment(pleura.from_array(grey), warn=False).labels[0]
        tile = Image.fromarray(grey).convert("RGB")
        tile.thumbnail((SIDE, SIDE))
        draw_contour(tile, mask, REFERENCE)
        draw_contour(tile, labels, PREDICTION)
        text = f"{case['dice']:.2f} {case['case']}"
        draw_text(tile, text, (4, 4))
        print(f"{text}: {', '.join(done)}")
        tiles.append(tile)
    sheet = Image.new("RGB", (COLUMNS * SIDE, ROWS * SIDE))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % COLUMNS * SIDE, i // COLUMNS * SIDE))
    sheet.save(path, quality=80)


def covid(data: Path, segmenter: Segmenter, score: Score) -> Iterator[dict[str, Any]]:
    for path in sorted((data / "covid" / "images").iterdir()):
        mask = read_image_file(data / "covid" / "masks" / path.name) > 0
        if mask.any():
            yield {"case": path.name, "dice": score(segmenter, read_image_file(path), mask)}


def summary(scores: list[float]) -> str:
    values = np.array(scores)
    decile = float(np.quantile(values, 0.1))
    low = float((values < 0.9).mean())
    missed = float((values < 0.05).mean())
    return f"{values.mean():.4f} | {decile:.3f} | {low:.1%} | {missed:.1%} | {len(values)} |"


def groups_of(name: str, cases: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the Dice of the images of each row of the table."""
    if name == "covid":
        return {"covid": [case["dice"] for case in cases]}
    groups: dict[str, list[float]] = {}
    for case in (case for case in cases if "level" in case):
        black = contrast(case["level"], case["width"])[1]
        kind = "lung saturated black" if black else "lung differs from air or tissue"
        groups.setdefault(kind, []).append(case["dice"])
    rendered_at_random = [case for case in cases if "done" in case]
    large = [case for case in rendered_at_random if case["cm2"] >= MIN_AREA]
    groups["rendered at random"] = [case["dice"] for case in large]
    for effect in sorted({effect for case in large for effect in case["done"]}):
        groups[effect] = [case["dice"] for case in large if effect in case["done"]]
    for low, high in itertools.pairwise(AREAS) if name == "lctsc" else ():
        row = "no lung" if high < 1 else f"{low:g} to {high:g} cm2 of lung"
        groups[row] = [c["dice"] for c in rendered_at_random if low <= c["cm2"] < high]
    return groups


def print_tables(name: str, cases: list[dict[str, Any]]) -> None:
    print(f"\n### {name}\n\n| images | Dice | worst decile | under 0.9 | missed | number |")
    print("|---|---|---|---|---|---|")
    for group, scores in groups_of(name, cases).items():
        if scores:
            print(f"| {group} | {summary(scores)}")
    by_window: dict[tuple[float, float], list[float]] = {}
    for case in (case for case in cases if "level" in case):
        by_window.setdefault((case["level"], case["width"]), []).append(case["dice"])
    if by_window:
        print(f"\n| level, width | {' | '.join(map(str, WIDTHS))} |\n|{'---|' * (len(WIDTHS) + 1)}")
        for level in LEVELS:
            found = [by_window.get((level, width)) for width in WIDTHS]
            cells = [f"{np.mean(scores):.3f}" if scores else "" for scores in found]
            print(f"| {level} | {' | '.join(cells)} |")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--sets", nargs="+", default=["kmader-validation", "lctsc", "covid"])
    parser.add_argument("--patients", nargs="+", default=["101", "201", "202"], help="of lctsc")
    parser.add_argument(
        "--method",
        choices=("segment", "candidates"),
        default="segment",
        help="candidates: of several windows, that of which the network is most confident",
    )
    parser.add_argument("--limit", type=int, help="number of slices of each set")
    parser.add_argument("--worst", type=Path, help="image file for the worst images")
    parser.add_argument("--json", type=Path, help="file for the Dice of each image")
    options = parser.parse_args()
    score = score_of_candidates if options.method == "candidates" else score_of_segment
    results = {}
    with Segmenter(options.model) as segmenter:
        for name in options.sets:
            kind, _, part = name.partition("-")
            if kind == "covid":
                results[name] = list(covid(options.data, segmenter, score))
            else:
                found = kmader(part, options.data) if kind == "kmader" else lctsc(options)
                slices = list(found)[: options.limit]
                results[name] = list(cases_of(slices, segmenter, score, kind == "kmader"))
                if options.worst:
                    draw_worst(options.worst, slices, results[name], segmenter)
            print_tables(name, results[name])
    if options.json:
        options.json.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
