"""Recipes: everything that defines a training, written in YAML."""

from __future__ import annotations

from html import escape
from typing import Annotated, Literal

import yaml
from pydantic import (
    Field,
    PositiveInt,
    model_validator,
)

from pleura.dataset.augmentation import Augmentation
from pleura.dataset.data_recipe import DataRecipe, mirror_bits, mirror_table
from pleura.dataset.preprocessing import Preprocessing
from pleura.dataset.recipe_model import RecipeModel
from pleura.dataset.simulation import Simulation
from pleura.dataset.splits import SplitRecipe
from pleura.network.recipe import NetworkRecipe

ClassWeight = Annotated[float, Field(gt=0, le=1000)]


class LossRecipe(RecipeModel):
    """Cross-entropy of logits, optionally with weights of pixels or classes, or with a Dice loss.

    It is binary without `data.labels`, and otherwise that of the softmax over the classes; with
    `data.overlap`, it is binary for each class.
    """

    cross_entropy: float = Field(1.0, ge=0)
    """Weight of the cross-entropy."""
    dice: float = Field(0.0, ge=0)
    """Weight of the soft Dice loss (Milletari 2016), over the batch; with `data.labels`, the mean
    over the labels."""
    class_weights: dict[str, ClassWeight] = Field(default={})
    """With `data.labels`: factor of the cross-entropy of the pixels of a class, by the name of its
    label or `background`, such as `{lesion: 3}`; 1 if not given. With `data.overlap`, background
    has no weight."""
    border_weights: bool = False
    """Weight pixels by class balance and the border term (Ronneberger 2015, equation 2); not with
    `data.labels`."""
    border_sigma: float = Field(5.0, gt=0)
    """Width of the border term, in pixels of the network's grid; the paper's 5 is for 512."""

    @model_validator(mode="after")
    def _possible(self) -> LossRecipe:
        if self.cross_entropy + self.dice == 0:
            raise ValueError("cross_entropy and dice are both 0: set one of them above 0")
        return self


class OptimiserRecipe(RecipeModel):
    """Adam at its defaults (Kingma, Ba 2015), with decoupled weight decay, or SGD with momentum."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """`adam` has an epsilon of 1e-7, as Keras; `adamw` and `sgd` have the defaults of PyTorch."""
    weight_decay: float = Field(0.0, ge=0)
    """For `adamw` only."""
    momentum: float = Field(0.99, ge=0, lt=1)
    """For `sgd` only; 0.99 in Ronneberger 2015."""


class ScheduleRecipe(RecipeModel):
    """Learning rate schedule."""

    name: Literal["exponential", "constant", "one-cycle"] = "exponential"
    """`exponential`: `learning_rate` up to and including epoch `decay_after`, times `gamma` for
    each epoch after it; `one-cycle`: linear rise over `warmup_fraction` of the steps, then cosine
    decay to 0."""
    learning_rate: float = Field(0.001, gt=0)
    """The highest rate of the training."""
    decay_after: int = Field(20, ge=0)
    """For `exponential`: the last epoch, counted from 0, at the full rate."""
    gamma: float = Field(0.1, gt=0, le=1)
    """For `exponential`: the factor from one epoch to the next after it."""
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    """For `one-cycle`: the fraction of a cycle's steps in which the rate rises."""
    restarts: tuple[PositiveInt, ...] = ()
    """For `one-cycle`: epochs, counted from 0, in which a new cycle begins, at half the rate
    (Loshchilov, Hutter 2017); those after the last epoch have no effect. The final weights are the
    mean of the weights at the ends of the cycles (Izmailov 2018)."""

    @model_validator(mode="after")
    def _possible(self) -> ScheduleRecipe:
        if list(self.restarts) != sorted(set(self.restarts)):
            raise ValueError("restarts: must be increasing")
        if self.restarts and self.name != "one-cycle":
            raise ValueError("restarts: must be empty unless the schedule is one-cycle")
        return self


class TrainingRecipe(RecipeModel):
    """Epochs, batches, precision, device and final weights."""

    epochs: int = Field(40, ge=1, le=1_000_000)
    """Passes over the training images."""
    batch_size: int = Field(16, ge=1, le=65_536)
    """Images per step. An incomplete last batch of an epoch is dropped."""
    seed: int = Field(220, ge=0, lt=1 << 62)
    """Seed of initial weights, order, augmentation and dropout; the split has its own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bfloat16 if the device is fast in it, else float32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: the first of cuda, mps and cpu that is available."""
    threads: int | None = Field(None, ge=1, le=4096)
    """CPU threads; unset: one per core."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the exponential moving average of the weights that is the result; 0: no average."""
    freeze_batch_norm: bool = False
    """Keep the statistics of batch normalisation: for small, homogeneous data sets, and
    required for initial weights from a model file."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many epochs without a lower validation loss; unset: train all epochs. A
    schedule that lowers the learning rate until the last epoch does not reach its end."""
    final_weights: Literal["last", "best"] = "last"
    """Weights of the result: of the last epoch, or of the epoch with the lowest validation loss."""


Probability = Annotated[float, Field(gt=0, lt=1)]
GridSide = Annotated[int, Field(ge=1, le=4096)]


class EvaluationRecipe(RecipeModel):
    """Thresholds and grids of the evaluation."""

    thresholds: tuple[Probability, ...] = Field((0.1, 0.5), min_length=1, max_length=100)
    """Thresholds of the table; `predict` uses the first one unless `tune_threshold` is set. With
    `data.labels`, each pixel gets its most probable label instead."""
    additional_size: tuple[GridSide, GridSide] | None = None
    """A further grid (rows, columns) to evaluate on, with the nearest-neighbour interpolation
    of the exercise."""
    tune_threshold: bool = False
    """Choose the threshold with the best mean IoU on the validation images, on their grids; with
    `data.labels`, that of each label."""


class Recipe(RecipeModel):
    """Everything that defines a training."""

    name: str
    """Name of the recipe; the file name by default."""
    description: str = ""
    """Purpose of the recipe; `pleura recipe` prints it."""
    data: DataRecipe = DataRecipe()
    preprocessing: Preprocessing = Preprocessing()
    split: SplitRecipe = SplitRecipe()
    augmentation: Augmentation | None = Augmentation()
    """`null`: none."""
    simulation: Simulation | None = None
    """Simulated artefacts, intensity errors and diseases; only for images in HU."""
    network: NetworkRecipe = NetworkRecipe()
    loss: LossRecipe = LossRecipe()
    optimiser: OptimiserRecipe = OptimiserRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    training: TrainingRecipe = TrainingRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.simulation is not None:
            if self.preprocessing.scaling != "window":
                raise ValueError("simulation requires HU: set preprocessing.scaling to window")
            if self.augmentation is None:
                raise ValueError("simulation requires an augmentation")
            if self.data.context.slices:
                raise ValueError(
                    "simulation changes single slices: set data.context.slices to 0, or simulation "
                    "to null"
                )
        if self.data.labels:
            self._check_labels()
        elif self.loss.class_weights:
            raise ValueError("loss.class_weights requires data.labels")
        if self.schedule.restarts and self.training.final_weights == "best":
            raise ValueError(
                "training.final_weights=best excludes schedule.restarts, whose result is a mean"
            )
        return self

    @property
    def mirrored(self) -> tuple[int, ...]:
        """The class of a pixel in a mirrored image, by its class; empty without labels or flips.

        Of classes that may overlap, the bit field of the pixel by its bit field.
        """
        flips = self.augmentation is not None and self.augmentation.flip
        if not (flips and self.data.labels):
            return ()
        table = mirror_table(self.data)
        return mirror_bits(table) if self.data.overlap else table

    def _check_labels(self) -> None:
        """Refuse what is defined for lungs only, and flips of labels without counterpart."""
        if self.simulation is not None:
            raise ValueError("simulation is for lungs only: set it to null to train data.labels")
        if self.loss.border_weights:
            raise ValueError("loss.border_weights is for one class: set it to false")
        background = () if self.data.overlap else ("background",)
        names = {*background, *(label.name for label in self.data.classes)}
        if unknown := sorted(self.loss.class_weights.keys() - names):
            raise ValueError(f"loss.class_weights: '{unknown[0]}' is not the name of a label")
        _ = self.mirrored

    def __repr__(self) -> str:
        rows, columns = self.preprocessing.size
        return (
            f"Recipe({self.name}; network {self.network.architecture}; {rows}x{columns}; "
            f"{self.training.epochs} epochs)"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        style = "font-family: monospace; max-height: 30em; overflow: auto"
        return f'<pre style="{style}">{escape(self.to_yaml())}</pre>'

    def to_yaml(self) -> str:
        """Return the recipe as YAML, with all values."""
        return yaml.dump(
            self.model_dump(mode="json"),
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )


class _Dumper(yaml.SafeDumper):
    """Writes a list of values in one line, such as ``[128, 128]``."""


def _represent_list(dumper: _Dumper, values: list[object]) -> yaml.SequenceNode:
    flow = not any(isinstance(value, dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)


_Dumper.add_representer(list, _represent_list)
