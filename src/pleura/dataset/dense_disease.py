"""Simulated dense disease: consolidated lung, masses at the pleura, and pleural effusion.

Consolidated lung stays in the mask, and fluid is removed from it, so that a network learns the
space that lung should fill. Images are float32 (rows, columns) in HU; lengths are in pixels.
"""

from __future__ import annotations

import numpy as np

from pleura.dataset.diseases import blend, blur, random_field
from pleura.dataset.opencv import cv2
from pleura.typing import BoolArray, FloatArray

_RIM = np.ones((5, 5), np.uint8)
"""Neighbourhood of the lung whose voxels contain a fraction of lung."""

_FAT = -150.0
"""HU: voxels below, at the border of the lung, contain a fraction of lung."""

_MIN_DOME = 8
"""Minimum radius of a dome of the liver: a smaller ellipse may be a nodule."""


def add_dense_disease(
    hu: FloatArray, mask: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Add dense disease to one lung or to both, if there are any.

    Parameters
    ----------
    hu:
        float32 (rows, columns), in HU.
    mask:
        float32 (rows, columns), in [0, 1].
    rng:
        The random number generator.

    Returns
    -------
    hu, mask:
        float32 (rows, columns). Fluid, and a part like the dome of the liver, are removed from the
        mask.
    """
    lung = mask > 0.5
    if not lung.any():
        return hu, mask
    if rng.random() < 0.15:
        dome = _dome(lung, rng)
        hu = _fill(hu, dome, lung, _tissue(hu, lung, _density(rng), rng), rng.uniform(0.3, 2))
        mask = np.where(dome, np.float32(0), mask)
        lung = lung & ~dome
    affected = lung if rng.random() < 0.3 else _one_side(lung, rng)
    healthy = hu
    fluid = np.zeros_like(lung)
    if rng.random() < 0.3:
        fluid = _crescent(affected, rng)
        value = _tissue(hu, lung, rng.uniform(-5, 22), rng)
        hu = _fill(hu, fluid, lung, value)
        mask = np.where(fluid, np.float32(0), mask)
        affected = affected & ~fluid
    if affected.any() and rng.random() < 0.9:
        kind = rng.random()
        part = _masses(affected, rng) if kind < 0.2 else _region(affected, rng)
        if kind > 0.85:
            return _mottle(hu, part, affected, rng), mask
        value = _tissue(hu, lung, _density(rng), rng)
        if rng.random() < 0.5:  # vessels are enhanced
            value = np.maximum(value, np.minimum(healthy, 250))
        hu = _fill(hu, part, lung & ~fluid, value, rng.uniform(0.3, 3))
        if rng.random() < 0.5:
            hu = blend(hu, rng.uniform(-950, -400), _bronchi(part, lung, rng))
    return hu, mask


def _density(rng: np.random.Generator) -> float:
    """Return the HU of consolidated lung, which contrast agent enhances."""
    return float(rng.uniform(25, 70) if rng.random() < 0.7 else rng.uniform(60, 130))


def _one_side(lung: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Return one of the components of the lungs, a large one more probably."""
    _, components = cv2.connectedComponents(lung.astype(np.uint8))
    return np.asarray(components == rng.choice(components[lung]))


def _region(lung: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Return all of the lung, or its part beyond a wavy line, mostly the dependent one."""
    if rng.random() < 0.3:
        return lung
    angle = rng.normal(0, 0.5) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    rows, columns = np.indices(lung.shape, np.float32)
    level = rows * np.cos(angle) + columns * np.sin(angle)
    level = level + rng.uniform(1, 15) * random_field(lung.shape, rng.uniform(15, 60), rng)
    return np.asarray(lung & (level >= np.quantile(level[lung], 1 - rng.uniform(0.1, 1))))


def _masses(lung: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Return one to three ellipses at the border of the lung."""
    border = lung & (cv2.erode(lung.astype(np.uint8), _RIM) == 0)
    drawn = np.zeros(lung.shape, np.uint8)
    for row, column in rng.choice(np.argwhere(border), rng.integers(1, 4)):
        axes = rng.uniform(4, 26) * np.exp(rng.normal(0, 0.2, 2))
        ellipse = (int(column), int(row)), (int(axes[0]), int(axes[1])), rng.uniform(0, 180)
        cv2.ellipse(drawn, *ellipse, 0, 360, 1, -1)
    return lung & (drawn > 0)


def _dome(lung: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Return an ellipse inside the lung, like the dome of the liver; it is not lung."""
    depth = cv2.distanceTransform(lung.astype(np.uint8), cv2.DIST_L2, 3)
    inside = np.argwhere(depth > rng.uniform(0.4, 0.9) * depth.max())
    row, column = rng.choice(inside)
    axes = rng.uniform(0.5, 1.3) * depth[row, column] * np.exp(rng.normal(0, 0.15, 2))
    drawn = np.zeros(lung.shape, np.uint8)
    if axes.min() < _MIN_DOME:
        return drawn > 0
    ellipse = (int(column), int(row)), (int(axes[0]), int(axes[1])), rng.uniform(0, 180)
    cv2.ellipse(drawn, *ellipse, 0, 360, 1, -1)
    return lung & (drawn > 0)


def _crescent(lung: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Return the fluid between the lung and the wall, mostly the dependent one."""
    angle = rng.normal(0, 0.6) if rng.random() < 0.9 else rng.uniform(-np.pi, np.pi)
    thickness = np.exp(rng.uniform(np.log(3), np.log(70)))
    shift = np.array([[1, 0, -thickness * np.sin(angle)], [0, 1, -thickness * np.cos(angle)]])
    moved = cv2.warpAffine(lung.astype(np.uint8), shift, lung.shape[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(lung & (moved == 0))


def _tissue(hu: FloatArray, lung: BoolArray, level: float, rng: np.random.Generator) -> FloatArray:
    """Return a nearly homogeneous image with the noise of the soft tissue of an image."""
    soft = (hu > -20) & (hu < 120) & ~lung
    residual = np.abs(hu - blur(hu, 1))[soft]
    sd = 1.5 * float(np.median(residual)) if len(residual) else 10.0
    noise = blur(rng.standard_normal(hu.shape, np.float32), rng.uniform(0.4, 0.9))
    grain = rng.uniform(0, 8) * random_field(hu.shape, rng.uniform(5, 30), rng)
    return np.asarray(level + grain + noise * np.float32(sd / noise.std()), np.float32)


def _fill(
    hu: FloatArray, part: BoolArray, lung: BoolArray, value: FloatArray, fading: float = 0.3
) -> FloatArray:
    """Replace a part of the lung, with the voxels at its outer border that contain air.

    Without these, a dark line around the part would mark the border. ``fading`` is the width of
    the transition to the rest of the lung.
    """
    near = cv2.dilate(part.astype(np.uint8), np.ones((2 * int(2 * fading) + 3,) * 2)) > 0
    alpha = blur((part | ~lung).astype(np.float32), fading) * (lung & near)
    alpha[part] = np.maximum(alpha[part], 0.5)
    outside = (cv2.dilate(part.astype(np.uint8), _RIM) > 0) & ~lung & (hu < _FAT)
    alpha[outside] = 1
    return blend(hu, value, alpha)


def _mottle(
    hu: FloatArray, part: BoolArray, lung: BoolArray, rng: np.random.Generator
) -> FloatArray:
    """Add opacities of varying density, as in diffuse alveolar damage."""
    grain = random_field(hu.shape, rng.uniform(2, 8), rng)
    value = rng.uniform(-400, 0) + rng.uniform(50, 250) * grain
    alpha = blur(part.astype(np.float32), rng.uniform(1, 4)) * lung
    return blend(hu, np.maximum(hu, np.minimum(value, 80)), alpha)


def _bronchi(part: BoolArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Return air bronchograms in [0, 1]: curved lines from the middle to the part."""
    inside = np.argwhere(part)
    middle = np.argwhere(lung).mean(0)
    root = inside[np.abs(inside - middle).sum(1).argmin()]
    drawn = np.zeros(part.shape, np.uint8)
    t = np.linspace(0, 1, 8)[:, None]
    for end in rng.choice(inside, rng.integers(2, 16)):
        control = (root + end) / 2 + rng.normal(0, 0.15, 2) * np.abs(end - root).max()
        curve = (1 - t) ** 2 * root + 2 * t * (1 - t) * control + t**2 * end
        points = curve[:, ::-1].round().astype(np.int32)
        cv2.polylines(drawn, [points], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    return np.asarray(drawn / np.float32(255) * lung, np.float32)
