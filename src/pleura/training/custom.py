"""Networks, losses, augmentations and schedules that replace those of the recipe."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from pleura.dataset.augmentation import AugmentationFunction
from pleura.dataset.training_set import PreprocessedSet
from pleura.errors import RunError, first_line
from pleura.network.tiling import SegmentationNetwork
from pleura.training.compute import ComputeDevice
from pleura.typing import FloatArray, TargetArray

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Loss of float32 logits and targets in [0, 1], both (n, 1, rows, columns), as a scalar tensor.
With `data.labels`, the logits are (n, 1 + labels, rows, columns), background first, and the targets
are class indices, int64 (n, rows, columns), as for `torch.nn.CrossEntropyLoss`. With
`data.overlap`, both are float32 (n, labels, rows, columns)."""

ScheduleFunction = Callable[[int], float]
"""Learning rate of an epoch, counted from 0."""


class CustomComponents(TypedDict, total=False):
    """Components of a training that replace those of the recipe; the run records their names."""

    network: nn.Module
    """Maps float32 images (n, 1, rows, columns) to logits of the same shape; with `data.labels`,
    to (n, 1 + labels, rows, columns), or with `data.overlap` to (n, labels, rows, columns). With
    `data.context`, the images have one channel for each
    slice. It is copied."""
    loss: LossFunction
    """Maps float32 logits and targets in [0, 1], both (n, 1, rows, columns), to a scalar tensor;
    with `data.labels`, see `LossFunction`."""
    augmentation: AugmentationFunction
    """Maps a preprocessed image and its mask, float32 (rows, columns), and a random number
    generator to the augmented image and mask; called in several threads. With `data.labels`, the
    mask is uint8, or with `data.overlap` a bit field, uint16, and a function that mirrors images
    has to exchange right and left labels. With `data.context`, the image is
    (channels, rows, columns)."""
    schedule: ScheduleFunction
    """Maps an epoch, counted from 0, to the learning rate of all its steps."""


def component_names(components: CustomComponents) -> dict[str, str]:
    """Return the qualified name of each component, such as ``my_package.MyUNet``."""
    return {kind: _qualified_name(component) for kind, component in components.items()}


def _qualified_name(component: object) -> str:
    named = component if inspect.isroutine(component) else type(component)
    return f"{named.__module__}.{named.__qualname__}"


def require_same_components(
    components: CustomComponents, record: Mapping[str, Any], folder: Path
) -> None:
    """Require the custom components with which a run was started.

    Raises
    ------
    RunError
        A component is missing or has another name.
    """
    given, recorded = component_names(components), record.get("custom", {})
    for kind in CustomComponents.__annotations__:
        if given.get(kind) == recorded.get(kind):
            continue
        if kind not in recorded:
            raise RunError(
                f"the run has no custom {kind}", where=folder, hint=f"omit the argument {kind}"
            )
        other = f", not {given[kind]}" if kind in given else ""
        raise RunError(
            f"the run was started with the custom {kind} {recorded[kind]}{other}",
            where=folder,
            hint=f"pass the same component as {kind}=...",
        )


def check_components(
    components: CustomComponents,
    network: SegmentationNetwork,
    compute: ComputeDevice,
    images: FloatArray,
    masks: TargetArray,
) -> None:
    """Check the shapes and the loss of one forward pass.

    Parameters
    ----------
    components:
        The custom components.
    network:
        The network of the training.
    compute:
        Device and precision of the training.
    images, masks:
        Preprocessed images and masks.

    Raises
    ------
    RunError
        The network fails, or its output has another shape than required; or the loss is not a
        finite scalar that depends on the logits.
    DataError
        The augmentation changes the shape of an image or mask.
    """
    if "augmentation" in components:
        augmented = PreprocessedSet(images, masks, components["augmentation"])
        augmented.sample_batch(np.arange(1), np.random.default_rng(0))
    targets = compute.targets(masks)
    logits = torch.zeros(_shape_of_logits(network, images), device=compute.device)
    if "network" in components:
        logits = _logits(network, compute, images)
    if "loss" in components:
        _check_loss(components["loss"], logits.detach().requires_grad_(), targets)


def check_schedule(schedule: ScheduleFunction, epochs: int) -> None:
    """Check the learning rate of each epoch.

    Raises
    ------
    RunError
        The schedule fails, or a learning rate is not a finite number from 0.
    """
    for epoch in range(epochs):
        try:
            rate = float(schedule(epoch))
        except Exception as error:
            raise RunError(
                f"the custom schedule fails on epoch {epoch}: {first_line(error)}",
                where="schedule",
                hint="make it return a learning rate for each epoch, counted from 0",
            ) from error
        if not math.isfinite(rate) or rate < 0:
            raise RunError(
                f"the custom schedule returns {rate} for epoch {epoch}",
                where="schedule",
                hint="return a learning rate that is finite and not negative",
            )


def _logits(network: SegmentationNetwork, compute: ComputeDevice, images: FloatArray) -> Tensor:
    expected = _shape_of_logits(network, images)
    shape = len(images), network.inputs, *images.shape[-2:]
    network.eval()  # in training mode, the pass would change the statistics of normalisation
    try:
        with torch.no_grad(), compute.mixed_precision():
            logits = network(compute.tensor(images, network))
    except Exception as error:
        raise RunError(
            f"the custom network fails on images of shape {shape}: {first_line(error)}",
            where="network",
            hint=f"make it accept images (n, {network.inputs}, rows, columns) of the recipe's "
            "preprocessing.size",
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != expected:
        output = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RunError(
            f"the custom network maps images of shape {shape} to {output}",
            where="network",
            hint=f"return logits of shape {expected}",
        )
    return logits.float()


def _shape_of_logits(network: SegmentationNetwork, images: FloatArray) -> tuple[int, ...]:
    return (len(images), network.outputs, *images.shape[-2:])


def _check_loss(loss_function: LossFunction, logits: Tensor, targets: Tensor) -> None:
    try:
        loss = loss_function(logits, targets)
    except Exception as error:
        raise RunError(
            f"the custom loss fails on logits of shape {tuple(logits.shape)}: {first_line(error)}",
            where="loss",
            hint=f"make it accept {targets.dtype} targets of shape {tuple(targets.shape)}",
        ) from error
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise RunError(
            "the custom loss is not a scalar tensor that depends on the logits",
            where="loss",
            hint="return the mean over all pixels, without detach() or item()",
        )
    if not torch.isfinite(loss):
        raise RunError(
            f"the custom loss is {float(loss.detach())} before the first step",
            where="loss",
            hint="make it accept logits of any size and all targets",
        )
