"""Training curves: loss, accuracy and learning rate over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pleura.figures.palette import TRAINING, VALIDATION


def curves_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss and accuracy of training and validation, and the learning rate below."""
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
    axes["rate"].step(
        epochs, [max(row["learning_rate"], 1e-30) for row in history], color="0.3", where="mid"
    )
    axes["rate"].set_yscale("log")
    axes["rate"].set_ylabel("learning rate")
    axes["rate"].set_xlabel("epoch")
    axes["rate"].grid(alpha=0.3)
    return figure
