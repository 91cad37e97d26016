"""Augment batches in other threads while a step is computed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from pleura.dataset.training_set import Batch, TrainingSet


class BatchPrefetcher:
    """Batches by epoch and step, each a function of seed, epoch and step alone.

    Parameters
    ----------
    training_set:
        The images.
    batch_size, seed:
        Of the recipe.
    workers:
        Threads, and batches that are prefetched.
    """

    def __init__(self, training_set: TrainingSet, batch_size: int, seed: int, workers: int) -> None:
        self.training_set = training_set
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.steps: int = len(training_set) // batch_size
        """Steps per epoch."""
        self._executor = ThreadPoolExecutor(workers)
        self._batches: dict[tuple[int, int], Future[tuple[int, Batch]]] = {}

    def __enter__(self) -> BatchPrefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._executor.shutdown()

    def get(self, epoch: int, step: int) -> tuple[int, Batch]:
        """Return the seed of dropout and the batch of a step; prefetch those of the next steps."""
        first = epoch * self.steps + step
        steps = [divmod(first + i, self.steps) for i in range(self.workers + 1)]
        self._batches = {
            s: self._batches.get(s) or self._executor.submit(self._sample, *s) for s in steps
        }
        return self._batches[steps[0]].result()

    def _sample(self, epoch: int, step: int) -> tuple[int, Batch]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.training_set))
        rng = np.random.default_rng((self.seed, epoch, step + 1))
        torch_seed = int(rng.integers(1 << 62))
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        return torch_seed, self.training_set.sample_batch(chosen, rng)
