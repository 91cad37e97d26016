"""How well the flag `low_confidence` finds bad masks of single slices.

    python benchmarks/confidence.py DATA

A mask is bad where its Dice is below 0.85, or, in the sets without references (sbu and scans),
where it was seen to leave out much of a lung or to mark something else. Exponent and limit are
chosen on sbu and the validation slices of kmader, and the limit of greyscale images on the covid
patients with odd numbers and on the validation slices, rendered by benchmarks/greyscale.py; they
are reported on the rest. Prints Markdown tables, and writes each case to
benchmarks/results/confidence.json.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import greyscale
import numpy as np
from accuracy import FACTOR, WRONG_REFERENCES, overlap, patient_of

import pleura
from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe, split_names
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.scan.scan import Scan
from pleura.segmentation.flags import (
    LUNG_SHARE_EXPONENT,
    MAX_LOW_CONFIDENCE,
    MAX_LOW_CONFIDENCE_2D,
    MAX_LOW_CONFIDENCE_GREYSCALE,
)
from pleura.segmentation.inference import LOW_CONFIDENCE
from pleura.segmentation.segmenter import Segmenter

HERE = Path(__file__).resolve().parent
BAD = 0.85
EXPONENTS = (0.0, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5)
FALSE_ALARMS = 0.05

# Looked at, one by one: consolidation or collapse left out, or gas and fat marked as lung.
SEEN_BAD = {
    "sbu": (
        "A046441_axial_19001111-045",
        "A046441_axial_19010101-23",
        "A058062_axial_19001231-084",
        "A072894_axial_19001203-066",
        "A072894_axial_19010103-40",
        "A098752_axial_19010127-128",
    ),
    "scans": tuple(f"ID_{n:04d}_" for n in (14, 27, 31, 33, 42, 51, 55, 72, 80, 83, 87, 91)),
}

Case = dict[str, object]


def cases(data: Path, segmenter: Segmenter) -> Iterator[Case]:
    for name, seen_bad in SEEN_BAD.items():
        for path in sorted((data / name).glob("*.dcm")):
            bad = any(word in path.name for word in seen_bad)
            yield from case(name, path.stem, read(path), segmenter, bad, choice=name == "sbu")
    for path in sorted((data / "covid" / "images").iterdir()):
        mask = read_image_file(data / "covid" / "masks" / path.name) > 0
        odd = int(patient_of(data, path)[-2:]) % 2 == 1
        yield from case("covid", path.stem, read(path), segmenter, mask, choice=odd)
    pairs = find_pairs(data / "kmader" / "2d_images", data / "kmader" / "2d_masks")
    split = split_names(
        [p.name for p in pairs], SplitRecipe(training_fraction=0.6, validation_fraction=0.2)
    )
    for pair in pairs:
        validation = pair.name in split.validation
        if pair.name in WRONG_REFERENCES or not (validation or pair.name in split.test):
            continue
        image, mask = read_pair(pair)
        scan = pleura.from_array(np.rint(image / FACTOR).astype(np.int16), units="hu")
        yield from case("kmader", pair.name, scan, segmenter, mask > 0, choice=validation)
    for patient in ("101", "201", "202"):
        folder = data / "lctsc" / f"LCTSC-Test-S1-{patient}"
        hu, labels = (read(folder / f"{n}.nii.gz", units="hu").hu() for n in ("ct", "lungs"))
        for i in range(0, len(hu), 3):
            scan = pleura.from_array(hu[i], units="hu")
            yield from case("lctsc", f"{patient} {i}", scan, segmenter, labels[i] > 0, choice=False)


def rendered_cases(data: Path, segmenter: Segmenter) -> Iterator[Case]:
    """Yield greyscale images of every second slice of kmader, and every fourth of LCTSC."""
    lctsc = argparse.Namespace(patients=("101", "201", "202"), data=data)
    sets = (
        ("kmader", list(greyscale.kmader("validation", data))[::2], True),
        ("lctsc", list(greyscale.lctsc(lctsc))[::4], False),
    )
    for kind, slices, choice in sets:
        for i, (name, hu, reference, _) in enumerate(slices):
            for repeat in range(2):
                rng = np.random.default_rng((i, repeat))
                image, mask, _ = greyscale.rendered(hu, reference, rng)
                scan = pleura.from_array(np.ascontiguousarray(image))
                yield from case(f"greyscale {kind}", name, scan, segmenter, mask, choice=choice)


def case(
    kind: str,
    name: str,
    scan: Scan,
    segmenter: Segmenter,
    bad: "bool | np.ndarray",
    *,
    choice: bool,
) -> Iterator[Case]:
    """Yield the case, if any lung was found: `no_lung` is a flag of its own."""
    found = segmenter.segment(scan, keep_probability=True)
    lung = found.labels[0] > 0
    if not lung.any():
        return
    if isinstance(bad, np.ndarray):
        bad = overlap(bad, lung)["dice"] < BAD
    probability = found.probability[0]
    low, high = LOW_CONFIDENCE
    uncertain = np.count_nonzero((probability > low) & (probability < high))
    yield {
        "set": f"{kind}, {'choice' if choice else 'report'}",
        "case": name,
        "bad": bool(bad),
        "greyscale": not scan.intensity.calibrated,
        "uncertain_per_lung": round(float(uncertain / lung.sum()), 4),
        "lung_per_slice": round(float(lung.mean()), 5),
    }


def measure(found: Sequence[Case], exponent: float) -> np.ndarray:
    return np.array([c["uncertain_per_lung"] * c["lung_per_slice"] ** exponent for c in found])


def rates(found: Sequence[Case], flagged: np.ndarray) -> str:
    bad = np.array([c["bad"] for c in found])
    return f"{flagged[bad].sum()} of {bad.sum()} | {flagged[~bad].sum()} of {(~bad).sum()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    with Segmenter() as segmenter:
        found = [*cases(options.data, segmenter), *rendered_cases(options.data, segmenter)]
    for is_greyscale in (False, True):
        chosen = [
            c for c in found if c["set"].endswith("choice") and c["greyscale"] == is_greyscale
        ]
        print_limits(chosen)
    print("\n| set | bad flagged, before | good flagged, before | bad flagged | good flagged |")
    print("|---|---|---|---|---|")
    for name in sorted({c["set"] for c in found}):
        ours = [c for c in found if c["set"] == name]
        before = rates(ours, measure(ours, 0) > MAX_LOW_CONFIDENCE)
        limit = MAX_LOW_CONFIDENCE_GREYSCALE if ours[0]["greyscale"] else MAX_LOW_CONFIDENCE_2D
        print(f"| {name} | {before} | {rates(ours, measure(ours, LUNG_SHARE_EXPONENT) > limit)} |")
    target = HERE / "results" / "confidence.json"
    target.write_text("[" + ",\n".join(json.dumps(c) for c in found) + "]\n")


def print_limits(chosen: Sequence[Case]) -> None:
    """Print the limit of each exponent for the allowed rate of false alarms."""
    bad = np.array([c["bad"] for c in chosen])
    print("| exponent | area under the ROC curve | limit | bad flagged | good flagged |")
    print("|---|---|---|---|---|")
    for exponent in EXPONENTS:
        values = measure(chosen, exponent)
        pairs = np.subtract.outer(values[bad], values[~bad])
        limit = float(np.quantile(values[~bad], 1 - FALSE_ALARMS))
        area = float((pairs > 0).mean())
        print(f"| {exponent} | {area:.4f} | {limit:.3f} | {rates(chosen, values >= limit)} |")


if __name__ == "__main__":
    main()
