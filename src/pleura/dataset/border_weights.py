"""The weight of each pixel in the loss of Ronneberger 2015: class balance and narrow gaps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.typing import FloatArray


def class_balance(masks: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the weights of background and lung that give both classes the same sum.

    A class of ``n_c`` among ``n`` pixels weighs ``n / (2 n_c)``, so the mean weight over these
    masks is 1 and the size of the loss stays. Both weigh 1 where one class is absent.

    Parameters
    ----------
    masks:
        0 and 1 in any shape. Give all masks of the training part at once, as the paper means it
        ("in the training data set"): a slice that holds twenty pixels of lung would by itself
        weigh each of them thousands of times a pixel elsewhere.
    """
    lung = int(np.count_nonzero(masks))
    background = masks.size - lung
    if lung == 0 or background == 0:
        return 1.0, 1.0
    return masks.size / (2 * background), masks.size / (2 * lung)


def border_weights(
    mask: NDArray[np.uint8],
    w0: float = 10.0,
    sigma: float = 5.0,
    balance: tuple[float, float] | None = None,
) -> FloatArray:
    """Return the weight map of one mask, float32 (rows, columns); Ronneberger 2015, equation 2.

    ``w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))`` with d1 and d2 the distances in
    pixels from a background pixel to the nearest pixel of the nearest and of the second nearest
    object. Objects are the mask's components, 8-connected: mostly the right and the left lung,
    and any speck beside them. Inside objects, and with fewer than two of them, w is w_c.

    Parameters
    ----------
    mask:
        uint8 (rows, columns) of 0 and 1.
    w0:
        Largest weight that a gap adds.
    sigma:
        Width of the gaps that count, in pixels of this grid; the paper's 5 is for 512 a side.
    balance:
        Weights of background and lung, `class_balance` of the training masks; by default those
        of this mask alone.
    """
    background, lung = class_balance(mask) if balance is None else balance
    weights = np.where(mask, np.float32(lung), np.float32(background))
    objects, labels = cv2.connectedComponents(mask)
    nearest = np.full(mask.shape, np.inf, np.float32)
    second = nearest.copy()
    for label in range(1, objects):
        elsewhere = np.not_equal(labels, label).astype(np.uint8)
        distance = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    gap = np.float32(w0) * np.exp(-((nearest + second) ** 2) / np.float32(2 * sigma**2))
    weights[mask == 0] += gap[mask == 0]
    return weights
