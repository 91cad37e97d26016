"""Which wrong orientations are found, and how often a right one is flagged.

    python benchmarks/orientation.py DATA [--scans SCAN ...] [--cache FOLDER]

DATA holds lctsc, lidc, kmader, scans and sbu; more whole chests are given by --scans. Each chest is
segmented in all 48 orientations of its data under one affine. Variations (crops, slabs, disease,
noise, worse masks) are applied to scan and mask in the right orientation, and then mirrored. Single
slices are mirrored likewise. Prints Markdown tables and the CPU time of the landmarks.
"""

import argparse
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from accuracy import FACTOR

from pleura.formats.image_files import read_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes
from pleura.segmentation.landmarks import Landmarks, find_landmarks, sampling_step
from pleura.segmentation.segmenter import Segmenter

Arrays = tuple[Any, Any]  # sampled HU, labels
Counts = dict[str, dict[str, Counter[bool]]]

FLIPS = {
    "right": (1, 1, 1),
    "180 degrees in plane": (1, -1, -1),
    "left-right": (1, 1, -1),
    "front-back": (1, -1, 1),
    "head-foot": (-1, 1, 1),
    "head-foot and left-right": (-1, 1, -1),
    "head-foot and front-back": (-1, -1, 1),
    "all three": (-1, -1, -1),
}


def flip(arrays: Arrays, signs: tuple[int, ...]) -> Arrays:
    hu, labels = (
        np.ascontiguousarray(a[tuple(slice(None, None, s) for s in signs)]) for a in arrays
    )
    return hu, labels


def landmarks(arrays: Arrays) -> Landmarks:
    return find_landmarks(arrays[0], arrays[1] > 0)


def segmented(
    segmenter: Segmenter, hu: Any, spacing: tuple[float, ...] | None, cache: Path | None
) -> Arrays:
    """Return sampled HU and labels of canonical axial slices, from the cache if they are there."""
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            return stored["hu"], stored["labels"]
    affine = spacing and affine_from_axes((0, 0, 0), tuple(np.diag(spacing)[:, ::-1]))
    labels = segmenter.segment(from_array(hu, affine=affine, units="hu"), warn=False).labels
    step = sampling_step(labels.shape)
    arrays = np.atleast_3d(hu.reshape(labels.shape))[:, ::step, ::step], labels[:, ::step, ::step]
    if cache is not None:
        np.savez_compressed(cache, hu=arrays[0], labels=arrays[1])
    return arrays


def orientations(
    segmenter: Segmenter, name: str, path: Path, cache: Path | None
) -> Iterator[tuple[str, Arrays]]:
    """Yield a chest in all 48 orientations, with what kind of lie each is."""
    scan = read(path)
    order = scan.geometry.to_canonical()
    hu, spacing = order.apply(scan.hu()), order.apply_to(scan.geometry).spacing
    for axes in itertools.permutations(range(3)):
        for rows, columns in itertools.product((1, -1), repeat=2):
            turned = np.ascontiguousarray(hu.transpose(axes)[:, ::rows, ::columns])
            file = cache and cache / f"{name}_{''.join(map(str, axes))}_{rows}_{columns}.npz"
            arrays = segmented(segmenter, turned, tuple(spacing[a] for a in axes), file)
            for slices in (1, -1):  # the network works slice by slice
                signs = slices, rows, columns
                kind = next(kind for kind, known in FLIPS.items() if known == signs)
                if axes[0] != 0:
                    kind = "coronal or sagittal slices as axial ones"
                elif axes != (0, 1, 2):
                    kind = "rows and columns exchanged (90 degrees, or mirrored too)"
                yield kind, flip(arrays, (slices, 1, 1))


def warp(arrays: Arrays, degrees: float = 0, scale: float = 1, shift: float = 0) -> Arrays:
    hu, labels = arrays
    rows, columns = hu.shape[1:]
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, scale)
    matrix[0, 2] += shift * columns
    size = columns, rows
    return (
        np.stack([cv2.warpAffine(one, matrix, size, borderValue=-1000) for one in hu]),
        np.stack([cv2.warpAffine(one, matrix, size, flags=cv2.INTER_NEAREST) for one in labels]),
    )


def opaque(arrays: Arrays, side: int, part: slice, rng: np.random.Generator) -> Arrays:
    """Fill a lung, or slices of it, with what is as dense as fluid; the mask leaves it out."""
    hu, labels = arrays[0].copy(), arrays[1].copy()
    filled = np.zeros(labels.shape, bool)
    filled[part] = labels[part] == side
    hu[filled] = rng.normal(20, 20, int(filled.sum()))
    labels[filled] = 0
    return hu, labels


def bodies(arrays: Arrays) -> Any:
    """Return the largest piece of tissue of each slice: the body without the table."""
    found = []
    for hu, labels in zip(*arrays, strict=True):
        tissue = ((hu > -500) | (labels > 0)).astype(np.uint8)
        _, pieces, figures, _ = cv2.connectedComponentsWithStats(
            cv2.morphologyEx(tissue, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        )
        piece = 1 + np.argmax(figures[1:, cv2.CC_STAT_AREA]) if len(figures) > 1 else 1
        found.append(cv2.dilate((pieces == piece).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    return np.stack(found)


def variations(arrays: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Yield kinds of scan and mask that differ from a common chest, in the same orientation."""
    rng = np.random.default_rng(0)
    hu, labels = arrays
    inside = np.flatnonzero((labels > 0).any((1, 2)))
    first, last = int(inside[0]), int(inside[-1]) + 1
    height = last - first

    def cut(start: float, stop: float) -> Arrays:
        part = slice(max(0, first + int(start * height)), first + int(stop * height))
        return hu[part], labels[part]

    yield "whole", arrays
    for name, start, stop in (
        ("no slice beyond the lungs", 0, 1),
        ("upper half", 0.5, 9),
        ("lower half", -9, 0.5),
        ("middle third", 1 / 3, 2 / 3),
        ("upper third", 2 / 3, 9),
        ("lower third", -9, 1 / 3),
        ("upper two thirds", 1 / 3, 9),
        ("lower two thirds", -9, 2 / 3),
    ):
        yield name, cut(start, stop)
    for count in (5, 10):
        for start in np.linspace(0, 1 - count / height, 9):
            yield f"{count} slices", cut(start, start + (count + 0.5) / height)
    yield "every 2nd slice", (hu[::2], labels[::2])
    yield "every 4th slice", (hu[::4], labels[::4])
    for degrees in (-15, -8, 8, 15):
        yield "rotated by 8 or 15 degrees", warp(arrays, degrees)
    for degrees in (-45, -30, 30, 45):
        yield "rotated by 30 or 45 degrees", warp(arrays, degrees)
    for scale in (0.6, 0.8, 1.25, 1.5):
        yield "scaled by 0.6 to 1.5, cut off", warp(arrays, scale=scale)
    for shift in (-0.25, -0.15, 0.15, 0.25):
        yield "shifted by 15 or 25 %, cut off", warp(arrays, shift=shift)
    rows, columns = (np.flatnonzero((labels > 0).any(axes)) for axes in ((0, 2), (0, 1)))
    box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    yield "cropped to the lungs", (hu[box], labels[box])
    body = bodies(arrays)
    alone = np.where(body, hu, -1000).astype(np.int16)
    yield "no table", (alone, labels)
    table = np.where(body, -1000, hu)[:, ::-1]
    yield "prone: table in front", (np.where(body, hu, table).astype(np.int16), labels)
    for sd in (30, 60, 100):
        noisy = (hu + rng.normal(0, sd, hu.shape)).clip(-1024, 3000).astype(np.int16)
        yield "noise of 30 to 100 HU", (noisy, labels)
    yield from diseases_and_masks(arrays, body, first + height // 2)
    fat = np.where((hu > 20) & (hu < 90) & (labels == 0), hu - 50, hu)
    half = int(np.median(np.nonzero(labels)[2]))
    fat[:, :, half:] = hu[:, :, half:]
    yield "liver 50 HU less dense", (fat, labels)
    ends = ((8, 8), (0, 0), (0, 0))
    padded = np.pad(hu, ends, constant_values=-1000), np.pad(labels, ends)
    yield "air added at both ends", padded
    side = hu.shape[2] // 4
    yield "the same, sides cut off", (padded[0][..., side:-side], padded[1][..., side:-side])


def diseases_and_masks(arrays: Arrays, body: Any, middle: int) -> Iterator[tuple[str, Arrays]]:
    rng = np.random.default_rng(1)
    hu, labels = arrays
    for side, name in ((1, "right"), (2, "left")):
        yield f"{name} lung opaque", opaque(arrays, side, slice(None), rng)
        yield (
            f"{name} lung, lower half opaque",
            opaque(arrays, side, slice(middle), rng),
        )
        yield f"{name} lung, upper half opaque", opaque(arrays, side, slice(middle, None), rng)
        yield f"mask lacks the {name} lung", (hu, np.where(labels == side, 0, labels))
    kernel = np.ones((5, 5), np.uint8)
    yield "mask eroded by 2 voxels", (hu, np.stack([cv2.erode(one, kernel) for one in labels]))
    yield "mask dilated by 2 voxels", (hu, np.stack([cv2.dilate(one, kernel) for one in labels]))
    yield (
        "mask lacks 30 % of the slices",
        (hu, labels * (rng.random(len(hu)) > 0.3)[:, None, None]),
    )
    yield "mask holds all gas of the body", (hu, np.where(body & (hu < -300), 1, labels))


def slices_of(segmenter: Segmenter, data: Path, cache: Path | None) -> Iterator[tuple[str, Arrays]]:
    """Yield single slices with lung; those of kmader are TIFF without orientation."""
    for name in ("kmader", "scans", "sbu"):
        folder = data / name / "2d_images" if name == "kmader" else data / name
        for path in sorted([*folder.glob("*.tif"), *folder.glob("*.dcm")]):
            if name == "kmader":
                hu = np.clip(np.rint(read_image_file(path) / FACTOR), -1024, 32767).astype(np.int16)
            else:
                scan = read(path)
                hu = scan.geometry.to_canonical().apply(scan.hu())[0]
            file = cache and cache / f"{path.stem}.npz"
            arrays = segmented(segmenter, hu, None, file)
            if arrays[1].any():
                yield name, arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=Path, nargs="+", default=[])
    parser.add_argument("--cache", type=Path, help="Keep masks here.")
    options = parser.parse_args()
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)
    volumes = sorted(options.data.glob("l*/*/ct.nii.gz"))
    chests = {path.parent.name: path for path in volumes}
    chests |= {path.name: path for path in options.scans}
    found: Counts = defaultdict(lambda: defaultdict(Counter))
    varied: Counts = defaultdict(lambda: defaultdict(Counter))
    single: Counts = defaultdict(lambda: defaultdict(Counter))
    seconds = []
    with Segmenter() as segmenter:
        for name, path in chests.items():
            for kind, arrays in orientations(segmenter, name, path, options.cache):
                begin = time.process_time()
                marks = landmarks(arrays)
                seconds.append(time.process_time() - begin)
                found[kind]["as it is"][bool(marks.contradictions())] += 1
                if kind == "right":
                    print(name, marks, flush=True)
                    for variation, changed in variations(arrays):
                        count(varied[variation], changed, list(FLIPS))
        for name, arrays in slices_of(segmenter, options.data, options.cache):
            count(single[name], arrays, list(FLIPS)[:4])
    for table in (found, varied, single):
        show(table)
    print(f"\nCPU time: median {np.median(seconds):.3f} s, at most {max(seconds):.3f} s")


def count(row: dict[str, Counter[bool]], arrays: Arrays, lies: list[str]) -> None:
    for lie in lies:
        row[lie][bool(landmarks(flip(arrays, FLIPS[lie])).contradictions())] += 1


def show(table: Counts) -> None:
    """Print how many scans of each row are flagged, in the right and in each wrong orientation."""
    lies = list(next(iter(table.values())))
    print(f"\n| | scans | {' | '.join(lies)} |\n|---|---|{'---|' * len(lies)}")
    for name, row in table.items():
        flagged = " | ".join(str(row[lie][True]) for lie in lies)
        print(f"| {name} | {row[lies[0]].total()} | {flagged} |")


if __name__ == "__main__":
    main()
