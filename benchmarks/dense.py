"""How much dense lung `--dense include` adds, and how much that is not lung.

    python benchmarks/dense.py DATA
    python benchmarks/dense.py DATA --sheets FOLDER     also draw both masks of every case

Prints two Markdown tables. The first is on the validation slices of *finding-lungs-in-ct-data*,
without disease and with simulated dense disease (three times each), for both modes and for two
closings of the default mask. The second is the area or volume that is added to real scans.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import pleura
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.simulation import simulate_effect
from pleura.dataset.sources import collect_pairs, split_pairs
from pleura.evaluation.statistics import summarise
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, rgb
from pleura.training.recipe_loading import load_recipe

SEEDS = 3
SIZE = 256, 256
RADIUS = 18  # pixels of 256, about 25 mm
SOFT = -100, 130  # HU that a closing may add
SCANS = ("0002", "0014", "0031", "0033", "0042", "0055", "0062", "0091", "0092", "0095")
VOLUMES = {
    "LCTSC-Test-S1-101": "lctsc/LCTSC-Test-S1-101/ct.nii.gz",
    "LCTSC-Test-S1-201 (tumour)": "lctsc/LCTSC-Test-S1-201/ct.nii.gz",
    "LCTSC-Test-S1-202 (tumour)": "lctsc/LCTSC-Test-S1-202/ct.nii.gz",
    "LIDC-IDRI-0001": "lidc/LIDC-IDRI-0001",
}
PUBLISHED = ("ID_0014", "ID_0031", "ID_0091", "ID_0095")
QUALITY = (cv2.IMWRITE_WEBP_QUALITY, 80)

Mask = np.ndarray


def validation_slices(data: Path) -> Iterator[tuple[np.ndarray, Mask]]:
    recipe = load_recipe("dense")
    pairs = {pair.name: pair for pair in collect_pairs(data, None, recipe.data.sources)}
    reader = PairReader()
    for name in split_pairs(data, None, recipe.data.sources, recipe.split).validation:
        image, mask = reader.read(pairs[name])
        image = np.clip(image, -1024, 1500).astype(np.float32)
        small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
        yield small, cv2.resize(mask.astype(np.float32), SIZE, interpolation=cv2.INTER_AREA)


def closing(lung: Mask, hu: np.ndarray) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RADIUS + 1, 2 * RADIUS + 1))
    return _each_lung(lung, hu, lambda side: cv2.morphologyEx(side, cv2.MORPH_CLOSE, kernel))


def convex_hull(lung: Mask, hu: np.ndarray) -> Mask:
    def hull(side: Mask) -> Mask:
        points = cv2.convexHull(np.argwhere(side)[:, ::-1].astype(np.int32))
        return cv2.fillConvexPoly(np.zeros_like(side), points, 1)

    return _each_lung(lung, hu, hull)


def _each_lung(lung: Mask, hu: np.ndarray, close) -> Mask:
    closed = lung.copy()
    count, components = cv2.connectedComponents(lung.astype(np.uint8))
    for i in range(1, count):
        side = np.pad((components == i).astype(np.uint8), RADIUS)
        inside = close(side)[RADIUS:-RADIUS, RADIUS:-RADIUS] > 0
        closed |= inside & (hu > SOFT[0]) & (hu < SOFT[1])
    return closed


def simulated(data: Path, modes: dict[str, pleura.Segmenter]) -> None:
    scores: dict[tuple[str, str], list[list[tuple[float, float, float]]]] = {}
    for j, (healthy, mask) in enumerate(validation_slices(data)):
        images = {"none": [(healthy, mask)], "simulated": []}
        for k in range(SEEDS):
            rng = np.random.default_rng(1000 * k + j)
            images["simulated"].append(simulate_effect("dense_disease", healthy, mask, rng))
        for disease, pairs in images.items():
            rows: dict[str, list[tuple[float, float, float]]] = {}
            for image, reference in pairs:
                hu = np.rint(image).astype(np.int16)
                scan = pleura.from_array(hu, units="hu")
                found = {m: s.segment(scan, warn=False).labels[0] > 0 for m, s in modes.items()}
                found["closing, 25 mm"] = closing(found["exclude"], hu)
                found["convex hull"] = convex_hull(found["exclude"], hu)
                for method, lung in found.items():
                    rows.setdefault(method, []).append(_score(lung, reference > 0.5))
            for method, row in rows.items():
                scores.setdefault((disease, method), []).append(row)
    print("| disease | mask | Dice | lung missed (%) | added outside the lung (%) |")
    print("|---|---|---|---|---|")
    for (disease, method), rows in scores.items():
        dice, missed, added = np.mean([np.mean(row, 0) for row in rows], 0)
        values = [float(np.mean([score[0] for score in row])) for row in rows]
        low, high = summarise(values, [str(i) for i in range(len(rows))]).confidence_interval
        print(
            f"| {disease} | {method} | {dice:.3f} ({low:.3f} to {high:.3f}) | {100 * missed:.1f} | "
            f"{100 * added:.1f} |"
        )


def _score(lung: Mask, reference: Mask) -> tuple[float, float, float]:
    size = max(int(reference.sum()), 1)
    both = int((lung & reference).sum())
    dice = 2 * both / max(int(lung.sum()) + int(reference.sum()), 1)
    return dice, 1 - both / size, int((lung & ~reference).sum()) / size


def real_cases(data: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((data / "sbu").glob("*.dcm")):
        yield path.stem.removeprefix("data-sample_"), path
    for number in SCANS:
        yield f"ID_{number}", next((data / "scans").glob(f"ID_{number}_*"))
    for name, path in VOLUMES.items():
        yield name, data / path


def real(data: Path, modes: dict[str, pleura.Segmenter], sheets: Path | None) -> None:
    panels = []
    print("\n| scan | exclude | added right | added left | unit | seconds |")
    print("|---|---|---|---|---|---|")
    for name, path in real_cases(data):
        masks = {mode: s.segment(path, warn=False) for mode, s in modes.items()}
        include = masks["include"]
        voxel, unit = include.geometry.voxel_volume, "ml"
        if not include.scan.is_volume:
            voxel, unit = voxel / include.geometry.spacing[0] * 10, "cm²"
        added = [include.dense_voxels[side] * voxel for side in ("right", "left")]
        total = np.count_nonzero(masks["exclude"].labels) * voxel
        seconds = " and ".join(f"{sum(mask.seconds.values()):.1f}" for mask in masks.values())
        print(f"| {name} | {total:.0f} | {added[0]:.1f} | {added[1]:.1f} | {unit} | {seconds} |")
        if sheets is not None:
            panels.append((name, _panel(name, masks)))
    if sheets is None:
        return
    for i in range(0, len(panels), 10):
        _write(sheets / f"dense{i // 10 + 1}.png", [p for _, p in panels[i : i + 10]])
    _write(sheets / "dense.webp", [panel for name, panel in panels if name in PUBLISHED])


def _write(path: Path, panels: list[np.ndarray]) -> None:
    """Write two cases per row."""
    blank = [np.zeros_like(panels[0])] * (len(panels) % 2)
    pairs = zip(panels[::2], [*panels[1::2], *blank], strict=True)
    cv2.imwrite(str(path), np.vstack([np.hstack(pair) for pair in pairs])[..., ::-1], QUALITY)


def _panel(name: str, masks: dict[str, pleura.Segmentation]) -> np.ndarray:
    """Draw both masks side by side in the slice to which most is added."""
    include = masks["include"]
    order = include.geometry.to_canonical()
    hu = order.apply(include.scan.hu())
    labels = {mode: order.apply(mask.labels) for mode, mask in masks.items()}
    k = int(np.count_nonzero((labels["include"] > 0) & (labels["exclude"] == 0), (1, 2)).argmax())
    drawn = []
    for (mode, mask), window in zip(labels.items(), ((-1000, 250), (-130, 190)), strict=True):
        grey = np.interp(hu[k], window, (0, 255)).astype(np.uint8)
        image = cv2.resize(np.dstack([grey] * 3), (400, 400), interpolation=cv2.INTER_AREA)
        for side, colour in ((1, RIGHT_LUNG), (2, LEFT_LUNG)):
            one = cv2.resize((mask[k] == side).astype(np.uint8), (400, 400))
            outline, _ = cv2.findContours(one, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, outline, -1, rgb(colour), 1)
        text = f"{name}{f' {k}' if len(hu) > 1 else ''}: {mode}"
        cv2.putText(image, text, (4, 393), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        drawn.append(image)
    return np.hstack(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sheets", type=Path)
    options = parser.parse_args()
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    with pleura.Segmenter() as exclude, pleura.Segmenter(dense="include") as include:
        modes = {"exclude": exclude, "include": include}
        simulated(options.data, modes)
        real(options.data, modes, options.sheets)


if __name__ == "__main__":
    main()
