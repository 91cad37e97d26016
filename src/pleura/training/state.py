"""The state of a training, as a checkpoint stores it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pleura.errors import RecipeError, RunError
from pleura.network.build import build_network
from pleura.network.custom import CustomNetwork
from pleura.network.tiling import SegmentationNetwork
from pleura.network.weight_names import rename_weights
from pleura.training.compute import ComputeDevice
from pleura.training.initial_weights import load_initial_weights
from pleura.training.recipe import OptimiserRecipe, Recipe
from pleura.training.run import Run
from pleura.training.run_files import is_run
from pleura.training.tensor_files import load_tensors
from pleura.typing import StrPath


@dataclass
class TrainingState:
    """Everything that changes during a training, and that a checkpoint stores.

    Parameters
    ----------
    network, optimiser:
        Their weights and their state are updated in each step.
    average:
        The network with the exponential moving average of the weights; None without one.
    epoch, step:
        Number of completed epochs, and of completed steps of the current epoch.
    loss_sum, accuracy_sum, seconds:
        Sums over the steps of the current epoch.
    history:
        One row per completed epoch.
    cycle_weights:
        The weights at the end of each completed cycle of the learning rate.
    best_weights:
        The weights of the epoch with the lowest validation loss, if the recipe requires them.
    initial_weights:
        Which weights were loaded before the first step; not in the checkpoint.
    """

    network: SegmentationNetwork
    optimiser: torch.optim.Optimizer
    average: SegmentationNetwork | None
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    accuracy_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    cycle_weights: list[dict[str, torch.Tensor]] = field(default_factory=list)
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    initial_weights: str = ""

    @property
    def validated_network(self) -> SegmentationNetwork:
        """The network that is validated and saved at the end: the average if there is one."""
        return self.network if self.average is None else self.average

    def update_average(self, decay: float, updates: int) -> None:
        """Update the exponential moving average of the weights; integers are copied.

        The decay is at most (1 + updates) / (10 + updates), so that the average does not depend on
        the initial weights.
        """
        if self.average is None:
            return
        decay = min(decay, (1 + updates) / (10 + updates))
        new = self.network.state_dict()
        for name, old in self.average.state_dict().items():
            if old.dtype.is_floating_point:
                old.lerp_(new[name], 1 - decay)
            else:
                old.copy_(new[name])

    def end_cycle(self, *, last: bool) -> None:
        """Store the weights at the end of a cycle; after the last, set the weights to their mean.

        References
        ----------
        Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI
        2018.
        """
        weights = self.validated_network.state_dict()
        self.cycle_weights.append(self._copy_of_weights())
        if not last:
            return
        for name, value in weights.items():
            if value.dtype.is_floating_point:
                value.copy_(torch.stack([end[name] for end in self.cycle_weights]).mean(0))

    def keep_best_weights(self) -> None:
        """Store the weights of the epoch that was validated last."""
        self.best_weights = self._copy_of_weights()

    def _copy_of_weights(self) -> dict[str, torch.Tensor]:
        weights = self.validated_network.state_dict()
        return {name: value.cpu().clone() for name, value in weights.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "accuracy_sum": self.accuracy_sum,
            "seconds": self.seconds,
            "history": self.history,
            "cycle_weights": self.cycle_weights,
            "best_weights": self.best_weights,
        }

    def load_dict(self, saved: dict[str, Any]) -> None:
        """Load the content of a checkpoint."""
        self.network.load_state_dict(rename_weights(saved["network"], self.network))
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(rename_weights(saved["average"], self.average))
        for name in ("epoch", "step", "loss_sum", "accuracy_sum", "seconds", "history"):
            setattr(self, name, saved[name])
        # "ends" in earlier checkpoints; the earliest had no cycles.
        cycle_weights = saved.get("cycle_weights", saved.get("ends", []))
        self.cycle_weights = [rename_weights(weights, self.network) for weights in cycle_weights]
        self.best_weights = saved.get("best_weights", {})


def trained_network(run: Run) -> SegmentationNetwork:
    """Return the network of a run with its final weights.

    Raises
    ------
    RunError
        The weights are missing, unreadable, or of another network; or the custom network of the
        run is not known.
    """
    custom = run.record.get("custom", {}).get("network")
    if custom is not None and run.network is None:
        raise RunError(
            f"the run folder does not contain the custom network {custom} of the run",
            where=run.folder,
            hint="in Python, pass pleura.open_run(folder, network=...) instead of the folder",
        )
    network = _new_network(run.recipe, run.network)
    try:
        network.load_state_dict(rename_weights(load_tensors(run.weights)["network"], network))
    except (KeyError, RuntimeError) as error:
        raise RunError(
            "the weights do not fit the network of the run",
            where=run.weights,
            hint="restore the folder from a copy, or train again",
        ) from error
    return network


def _new_network(recipe: Recipe, custom: nn.Module | None) -> SegmentationNetwork:
    sizes = recipe.data.outputs, recipe.data.inputs
    network = (
        build_network(recipe.network, *sizes) if custom is None else CustomNetwork(custom, *sizes)
    )
    network.overlap = recipe.data.overlap
    return network


def initial_state(
    recipe: Recipe,
    initial_weights: StrPath | None = None,
    custom_network: nn.Module | None = None,
) -> TrainingState:
    """Return the state before the first step, determined by the recipe and the initial weights."""
    compute = ComputeDevice(recipe.training)
    torch.manual_seed(recipe.training.seed)
    network = _new_network(recipe, custom_network)
    loaded = ""
    if initial_weights is not None:
        if not (is_run(initial_weights) or recipe.training.freeze_batch_norm):
            _require_no_batch_norm(network, str(initial_weights))
        names = [label.name for label in recipe.data.classes]
        loaded = load_initial_weights(network, initial_weights, names)
    network = compute.place(network)
    average = copy.deepcopy(network).requires_grad_(False) if recipe.training.ema_decay else None
    optimiser = _optimiser(network, recipe.optimiser)
    return TrainingState(network, optimiser, average, initial_weights=loaded)


def _require_no_batch_norm(network: SegmentationNetwork, where: str) -> None:
    """Refuse weights of a model file for a network whose normalisation changes in the training.

    Convolutions of a model file contain the batch normalisation. With the statistics of a batch,
    the network would compute something else: Dice 0.62 instead of 0.97 for `default` on the sample.
    """
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise RecipeError(
            "the weights of a model file require fixed statistics of batch normalisation",
            where=where,
            hint="add --set training.freeze_batch_norm=true, or pass a run folder",
        )


def freeze_batch_norm(network: SegmentationNetwork) -> None:
    """Set batch normalisation to evaluation mode, so that its statistics do not change."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.SyncBatchNorm):
            module.eval()


def _optimiser(network: SegmentationNetwork, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    if recipe.name == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, fused=True)
    if recipe.name == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=recipe.weight_decay, fused=True)
    # Epsilon as in Keras; the default of PyTorch is 1e-8.
    return torch.optim.Adam(parameters, eps=1e-7, fused=True)
