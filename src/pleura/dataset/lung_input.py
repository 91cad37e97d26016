"""Training images cropped to the lungs and masked, as a cascade does it with scans."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pleura.dataset.lungs_recipe import LungsRecipe
from pleura.dataset.pairs import Pair
from pleura.dataset.units import pair_units
from pleura.dataset.volumes import read_scan
from pleura.engine.engine import Engine, model_path
from pleura.engine.lung_stage import LungStage
from pleura.engine.model_file import InputUnits, require_lung_model
from pleura.errors import DataError, DataWarning, ModelError, ScanError
from pleura.segmentation.lung_region import LungRegion, SliceRegion, find_lungs


class LungInput:
    """Finds the region of the lungs in training images with a model.

    Parameters
    ----------
    model:
        The model file of the lungs.
    recipe:
        The section of the recipe.
    size:
        Rows and columns of the network's grid.
    background:
        Value outside the lungs, in the units of the training images; None: the minimum.
    """

    def __init__(
        self, model: Path, recipe: LungsRecipe, size: tuple[int, int], background: float | None
    ) -> None:
        self.model: Path = model
        self.engine: Engine = Engine(model)
        metadata = self.engine.metadata
        require_lung_model(metadata, metadata.input)
        self.stage: LungStage = LungStage(
            recipe.crop,
            recipe.mask,
            float(recipe.margin),
            grid=size,
            label=recipe.label,
            model=(metadata.name, metadata.version),
        )
        self._background = background
        # The slices of a volume are read one after the other.
        self._regions = lru_cache(maxsize=1)(self._find)

    def region(self, pair: Pair, shape: tuple[int, ...]) -> SliceRegion | None:
        """Return the region of the lungs in an image; None if there is no lung.

        Parameters
        ----------
        pair:
            The image; its mask is not read.
        shape:
            Rows and columns of the image, as `PairReader.read` returns it.

        Raises
        ------
        DataError
            The image cannot be read as a scan, has another size, or has other units than the model.
        """
        regions, found_shape = self._regions(pair.image, pair.index is not None)
        index = pair.index or 0
        if found_shape != shape or index >= len(regions):
            raise DataError(
                f"the image has the size {_size(shape)}, but was read as a scan of "
                f"{len(regions)} slices of {_size(found_shape)}",
                where=pair.image,
                hint="store one axial slice per image file",
            )
        return regions[index]

    def _find(
        self, path: Path, is_volume: bool
    ) -> tuple[list[SliceRegion | None], tuple[int, ...]]:
        """Return the regions of the slices of a file, and the rows and columns of a slice."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # the reader of the pairs reports them
            try:
                scan = read_scan(path, "auto")
            except DataError as error:
                hint = "correct the image, or exclude it (pleura train --exclude)"
                raise DataError(error.message, where=error.where, hint=hint) from error
        try:
            lungs = find_lungs(self.engine, scan)
        except (ScanError, ModelError) as error:
            raise DataError(error.message, where=error.where or path, hint=error.hint) from error
        order = scan.geometry.to_canonical()
        geometry = order.apply_to(scan.geometry) if is_volume else scan.geometry
        if not is_volume:  # image files are not reoriented
            lungs = order.undo(lungs)
        region = LungRegion.of_scan(lungs, geometry, self.stage, self._background)
        return region.slices(), geometry.shape[1:]


def open_lung_input(
    recipe: LungsRecipe,
    size: tuple[int, int],
    background: float | None,
    pairs: Sequence[Pair],
) -> LungInput:
    """Load the model of the lungs for the images of a training.

    Parameters
    ----------
    recipe, size, background:
        As for `LungInput`.
    pairs:
        The images, some of which are read to determine their units.

    Raises
    ------
    ModelError
        The model file is missing, or not a model of lungs.
    DataError
        The model takes other units than those of the images.
    """
    units: InputUnits = "grey" if pair_units(pairs).kind == "grey" else "HU"
    shipped = model_path("greyscale" if units == "grey" else "default")
    lungs = LungInput(recipe.model or shipped, recipe, size, background)
    try:
        require_lung_model(lungs.engine.metadata, units)
    except ModelError as error:
        raise DataError(error.message, where=str(lungs.model), hint=error.hint) from error
    return lungs


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
