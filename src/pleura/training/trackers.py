"""Callbacks that log a training with MLflow or Weights & Biases.

Both log the recipe, without paths, and the values of each epoch. No images, file names or host
names are logged, and nothing is sent to another computer unless a server is set.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pleura.errors import RunError, first_line
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.history import Epoch
from pleura.training.processes import is_rank_zero
from pleura.training.run import Run, without_paths

TrackerName = Literal["mlflow", "wandb"]


def track_with_mlflow(experiment: str = "pleura") -> TrainingCallbacks:
    """Return callbacks that log a training as a run of MLflow.

    The server is ``MLFLOW_TRACKING_URI``; without it, MLflow writes to the current folder. A
    resumed training continues its run.

    Parameters
    ----------
    experiment:
        Name of the experiment.

    Returns
    -------
    TrainingCallbacks
        Pass them to `train`; add your own with ``+``.

    Raises
    ------
    RunError
        MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = _import("mlflow", "mlflow")

    def start(run: Run, earlier: str | None) -> str:
        mlflow.set_experiment(experiment)
        started = mlflow.start_run(run_id=earlier, run_name=run.folder.name)
        if earlier is None:
            mlflow.log_params(_parameters(run))
        return str(started.info.run_id)

    def log(values: Mapping[str, float], epoch: int) -> None:
        mlflow.log_metrics(values, step=epoch)

    def end(run: Run) -> None:
        mlflow.end_run("FINISHED" if run.finished else "KILLED")

    return _tracker("mlflow", start, log, end)


def track_with_wandb(project: str = "pleura") -> TrainingCallbacks:
    """Return callbacks that log a training as a run of Weights & Biases.

    The run is written to the folder ``wandb`` only; set the environment variable ``WANDB_MODE`` to
    ``online`` to send it to the server while it trains. A resumed training continues its run.

    Parameters
    ----------
    project:
        Name of the project.

    Returns
    -------
    TrainingCallbacks
        Pass them to `train`; add your own with ``+``.

    Raises
    ------
    RunError
        Weights & Biases is not installed.
    """
    wandb = _import("wandb", "wandb")
    # No host name, command, packages or system metrics.
    private = {"x_disable_meta": True, "x_disable_stats": True, "x_disable_machine_info": True}
    settings = wandb.Settings(
        mode=os.environ.get("WANDB_MODE", "offline"),
        console="off",
        disable_git=True,
        disable_code=True,
        host="unknown",
        silent=True,
        **{name: value for name, value in private.items() if name in wandb.Settings.model_fields},
    )
    active: list[Any] = []

    def start(run: Run, earlier: str | None) -> str:
        active.append(
            wandb.init(
                project=project,
                name=run.folder.name,
                config=_parameters(run),
                id=earlier,
                resume=None if earlier is None else "allow",
                settings=settings,
            )
        )
        return str(active[0].id)

    def log(values: Mapping[str, float], epoch: int) -> None:
        active[0].log(dict(values), step=epoch)

    def end(run: Run) -> None:
        active.pop().finish(exit_code=0 if run.finished else 1)

    return _tracker("wandb", start, log, end)


def tracking_callbacks(name: TrackerName) -> TrainingCallbacks:
    """Return the callbacks of a tracker.

    Raises
    ------
    RunError
        The tracker is not installed.
    """
    return {"mlflow": track_with_mlflow, "wandb": track_with_wandb}[name]()


def _tracker(
    name: TrackerName,
    start: Callable[[Run, str | None], str],
    log: Callable[[Mapping[str, float], int], None],
    end: Callable[[Run], None],
) -> TrainingCallbacks:
    """Return callbacks of the first process; the run folder records the run of the tracker."""

    def on_start(run: Run) -> None:
        trackers = dict(run.record.get("trackers", {}))
        try:
            trackers[name] = start(run, trackers.get(name))
        # The exceptions of trackers have no common base but Exception.
        except Exception as error:
            raise RunError(
                f"{name} cannot start a run ({first_line(error)})",
                where=run.folder,
                hint=f"check the server and the configuration of {name}, or train without it",
            ) from error
        run.update(trackers=trackers)

    def on_epoch(row: Epoch) -> None:
        log({key: value for key, value in row.items() if key != "epoch"}, int(row["epoch"]))

    if not is_rank_zero():
        return TrainingCallbacks()
    return TrainingCallbacks(on_epoch=on_epoch, on_start=on_start, on_end=end)


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RunError(
            f"{module} is not installed",
            where="tracking",
            hint=f"run pip install {package}, or train without it",
        ) from error


def _parameters(run: Run) -> dict[str, str]:
    """Return the recipe without paths, as dotted keys and short values."""
    recipe = without_paths(run.recipe).model_dump(mode="json")
    flat: dict[str, str] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            flat[prefix] = str(value)[:500]

    add("", {key: value for key, value in recipe.items() if key != "data"})
    return flat
