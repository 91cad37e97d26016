"""A trained run made to predict, on images in memory and on files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pair_reader import read_image_2d
from pleura.dataset.preprocessing import Preprocessing, preprocess_image, resample_probability
from pleura.errors import DataError, PleuraError
from pleura.figures.masks import overlay
from pleura.formats.pictures import TIFF, list_pictures, write_picture
from pleura.training.compute import Compute
from pleura.training.run import Run, open_run
from pleura.training.state import trained_network
from pleura.typing import AnyArray, FloatArray, Progress

AIR = -1024
"""What lies outside the mask in a masked image of HU."""


class Predictor:
    """A run's network, loaded once for many images.

    Raises
    ------
    RunError
        The run's weights are missing, unreadable, or of another network.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.preprocessing: Preprocessing = run.recipe.preprocessing
        # Where and how it was trained binds nobody who uses it.
        here = {"device": "auto", "precision": "auto", "threads": None}
        self._compute = Compute(run.recipe.training.model_copy(update=here))
        self._network = self._compute.place(trained_network(run))

    def logits(self, prepared: FloatArray) -> FloatArray:
        """Return logits of prepared images, both float32 (n, rows, columns)."""
        batch = self.run.recipe.training.batch_size
        parts = [
            self._compute.logits(self._network, prepared[i : i + batch])[:, 0].cpu().numpy()
            for i in range(0, len(prepared), batch)
        ]
        return np.concatenate(parts)

    def probability(self, image: AnyArray, where: str = "image") -> FloatArray:
        """Return the probability of lung, float32, on the grid of an image (rows, columns)."""
        prepared = preprocess_image(image, self.preprocessing, where)
        probability = sigmoid(self.logits(prepared[None])[0])
        return resample_probability(
            probability, (image.shape[0], image.shape[1]), self.preprocessing
        )


@dataclass(frozen=True)
class Outputs:
    """What `predict` writes beside the mask of each image."""

    threshold: float | None = None
    """Probability from which on a pixel is lung; None takes the run's own."""
    overlay: bool = False
    """``NAME_overlay.png``: the image with the mask's contour."""
    masked: bool = False
    """``NAME_masked.*``: the image with all but lung set to air."""
    crop: bool = False
    """The masked image cut to the lungs' box, which is recorded in the result."""
    overwrite: bool = False
    """Replace files that are there already; the images themselves never."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise DataError(
                f"{self.threshold} is no probability",
                where="threshold",
                hint="give a number from 0 to 1",
            )


@dataclass(frozen=True)
class Prediction:
    """What became of one file: ``error`` is None, or the reason why there is no mask."""

    image: str
    mask: str | None = None
    lung_fraction: float | None = None
    outside_value: float | None = None
    crop_box: tuple[int, int, int, int] | None = None
    """First row, first column, rows, columns of the cropped image in the image."""
    error: str | None = None


def predict(
    run: Run | str | Path,
    inputs: str | Path,
    output: str | Path,
    outputs: Outputs = Outputs(),
    progress: Progress | None = None,
) -> list[Prediction]:
    """Write a 0/255 mask for one picture, or for each of a folder, under the image's name.

    A bad file is a line in the result and does not stop the rest.

    Raises
    ------
    DataError
        The input is missing, a file to be written is there already, or two would be one.
    RunError
        The run cannot be loaded.
    """
    run = run if isinstance(run, Run) else open_run(run)
    inputs, output = Path(inputs), Path(output)
    paths = [inputs] if inputs.is_file() else list_pictures(inputs)
    targets = [_targets(path, output, outputs) for path in paths]
    _check_targets(paths, targets, outputs.overwrite)
    predictor = Predictor(run)
    results = []
    for i, (path, written) in enumerate(zip(paths, targets, strict=True)):
        try:
            results.append(_predict_file(predictor, path, written, outputs))
        except PleuraError as error:
            results.append(Prediction(path.name, error=str(error)))
        if progress is not None:
            progress(i + 1, len(paths))
    return results


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return probabilities of logits without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)


def mask_image(image: AnyArray, mask: NDArray[np.uint8]) -> tuple[AnyArray, float]:
    """Set everything outside the mask to air and return the image and that value.

    Air is -1024 HU where the image reaches down to air as HU have it (minimum at or below -900),
    and the image's minimum elsewhere, as in grey pictures.
    """
    lowest = image.min()
    air = AIR if lowest <= -900 and image.dtype.kind in "if" else lowest
    return np.where(mask != 0, image, image.dtype.type(air)), float(air)


def box_of(mask: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Return first row, first column, rows and columns of the smallest box, None if empty."""
    x, y, columns, rows = cv2.boundingRect(mask)
    return (y, x, rows, columns) if rows and columns else None


def _targets(path: Path, output: Path, outputs: Outputs) -> dict[str, Path]:
    """Return the files to be written for an image: its mask, and what else is asked for."""
    suffix = path.suffix if path.suffix.lower() in (*TIFF, ".png", ".npy") else ".png"
    targets = {"mask": output / f"{path.stem}{suffix}"}
    if outputs.overlay:
        targets["overlay"] = output / f"{path.stem}_overlay.png"
    if outputs.masked:
        targets["masked"] = output / f"{path.stem}_masked{suffix}"
    return targets


def _check_targets(
    paths: Sequence[Path], targets: Sequence[Mapping[str, Path]], overwrite: bool
) -> None:
    """Refuse before anything is written: nothing is ever lost to a name."""
    every = [target for written in targets for target in written.values()]
    seen: set[str] = set()
    for target in every:
        if target.name.casefold() in seen:
            raise DataError(
                f"two results would have the name {target.name}",
                where=target.parent,
                hint="rename one of the images",
            )
        seen.add(target.name.casefold())
    there = [target for target in every if target.exists()]
    originals = {_identity(path) for path in paths}
    if any(_identity(target) in originals for target in there):
        raise DataError(
            "the masks would overwrite the images",
            where=every[0].parent,
            hint="choose another folder",
        )
    if there and not overwrite:
        raise DataError(
            f"{len(there)} of the files to be written are there already, such as {there[0].name}",
            where=there[0].parent,
            hint="choose another folder, or add --overwrite",
        )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _predict_file(
    predictor: Predictor, path: Path, targets: Mapping[str, Path], outputs: Outputs
) -> Prediction:
    image = read_image_2d(path)
    threshold = predictor.run.threshold if outputs.threshold is None else outputs.threshold
    probability = predictor.probability(image, str(path))
    mask = np.greater_equal(probability, threshold).astype(np.uint8)
    if outputs.overlay:
        write_picture(targets["overlay"], overlay(image, mask))
    outside, box = None, None
    if outputs.masked:
        masked, outside = mask_image(image, mask)
        box = box_of(mask) if outputs.crop else None
        if box is not None:
            masked = masked[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        write_picture(targets["masked"], np.ascontiguousarray(masked))
    write_picture(targets["mask"], mask * np.uint8(255))
    return Prediction(path.name, targets["mask"].name, float(mask.mean()), outside, box)
