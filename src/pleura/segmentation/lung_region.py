"""The part of a scan that the network of a cascade gets: a box around the lungs, and its mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray

from pleura.engine.engine import Engine
from pleura.engine.lung_stage import LungStage
from pleura.scan.geometry import Geometry
from pleura.scan.scan import Scan
from pleura.segmentation.components import bounding_box
from pleura.segmentation.inference import predict_slices
from pleura.segmentation.model_input import check_slice_size, with_input_decision
from pleura.segmentation.postprocessing import clean_mask
from pleura.typing import AnyArray, BoolArray, Progress

SIZE_STEP = 1 / 8
"""Step of the size of a box, as a fraction of the network's grid: runtimes compile a model for each
size."""


@dataclass(frozen=True, eq=False)
class SliceRegion:
    """The part of one slice that the network of a cascade gets.

    Parameters
    ----------
    box:
        Rows and columns.
    inside:
        bool (rows, columns) of the box: the lungs with their margin; None if nothing is masked.
    background:
        Value of masked pixels; None: the minimum of the box.
    """

    box: tuple[slice, slice]
    inside: BoolArray | None = None
    background: float | int | None = None

    @classmethod
    def whole(cls, shape: Sequence[int]) -> SliceRegion:
        """Return the region of a whole slice (rows, columns)."""
        return cls((slice(0, shape[0]), slice(0, shape[1])))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        rows, columns = self.box
        return rows.stop - rows.start, columns.stop - columns.start

    def cut(self, image: AnyArray) -> AnyArray:
        """Return the box of an image (..., rows, columns), with the background outside the lungs.

        It is float32 if the background is a float, which the dtype of the image may not hold.
        """
        cropped = image[..., self.box[0], self.box[1]]
        if self.inside is None:
            return np.ascontiguousarray(cropped)
        value = cropped.min() if self.background is None else self.background
        dtype = np.float32 if isinstance(self.background, float) else cropped.dtype
        return np.where(self.inside, cropped, np.asarray(value, dtype)).astype(dtype, copy=False)

    def cut_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the box of a mask (rows, columns), with 0 outside the lungs."""
        cropped = mask[self.box]
        if self.inside is None:
            return np.ascontiguousarray(cropped)
        return np.where(self.inside, cropped, np.uint8(0))

    def paste(self, values: AnyArray, shape: Sequence[int]) -> AnyArray:
        """Return an array (..., rows, columns) on the grid of the slice, 0 outside the region."""
        whole = np.zeros((*values.shape[:-2], *shape[-2:]), values.dtype)
        whole[..., self.box[0], self.box[1]] = values
        if self.inside is not None:
            whole[..., self.box[0], self.box[1]] *= self.inside
        return whole


@dataclass(frozen=True, eq=False)
class LungRegion:
    """The part of a scan that the network of a cascade gets.

    Parameters
    ----------
    lungs:
        bool (slices, rows, columns).
    spacing:
        Distance of rows and of columns in mm, or 1 for pixels.
    stage:
        Whether and how slices are cropped and masked.
    background:
        See `SliceRegion`; in the units of the images that are cut.
    """

    lungs: BoolArray
    spacing: tuple[float, float]
    stage: LungStage
    background: float | int | None

    @classmethod
    def of_scan(
        cls, lungs: BoolArray, geometry: Geometry, stage: LungStage, background: float | int | None
    ) -> LungRegion:
        """Return the region of lungs on a grid."""
        _, rows, columns = geometry.spacing if geometry.spacing_known else (1.0, 1.0, 1.0)
        return cls(lungs, (rows, columns), stage, background)

    def box(self) -> tuple[slice, slice] | None:
        """Return rows and columns of all slices; None without lungs.

        The box contains the lungs and the margin, and has the aspect ratio of the network's grid.
        It is not smaller than the grid, unless the slices are, so that no image is magnified.
        """
        found = bounding_box(self.lungs)
        if found is None:
            return None
        shape, grid = self.lungs.shape[1:], self.stage.grid
        if not self.stage.crop:
            return slice(0, shape[0]), slice(0, shape[1])
        margins = [math.ceil(self.stage.margin / step) for step in self.spacing]
        spans = [(s.start - m, s.stop + m) for s, m in zip(found[1:], margins, strict=True)]
        scale = max((stop - start) / side for (start, stop), side in zip(spans, grid, strict=True))
        scale = max(1.0, math.ceil(scale / SIZE_STEP) * SIZE_STEP)
        rows, columns = (
            _widened(span, math.ceil(scale * side), limit)
            for span, side, limit in zip(spans, grid, shape, strict=True)
        )
        return rows, columns

    def slices(self) -> list[SliceRegion | None]:
        """Return the region of each slice; None for slices without lung."""
        box = self.box()
        return [
            None if box is None or not lung.any() else self._of_slice(lung, box)
            for lung in self.lungs
        ]

    def _of_slice(self, lung: BoolArray, box: tuple[slice, slice]) -> SliceRegion:
        if not self.stage.mask:
            return SliceRegion(box)
        inside = np.ascontiguousarray(lung[box])
        if self.stage.margin:
            distance = edt.edt(~inside, anisotropy=self.spacing)
            inside = distance <= self.stage.margin
        return SliceRegion(box, inside, self.background)


def find_lungs(engine: Engine, scan: Scan, progress: Progress | None = None) -> BoolArray:
    """Return the lungs of a scan, bool (slices, rows, columns) of canonical axial slices.

    Training and segmentation with a cascade both call this function.

    Parameters
    ----------
    engine:
        A model of the lungs.
    scan:
        The scan.
    progress:
        Called with the number of slices that are done, and of all slices.

    Raises
    ------
    ScanError
        The voxels cannot be read, or cannot be converted to the units of the model.
    """
    scan = with_input_decision(scan, engine.metadata)
    check_slice_size(scan, scan.geometry.to_canonical().apply_to(scan.geometry))
    found = predict_slices(engine, scan, engine.threshold_level, progress=progress)
    return clean_mask(found.take_lung(), found.hu, calibrated=scan.intensity.calibrated)


def _widened(span: tuple[int, int], size: int, limit: int) -> slice:
    """Return a slice of ``size`` around the middle of a span, moved into 0 to ``limit``."""
    size = min(size, limit)
    start = (span[0] + span[1] - size) // 2
    start = max(0, min(start, limit - size))
    return slice(start, start + size)
