"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pleura.figures.backend import Axes, Figure
from pleura.figures.palette import TEXT, TRAINING, VALIDATION, label_colour

CLASS_DICE = "validation_dice_"
"""Prefix of the columns with the Dice of a class."""

_LABELS = {"loss": "Loss", "accuracy": "Accuracy (fraction of pixels)"}


def curves_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Plot loss and accuracy of training and validation set, and the learning rate, by epoch.

    Parameters
    ----------
    history:
        One row per epoch with ``epoch``, ``loss``, ``validation_loss``, ``accuracy``,
        ``validation_accuracy`` and ``learning_rate``; with several classes also
        ``validation_dice_NAME`` of each, which is then plotted.
    """
    epochs = [row["epoch"] for row in history]
    classes = [key for key in history[0] if key.startswith(CLASS_DICE)]
    figure = Figure(figsize=(13 if classes else 9, 5), layout="constrained")
    mosaic: list[Any] = [["loss", "accuracy"], ["rate", "rate"]]
    if classes:
        mosaic = [["loss", "accuracy", "dice"], ["rate", "rate", "rate"]]
    axes = figure.subplot_mosaic(mosaic, height_ratios=[3, 1], sharex=True)
    marker = "o" if len(history) == 1 else None
    for i, key in enumerate(classes):
        values = [row[key] for row in history]
        axes["dice"].plot(
            epochs,
            values,
            color=label_colour(i + 1),
            label=key.removeprefix(CLASS_DICE),
            marker=marker,
            linewidth=2,
        )
    if classes:
        _style(axes["dice"], "Validation Dice of each label")
        axes["dice"].tick_params(labelbottom=True)
        axes["dice"].legend(frameon=False, labelcolor=TEXT)
    for name, label in _LABELS.items():
        for key, colour, line in (
            (name, TRAINING, "training"),
            (f"validation_{name}", VALIDATION, "validation"),
        ):
            values = [row[key] for row in history]
            axes[name].plot(epochs, values, color=colour, label=line, marker=marker, linewidth=2)
        _style(axes[name], label)
        axes[name].tick_params(labelbottom=True)
        axes[name].legend(frameon=False, labelcolor=TEXT)
    axes["loss"].set_yscale("log")
    rates = [max(row["learning_rate"], 1e-30) for row in history]
    axes["rate"].step(epochs, rates, color=TEXT, where="mid")
    axes["rate"].set_yscale("log")
    _style(axes["rate"], "Learning rate")
    return figure


def _style(axes: Axes, label: str) -> None:
    """Label the axes in the style of the reports: a title at the left, and no frame."""
    axes.set_title(label, loc="left", fontsize=10, fontweight="bold", color=TEXT)
    axes.set_xlabel("Epoch", color=TEXT)
    axes.tick_params(colors=TEXT, length=3)
    axes.grid(color="0.88")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color("0.6")
