"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pleura.figures.backend import Axes, Figure
from pleura.figures.palette import TEXT, TRAINING, VALIDATION

_LABELS = {"loss": "Loss", "accuracy": "Accuracy (fraction of pixels)"}


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
