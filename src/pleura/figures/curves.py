"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pleura.figures.backend import Figure
from pleura.figures.palette import TRAINING, VALIDATION


def curves_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Plot loss and accuracy of training and validation set, and the learning rate, by epoch.

    Parameters
    ----------
    history:
        One row per epoch with ``epoch``, ``loss``, ``validation_loss``, ``accuracy``,
        ``validation_accuracy`` and ``learning_rate``.
    """
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplot_mosaic(
        [["loss", "accuracy"], ["rate", "rate"]], height_ratios=[3, 1], sharex=True
    )
    marker = "o" if len(history) == 1 else None
    for name in ("loss", "accuracy"):
        for key, colour, label in (
            (name, TRAINING, "training"),
            (f"validation_{name}", VALIDATION, "validation"),
        ):
            values = [row[key] for row in history]
            axes[name].plot(epochs, values, color=colour, label=label, marker=marker)
        axes[name].set_title(name)
        axes[name].set_xlabel("epoch")
        axes[name].tick_params(labelbottom=True)
        axes[name].grid(alpha=0.3)
        axes[name].legend(frameon=False)
    axes["loss"].set_yscale("log")
    rates = [max(row["learning_rate"], 1e-30) for row in history]
    axes["rate"].step(epochs, rates, color="0.3", where="mid")
    axes["rate"].set_yscale("log")
    axes["rate"].set_ylabel("learning rate")
    axes["rate"].set_xlabel("epoch")
    axes["rate"].grid(alpha=0.3)
    return figure
