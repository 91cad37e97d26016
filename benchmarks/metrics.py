"""Seconds that all metrics of a whole scan take: 600 slices of 512x512, both lungs and each.

    python benchmarks/metrics.py --mask LABELS.nii.gz [--slices 600]

The labels are repeated to the length; the prediction is the reference moved by a voxel.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from pleura.evaluation.cases import Case
from pleura.evaluation.scores import score_masks
from pleura.masks.labels import read_mask

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mask", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=600)
    options = parser.parse_args()
    mask = read_mask(options.mask, unknown_as_lung=True)
    labels = mask.geometry.to_canonical().apply(mask.labels)
    grid = mask.geometry.to_canonical().apply_to(mask.geometry)
    reference = np.resize(labels, (options.slices, *labels.shape[1:])).astype(np.uint8)
    predicted = np.roll(reference, (1, 1), (1, 2))
    begin = time.perf_counter()
    scores = score_masks(Case("scan", "patient"), predicted, reference, grid.orthogonal_spacing)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"slices": options.slices, "regions": len(scores), "seconds": seconds, "peak_mb": peak}
    print(", ".join(f"{k} {v:.4g}" for k, v in result.items()))
    (HERE / "results" / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
