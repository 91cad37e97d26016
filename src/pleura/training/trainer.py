"""The training loop.

All random numbers are functions of seed, epoch and step, so that resuming at any step results in
the same weights.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pleura.dataset.border_weights import border_weights, class_balance
from pleura.dataset.lung_input import LungInput
from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import Pair
from pleura.dataset.preprocessing import (
    PreprocessedPairs,
    preprocess_image,
    resample_probability,
)
from pleura.dataset.training_set import TrainingSet, build_training_set
from pleura.errors import DivergedError
from pleura.figures.curves import curves_figure
from pleura.figures.plots import save_figure
from pleura.network.ensemble import class_probabilities
from pleura.network.weight_names import names_in_file
from pleura.segmentation.lung_region import SliceRegion
from pleura.training.callbacks import StepReport, TrainingCallbacks
from pleura.training.class_dice import ClassDice
from pleura.training.compute import ComputeDevice, reuse_freed_memory
from pleura.training.custom import CustomComponents, LossFunction, ScheduleFunction
from pleura.training.data import TrainingData, named
from pleura.training.history import best_epoch, write_history
from pleura.training.interrupt import interrupt_flag
from pleura.training.loss import class_weights, recipe_loss
from pleura.training.prefetch import BatchPrefetcher
from pleura.training.processes import Processes
from pleura.training.recipe import Recipe
from pleura.training.run import Run, open_run
from pleura.training.schedule import cycle_ends, learning_rate
from pleura.training.state import TrainingState, freeze_batch_norm
from pleura.training.tensor_files import save_tensors
from pleura.training.tensorboard import event_writer, remove_host_name, write_epoch
from pleura.training.threshold import best_class_thresholds, best_threshold
from pleura.typing import FloatArray, TargetArray

_logger = logging.getLogger(__name__)

_GPU_WORKERS = 4
"""Threads that sample batches for a GPU."""


class Trainer:
    """Trains the network of a run: one step, one epoch, or all of them."""

    def __init__(
        self,
        run: Run,
        data: TrainingData,
        state: TrainingState,
        callbacks: TrainingCallbacks,
        processes: Processes,
        components: CustomComponents,
    ) -> None:
        self.recipe: Recipe = run.recipe
        self.callbacks = callbacks
        self.processes = processes
        self.compute: ComputeDevice = ComputeDevice(self.recipe.training)
        self.run: Run = run
        self.custom_loss: LossFunction | None = components.get("loss")
        if isinstance(self.custom_loss, nn.Module):  # with weights or buffers
            self.custom_loss = copy.deepcopy(self.custom_loss).to(self.compute.device)
        self.custom_schedule: ScheduleFunction | None = components.get("schedule")
        self._record(device=self.compute.device.type, precision=self.compute.precision)
        split, prepared = data.split, data.prepared
        augmentation = components.get("augmentation", self.recipe.augmentation)
        self.training_set: TrainingSet = build_training_set(
            data.pairs,
            prepared,
            split.training,
            augmentation,
            self.recipe.simulation,
            callbacks.on_read,
            self.recipe.mirrored,
        )
        self.lungs: LungInput | None = data.lungs
        self.validation_pairs: list[Pair] = named(data.pairs, split.validation)
        self.prepared: PreprocessedPairs = prepared
        self.validation_rows: NDArray[np.intp] = prepared.rows(split.validation)
        self.state = state
        self.logits_of: Callable[[Tensor], Tensor] = processes.network(state.network)
        self.stopped: bool = False
        self.epochs: int = self.recipe.training.epochs
        self.batch: int = min(self.recipe.training.batch_size, len(self.training_set))
        processes.check_batch(self.batch)
        # On a CPU one thread is fast enough, and more would slow the training down.
        cpu = self.compute.device.type == "cpu"
        workers = 1 if cpu else min(_GPU_WORKERS, os.cpu_count() or 1)
        seed = self.recipe.training.seed
        self.batches: BatchPrefetcher = BatchPrefetcher(
            self.training_set, self.batch, seed, workers
        )
        self.steps: int = self.batches.steps
        self.classes: list[str] = [label.name for label in self.recipe.data.classes]
        rows = prepared.rows(split.training) if self.recipe.loss.border_weights else ()
        self.balance: tuple[float, float] = class_balance(_binary(prepared.masks[i]) for i in rows)
        weights = class_weights(self.recipe.loss, self.classes)
        if weights is not None and self.recipe.data.overlap:
            weights = weights[1:]  # without background
        self.class_weights: Tensor | None = (
            None if weights is None else weights.to(self.compute.device)
        )

    def fit(self) -> Run:
        """Train to the last epoch, or to the step at which it is stopped, and save."""
        if self.callbacks.on_start is not None:
            self.callbacks.on_start(self.run)
            self.run = open_run(self.run.folder, self.run.network)
        try:
            with (
                self.batches,
                reuse_freed_memory(),
                interrupt_flag() as stop,
                self._event_writer() as writer,
            ):
                while not (self.stopped or self._is_complete()):
                    if self._train_epoch(stop):
                        row = self._close_epoch()
                        write_epoch(writer, row, self.state.epoch)
                        if self.callbacks.on_epoch is not None:
                            self.callbacks.on_epoch(row)
                    self.processes.on_rank_zero(self._save)
            self.processes.on_rank_zero(self._close)
        finally:
            if self.callbacks.on_end is not None:
                self.callbacks.on_end(self.run)
        return open_run(self.run.folder, self.run.network)

    def _is_complete(self) -> bool:
        """Return whether the last epoch is trained, or the validation loss falls no longer."""
        patience, history = self.recipe.training.patience, self.state.history
        waited = len(history) - 1 - best_epoch(history) if history else 0
        return self.state.epoch >= self.epochs or (patience is not None and waited >= patience)

    def _event_writer(self) -> AbstractContextManager[Any]:
        if not self.processes.is_rank_zero:
            return nullcontext()
        return event_writer(self.run.folder / "tensorboard", self.state.epoch + 1)

    def _record(self, **changes: Any) -> None:
        self.run = self.processes.on_rank_zero(lambda: self.run.update(**changes)) or self.run

    def _save(self) -> None:
        save_tensors(self.run.checkpoint, self.state.to_dict())
        write_history(self.run.folder, self.state.history)

    def _train_epoch(self, stop: threading.Event) -> bool:
        """Train the rest of an epoch; return False if it was stopped before the last step."""
        state = self.state
        state.network.train()
        if self.recipe.training.freeze_batch_norm:
            freeze_batch_norm(state.network)
        while state.step < self.steps:
            (requested,) = self.processes.mean(float(stop.is_set()))
            if requested:
                self.stopped = True
                return False
            begin = time.perf_counter()
            rate = self._learning_rate(state.step)
            torch_seed, batch = self.batches.get(state.epoch, state.step)
            torch.manual_seed(torch_seed + self.processes.rank)
            loss, accuracy = self._train_step(*batch, rate)
            state.step += 1
            state.loss_sum += loss
            state.accuracy_sum += accuracy
            state.seconds += time.perf_counter() - begin
            if self.callbacks.on_step is not None:
                mean = state.loss_sum / state.step, state.accuracy_sum / state.step
                place = state.epoch + 1, self.epochs, state.step, self.steps
                self.callbacks.on_step(StepReport(*place, *mean, rate))
        return True

    def _train_step(
        self, images: FloatArray, masks: TargetArray, rate: float
    ) -> tuple[float, float]:
        """Take one step and return its loss and accuracy."""
        images, masks = self.processes.share(images), self.processes.share(masks)
        recipe, state = self.recipe, self.state
        targets = self.compute.targets(masks, len(self.classes))
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        state.optimiser.zero_grad()
        with self.compute.mixed_precision():
            logits = self.logits_of(self.compute.tensor(images, state.network))
        logits = logits.float()
        loss = self._loss(logits, targets, masks)
        mean_loss, accuracy = self.processes.mean(
            float(loss.detach()), accuracy_of(logits.detach(), targets)
        )
        if not math.isfinite(mean_loss):  # the mean over all processes, so that all of them stop
            raise DivergedError(
                f"the training diverged: the loss of epoch {state.epoch + 1} is not finite",
                where=self.run.folder,
                hint="lower schedule.learning_rate; the last good checkpoint is kept",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        state.update_average(recipe.training.ema_decay, state.epoch * self.steps + state.step)
        return mean_loss, accuracy

    def _loss(
        self, logits: Tensor, targets: Tensor, training_masks: TargetArray | None = None
    ) -> Tensor:
        """Return the loss of a step, or without ``training_masks`` of a validation batch."""
        if self.custom_loss is not None:
            return self.custom_loss(logits, targets)
        recipe = self.recipe.loss
        weights = self.class_weights
        if training_masks is None:
            return recipe_loss(logits, targets, recipe, weights)
        if recipe.border_weights:
            weights = self._pixel_weights(training_masks)
        return recipe_loss(logits, targets, recipe, weights, self.processes.all_reduce)

    def _pixel_weights(self, masks: TargetArray) -> Tensor:
        sigma = self.recipe.loss.border_sigma
        maps = [border_weights(m, sigma=sigma, balance=self.balance) for m in _binary(masks)]
        return self.compute.maps(np.stack(maps))

    def _close_epoch(self) -> dict[str, float]:
        """Validate, append the epoch to the history, and step to the next epoch."""
        state = self.state
        ends = cycle_ends(self.recipe.schedule, self.epochs)
        if len(ends) > 1 and state.epoch + 1 in ends:
            state.end_cycle(last=state.epoch + 1 == self.epochs)
        loss = accuracy = 0.0
        class_dice = ClassDice(self.classes)
        for i in range(0, len(self.validation_rows), self.batch):
            chosen = self.validation_rows[i : i + self.batch]
            logits = self.compute.logits(state.validated_network, self.prepared.images[chosen])
            targets = self.compute.targets(self.prepared.masks[chosen], len(self.classes))
            share = len(logits) / len(self.validation_rows)
            loss += share * float(self._loss(logits, targets))
            accuracy += share * accuracy_of(logits, targets)
            if self.classes:
                class_dice.add(logits, targets)
        row = {
            "epoch": state.epoch + 1,
            "loss": state.loss_sum / self.steps,
            "accuracy": state.accuracy_sum / self.steps,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "learning_rate": self._learning_rate(self.steps - 1),
            "seconds": state.seconds,
            **class_dice.row(),
        }
        state.history.append(row)
        if (
            self.recipe.training.final_weights == "best"
            and row is state.history[best_epoch(state.history)]
        ):
            state.keep_best_weights()
        state.epoch += 1
        if self.processes.is_rank_zero:
            text = "Epoch %d of %d: loss %.4f, validation loss %.4f, validation accuracy %.4f"
            _logger.info(text, state.epoch, self.epochs, row["loss"], loss, accuracy)
        state.step = 0
        state.loss_sum = state.accuracy_sum = state.seconds = 0.0
        return row

    def _close(self) -> None:
        """Save the weights and the curves, and choose the threshold."""
        state, run = self.state, self.run
        if state.best_weights:
            state.validated_network.load_state_dict(state.best_weights)
        remove_host_name(run.folder / "tensorboard")
        write_history(
            run.folder, state.history
        )  # a killed process may have saved the checkpoint alone
        network = state.validated_network
        save_tensors(run.weights, {"network": names_in_file(network.state_dict(), network)})
        if state.history:
            save_figure(curves_figure(state.history), run.folder / "curves.png")
        if self.recipe.evaluation.tune_threshold:
            predictions = self._predict_validation()
            if classes := self.recipe.data.classes:
                run = run.update(thresholds=best_class_thresholds(predictions, classes))
            else:
                run = run.update(threshold=best_threshold(predictions))
        self.run = run.update(finished=self._is_complete())
        _logger.info("Saved the run after epoch %d of %d", state.epoch, self.epochs)

    def _predict_validation(self) -> Iterator[tuple[FloatArray, NDArray[np.uint8]]]:
        """Yield probability and reference of each validation image, on the image's own grid.

        With several classes, the probabilities are (classes, rows, columns).
        """
        overlap = self.recipe.data.overlap
        reader = PairReader(self.recipe.data.classes, self.recipe.data.context.slice_context)
        for pair in self.validation_pairs:
            image, mask = reader.read(pair)
            region = SliceRegion.whole(mask.shape)
            if self.lungs is not None:
                found = self.lungs.region(pair, mask.shape)
                if found is None:  # no threshold changes its mask
                    continue
                region = found
            stack = region.cut(reader.read_input(pair, image))
            prepared = preprocess_image(stack, self.recipe.preprocessing, str(pair.image))
            logits = self.compute.logits(self.state.validated_network, prepared[None])
            maps = [
                region.paste(
                    resample_probability(one, region.shape, self.recipe.preprocessing), mask.shape
                )
                for one in class_probabilities(logits, overlap)[0].cpu().numpy()
            ]
            yield np.stack(maps[0 if overlap else 1 :]) if self.classes else maps[0], mask

    def _learning_rate(self, step: int) -> float:
        if self.custom_schedule is not None:
            return float(self.custom_schedule(self.state.epoch))
        recipe = self.recipe.schedule
        return learning_rate(recipe, self.state.epoch, step, self.epochs, self.steps)


def _binary(masks: TargetArray) -> NDArray[np.uint8]:
    return (masks > 0.5).astype(np.uint8)


def accuracy_of(logits: Tensor, targets: Tensor) -> float:
    """Return the fraction of pixels that probability 0.5, or the likeliest class, has right."""
    if not targets.is_floating_point():
        return float((logits.argmax(1) == targets).float().mean())
    return float(((logits > 0) == (targets > 0.5)).float().mean())
