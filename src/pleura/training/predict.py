"""Predict the masks of image files with a training run."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.images_2d import read_image_2d
from pleura.engine.classes import class_values
from pleura.errors import DataError, PleuraError, RunError
from pleura.figures.overlay import overlay
from pleura.formats.image_files import IMAGE_OUTPUT_SUFFIXES, list_image_files, write_image_file
from pleura.names import counted, safe_name, shorten_list
from pleura.scan.bit_field import has_label
from pleura.scan.labels import Label, class_labels, may_overlap
from pleura.scan.scan import BACKGROUND_HU
from pleura.training.predictor import Predictor
from pleura.training.run import Run, open_run
from pleura.typing import AnyArray, Progress, StrPath

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionOptions:
    """Options of `predict`.

    Parameters
    ----------
    threshold:
        Smallest probability of a lung pixel, and of each class; None is the threshold of the run.
    overlay:
        Also write ``NAME_overlay.png``, the image with the contour of the mask.
    masked:
        Also write ``NAME_masked.*``, the image with air outside the lungs.
    crop:
        Crop the masked image to the bounding box of the lungs, which the result records.
    overwrite:
        Replace existing files; the images are never replaced.

    Raises
    ------
    DataError
        The threshold is not from 0 to 1.
    """

    threshold: float | None = None
    overlay: bool = False
    masked: bool = False
    crop: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise DataError(
                f"the threshold {self.threshold} is not a probability",
                where="threshold",
                hint="pass a number from 0 to 1",
            )


@dataclass(frozen=True)
class Prediction:
    """Result of `predict` for one image.

    Parameters
    ----------
    image, mask:
        File names of the image and its mask; ``mask`` is None if there is an error.
    lung_fraction:
        Fraction of the image that is lung, or of any class.
    outside_value:
        Value outside the lungs in the masked image; None if it was not written.
    crop_box:
        First row, first column, rows and columns of the cropped image in the image; None if it was
        not cropped.
    error:
        Why there is no mask; None if there is one.
    """

    image: str
    mask: str | None = None
    lung_fraction: float | None = None
    outside_value: float | None = None
    crop_box: tuple[int, int, int, int] | None = None
    error: str | None = None


def predict(
    run: Run | StrPath,
    inputs: StrPath,
    output: StrPath,
    options: PredictionOptions = PredictionOptions(),
    progress: Progress | None = None,
) -> list[Prediction]:
    """Write a mask for one image, or for each image of a folder, under its name.

    Masks are 0 and 255; with several classes, they have the values of `data.labels`. Of classes
    that may overlap, each has its own masks in a folder of its name.

    Parameters
    ----------
    run:
        A run, or its folder.
    inputs:
        An image file, or a folder of them.
    output:
        Folder to write to.
    options:
        The threshold, and which files to write.
    progress:
        Called with the number of images that are done, and of all images.

    Returns
    -------
    list of Prediction
        One per image; an image that cannot be read has an error, and the others are predicted.

    Raises
    ------
    DataError
        The input is missing, the folder cannot be written, an output file exists, or two images
        would get the same output file.
    RunError
        The run cannot be loaded, or predicts slices of volumes from neighbouring slices.
    """
    run = run if isinstance(run, Run) else open_run(run)
    if run.recipe.data.context.slices:
        raise RunError(
            "the run predicts a slice from its neighbours, which images of one slice do not have",
            where=run.folder,
            hint="export the run and segment volumes: pleura export RUN -o MODEL.onnx; "
            "pleura segment VOLUME --model MODEL.onnx",
        )
    inputs, output = Path(inputs), Path(output)
    paths = [inputs] if inputs.is_file() else list_image_files(inputs)
    targets = [_targets(path, output, options, run.classes) for path in paths]
    _check_targets(paths, targets, options.overwrite)
    _check_writable(output)
    predictor = Predictor(run)
    results = []
    for i, (path, files) in enumerate(zip(paths, targets, strict=True)):
        try:
            results.append(_predict_file(predictor, path, files, options))
        except PleuraError as error:
            results.append(Prediction(path.name, error=str(error)))
        if progress is not None:
            progress(i + 1, len(paths))
    failed = sum(result.error is not None for result in results)
    _logger.info("Predicted %d images, %d failed", len(results), failed)
    return results


def apply_mask(image: AnyArray, mask: NDArray[np.uint8]) -> tuple[AnyArray, float]:
    """Set the pixels outside a mask to air.

    Parameters
    ----------
    image, mask:
        Image and mask (rows, columns).

    Returns
    -------
    tuple of array and float
        The masked image, and the value outside the mask: -1024 if the minimum of the image is at
        most -900, as in HU, and else its minimum, as in greyscale images.
    """
    minimum = image.min()
    air = BACKGROUND_HU if minimum <= -900 and image.dtype.kind in "if" else minimum
    return np.where(mask != 0, image, image.dtype.type(air)), float(air)


def bounding_box(mask: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Return first row, first column, rows and columns of the bounding box; None if empty."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    return top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1


def masks_to_write(mask: AnyArray, classes: Sequence[Label]) -> dict[str, NDArray[np.uint8]]:
    """Return the mask files of an image: pixels by the folder of the file.

    Parameters
    ----------
    mask, classes:
        A mask as `Predictor.mask` returns it, and its classes.
    """
    if may_overlap(classes):
        labels = class_labels(classes)
        return {class_folder(n): np.uint8(255) * has_label(mask, v) for n, v in labels.items()}
    return {".": class_values(mask, classes) if classes else mask * np.uint8(255)}


def class_folder(name: str) -> str:
    """Return the folder of the masks of a class."""
    return safe_name(name.replace("/", "_"))


def _targets(
    path: Path, output: Path, options: PredictionOptions, classes: Sequence[Label]
) -> dict[str, Path]:
    """Return the files to write for an image, by kind."""
    suffix = path.suffix if path.suffix.lower() in IMAGE_OUTPUT_SUFFIXES else ".png"
    folders = [class_folder(c.name) for c in classes] if may_overlap(classes) else ["."]
    targets = {f"mask {one}": output / one / f"{path.stem}{suffix}" for one in folders}
    if options.overlay:
        targets["overlay"] = output / f"{path.stem}_overlay.png"
    if options.masked:
        targets["masked"] = output / f"{path.stem}_masked{suffix}"
    return targets


def _check_targets(
    paths: Sequence[Path], targets: Sequence[Mapping[str, Path]], overwrite: bool
) -> None:
    """Refuse outputs that would replace another file, before anything is written."""
    files = [target for by_kind in targets for target in by_kind.values()]
    names: set[str] = set()
    for file in files:
        if str(file).casefold() in names:
            raise DataError(
                f"two images have the same output file {file.name}",
                where=file.parent,
                hint="rename one of the images",
            )
        names.add(str(file).casefold())
    existing = [file for file in files if file.exists()]
    images = {_identity(path) for path in paths}
    if any(_identity(file) in images for file in existing):
        raise DataError(
            "the masks would overwrite the images",
            where=files[0].parent,
            hint="choose another folder",
        )
    if existing and not overwrite:
        raise DataError(
            f"{counted(len(existing), 'output file exists', 'output files exist')} already: "
            f"{shorten_list([path.name for path in existing], 3)}",
            where=existing[0].parent,
            hint="choose another folder, or add --overwrite",
        )


def _check_writable(folder: Path) -> None:
    """Raise one error for a folder that cannot be written, instead of one per image."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"the folder cannot be written ({error.strerror or error})",
            where=folder,
            hint="choose another folder, or change its permissions",
        ) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _predict_file(
    predictor: Predictor, path: Path, targets: Mapping[str, Path], options: PredictionOptions
) -> Prediction:
    image = read_image_2d(path)
    classes = predictor.run.classes
    mask = predictor.mask(predictor.file_probability(path, image), options.threshold)
    if options.overlay:
        write_image_file(targets["overlay"], overlay(image, mask))
    outside, box = None, None
    if options.masked:
        masked, outside = apply_mask(image, mask)
        box = bounding_box(mask) if options.crop else None
        if box is not None:
            masked = masked[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        write_image_file(targets["masked"], np.ascontiguousarray(masked))
    name = ""
    for folder, stored in masks_to_write(mask, classes).items():
        target = targets[f"mask {folder}"]
        write_image_file(target, stored)
        name = target.name
    fraction = float((mask > 0).mean())
    return Prediction(path.name, name, fraction, outside, box)
