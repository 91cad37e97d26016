"""Pixel weights of the loss of Ronneberger et al. (2015): class balance and narrow gaps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.opencv import cv2
from pleura.typing import FloatArray


def class_balance(masks: Iterable[NDArray[np.uint8]]) -> tuple[float, float]:
    """Return the weights of background and lung with which both classes have the same sum.

    A class with ``n_c`` of ``n`` pixels has the weight ``n / (2 n_c)``, so that the mean weight
    over these masks is 1. Both weights are 1 if one class is absent.

    Parameters
    ----------
    masks:
        0 and 1 in any shape: all masks of the training subset, as in the paper. Weights of a
        single slice with few lung pixels would be extreme.
    """
    counts = [(mask.size, int(np.count_nonzero(mask))) for mask in masks]
    total, lung = sum(size for size, _ in counts), sum(count for _, count in counts)
    background = total - lung
    if lung == 0 or background == 0:
        return 1.0, 1.0
    return total / (2 * background), total / (2 * lung)


def border_weights(
    mask: NDArray[np.uint8],
    w0: float = 10.0,
    sigma: float = 5.0,
    balance: tuple[float, float] | None = None,
) -> FloatArray:
    """Return the weight map of a mask, equation 2 of Ronneberger et al. (2015).

    ``w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))`` with d1 and d2 the distances in
    pixels from a background pixel to the nearest pixel of the nearest and of the second nearest
    object. Objects are the 8-connected components of the mask. Inside objects, and in masks with
    fewer than two objects, w is w_c.

    Parameters
    ----------
    mask:
        uint8 (rows, columns) of 0 and 1.
    w0:
        Largest additional weight in a gap between objects.
    sigma:
        Width of the gaps in pixels; the paper uses 5 for images of 512x512.
    balance:
        Weights of background and lung, from `class_balance` of the training masks; None: those
        of this mask.

    Returns
    -------
    ndarray
        float32 (rows, columns).

    References
    ----------
    Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image
    segmentation. MICCAI 2015. https://arxiv.org/abs/1505.04597
    """
    background, lung = class_balance(mask) if balance is None else balance
    weights = np.where(mask, np.float32(lung), np.float32(background))
    objects, labels = cv2.connectedComponents(mask)
    nearest = np.full(mask.shape, np.inf, np.float32)
    second = nearest.copy()
    for label in range(1, objects):
        elsewhere = np.not_equal(labels, label).astype(np.uint8)
        distance = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # OpenCV rounds the square root of an integer depending on the alignment of the array.
        distance = np.sqrt(np.rint(np.square(distance, dtype=np.float64))).astype(np.float32)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    gap = np.float32(w0) * np.exp(-((nearest + second) ** 2) / np.float32(2 * sigma**2))
    weights[mask == 0] += gap[mask == 0]
    return weights
