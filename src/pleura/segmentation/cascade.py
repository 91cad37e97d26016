"""Inference of a cascade: its network runs inside the lungs, which another model finds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.engine.engine import Engine
from pleura.errors import ModelError
from pleura.scan.labels import Label
from pleura.scan.scan import Scan
from pleura.segmentation.inference import SlicePredictions, read_batches, releasing_reader
from pleura.segmentation.lung_region import LungRegion, SliceRegion, find_lungs
from pleura.typing import BoolArray, Progress


@dataclass(frozen=True, eq=False)
class Cascade:
    """The two loaded models of a cascade.

    Parameters
    ----------
    lungs:
        The model of the lungs.
    classes:
        The model of the classes inside the lungs.
    """

    lungs: Engine
    classes: Engine

    def predict(
        self,
        scan: Scan,
        labels: Sequence[Label],
        *,
        keep_probability: bool = False,
        release_voxels: bool = False,
        progress: Progress | None = None,
    ) -> SlicePredictions:
        """Predict the canonical axial slices of a scan.

        Parameters
        ----------
        scan, keep_probability, release_voxels, progress:
            As for `predict_slices`; each slice counts twice in the progress.
        labels:
            The classes with their thresholds.

        Returns
        -------
        SlicePredictions
            Of the classes, with the lungs. Outside their region, all probabilities are 0.

        Raises
        ------
        ScanError, ModelError
            As `predict_slices`.
        """

        def report(done: int, total: int) -> None:
            if progress is not None:
                progress(done, 2 * total)

        start = time.perf_counter()
        lungs = find_lungs(self.lungs, scan, report)
        region = self._region(lungs, scan)
        order = scan.geometry.to_canonical()
        geometry = order.apply_to(scan.geometry)
        predictions = SlicePredictions.empty(geometry, keep_probability, labels)
        predictions.lungs = lungs
        predictions.waiting_seconds = time.perf_counter() - start
        read = releasing_reader(scan, self.classes.metadata, release_voxels)
        slices, total = region.slices(), geometry.shape[0]
        for first, arrays in read_batches(read, order, geometry, lambda: None):
            before = time.perf_counter()
            probability = self._probability(arrays[-1], slices[first : first + len(arrays[0])])
            predictions.waiting_seconds += time.perf_counter() - before
            predictions.store(first, arrays[0], probability, labels)
            report(total + first + len(arrays[0]), total)
        return predictions

    def _region(self, lungs: BoolArray, scan: Scan) -> LungRegion:
        stage = self.classes.metadata.lungs
        if stage is None:
            raise ModelError(
                "the model is not a cascade",
                where=None,
                hint="train with the recipe key data.lungs, and export the run",
            )
        geometry = scan.geometry.to_canonical().apply_to(scan.geometry)
        return LungRegion.of_scan(lungs, geometry, stage, stage.background)

    def _probability(
        self, values: NDArray[np.int16], regions: Sequence[SliceRegion | None]
    ) -> NDArray[np.uint8]:
        """Return the probabilities of a batch of slices, uint8 (slices, classes, rows, columns)."""
        probability = np.zeros(self.classes.output_shape(values.shape), np.uint8)
        chosen = [(i, region) for i, region in enumerate(regions) if region is not None]
        if chosen:
            cut = np.stack([region.cut(values[i]) for i, region in chosen])
            for (i, region), maps in zip(chosen, self.classes.probability(cut), strict=True):
                probability[i] = region.paste(maps, values.shape)
        return probability
