"""Flags of masks of lungs, from the mask, the scan and the predictions."""

from __future__ import annotations

import numpy as np

from pleura.masks.mask import Flag
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Scan
from pleura.segmentation.continuity import find_discontinuity
from pleura.segmentation.flags import find_flags
from pleura.segmentation.image_content import find_other_content
from pleura.segmentation.inference import SlicePredictions
from pleura.segmentation.landmarks import Landmarks, find_landmarks, sampling_step
from pleura.segmentation.postprocessing import HU_STEP
from pleura.typing import AnyArray


def find_lung_flags(
    labels: AnyArray,
    scan: Scan,
    geometry: Geometry,
    predictions: SlicePredictions,
    *,
    sides: bool,
) -> tuple[Flag, ...]:
    """Return the flags of canonical axial labels."""
    landmarks, discontinuity = Landmarks(), ""
    if scan.intensity.calibrated:
        step = sampling_step(geometry.shape)
        landmarks = find_landmarks(predictions.landmark_hu, labels[:, ::step, ::step] > 0)
        hu = predictions.hu
        if scan.missing_slices:  # they are constant
            hu = hu[[np.ptp(slice_hu) > 0 for slice_hu in hu]]
        discontinuity = find_discontinuity(hu, geometry.orthogonal_spacing[0])
    flags = find_flags(
        labels,
        scan,
        geometry,
        predictions.low_confidence_voxels / max(int(np.count_nonzero(labels)), 1),
        landmarks.contradictions(),
        discontinuity,
        sides=sides,
    )
    if scan.intensity.calibrated or not {"no_lung", "low_confidence"} & {f.name for f in flags}:
        return flags
    return (*flags, *find_other_content(predictions.hu, labels[:, ::HU_STEP, ::HU_STEP]))
