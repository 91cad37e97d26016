"""Training of a network on image-mask pairs: a new run, or an interrupted one."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pleura.errors import DataWarning, RunError
from pleura.figures.plots import save_figure
from pleura.files.atomic import write_atomically
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.compute import ComputeDevice, torch_threads
from pleura.training.custom import (
    CustomComponents,
    check_components,
    check_schedule,
    component_names,
    require_same_components,
)
from pleura.training.data import TrainingData, load_data
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.lungs import LUNGS_FILE
from pleura.training.options import TrainingOptions
from pleura.training.preview import preview_figure
from pleura.training.processes import process_group
from pleura.training.progress import training_progress
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.training.run import Run, create_run, open_run
from pleura.training.run_files import clear_run, remove_unfinished_files
from pleura.training.state import TrainingState, initial_state
from pleura.training.tensor_files import load_tensors, save_tensors
from pleura.training.trainer import Trainer
from pleura.typing import StrPath

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

_logger = logging.getLogger(__name__)


def train(
    images: StrPath,
    masks: StrPath | None,
    output: StrPath,
    recipe: Recipe | StrPath | None = None,
    *,
    options: TrainingOptions = TrainingOptions(),
    callbacks: TrainingCallbacks = TrainingCallbacks(),
    **components: Unpack[CustomComponents],
) -> Run:
    """Train a network on image-mask pairs and write a run folder.

    Ctrl-C (or SIGTERM) stops the training after the current step and saves it; `resume` continues
    it. The processes that ``torchrun`` starts share each batch.

    Parameters
    ----------
    images, masks:
        Folders of the images and their masks; or the folder of the data sources of the recipe, and
        None.
    output:
        Run folder to write.
    recipe:
        Recipe, name of a recipe of this package, or YAML file. None is ``exercise``; with initial
        weights, it is their recipe with lower learning rates.
    options:
        Initial weights, overwriting and progress.
    callbacks:
        Functions called during the training.
    **components:
        Custom components instead of those of the recipe, see `CustomComponents`: ``network``,
        ``loss``, ``augmentation`` and ``schedule``.

    Returns
    -------
    Run
        The run, which is not finished if the training was interrupted.

    Raises
    ------
    DataError
        The data cannot be used.
    RecipeError
        The recipe cannot be used.
    RunError
        The run folder already exists or cannot be written, a custom component is invalid, or the
        training diverged.
    """
    output, weights = Path(output), options.initial_weights
    if "network" in components:
        _require_usable(components["network"], weights)
    if recipe is None:
        recipe = load_recipe("exercise") if weights is None else fine_tuning_recipe(weights)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if masks is not None:  # the recipe of the run lists no sources that it was not trained on
        only_labels = recipe.data.model_copy(update={"sources": ()})
        recipe = recipe.model_copy(update={"data": only_labels})
    epochs = recipe.training.epochs
    with (
        torch_threads(recipe.training.threads),
        process_group(recipe.training.device) as processes,
        training_progress(options.progress, epochs, callbacks) as reported,
    ):
        if not options.overwrite:
            processes.on_rank_zero(lambda: require_empty(output))
        data = load_data(images, masks, recipe, reported.on_read, initial_weights=weights)
        processes.check_batch(min(recipe.training.batch_size, len(data.split.training)))
        state = initial_state(recipe, weights, components.get("network"))
        _check_components(components, data, state, recipe)
        processes.on_rank_zero(
            lambda: _create_run(
                output, recipe, data, state, components, overwrite=options.overwrite
            )
        )
        if processes.is_rank_zero:
            _log_start(recipe, data)
            for text in data.warnings:
                warnings.warn(text, DataWarning, stacklevel=2)
        run = open_run(output, components.get("network"))
        return Trainer(run, data, state, reported, processes, components).fit()


def resume(
    images: StrPath,
    masks: StrPath | None,
    folder: StrPath,
    *,
    options: TrainingOptions = TrainingOptions(),
    callbacks: TrainingCallbacks = TrainingCallbacks(),
    **components: Unpack[CustomComponents],
) -> Run:
    """Continue an interrupted run, to exactly the weights of an uninterrupted one.

    Parameters
    ----------
    images, masks:
        As passed to `train`.
    folder:
        The run folder.
    options:
        Progress.
    callbacks:
        Functions called during the training.
    **components:
        The custom components that were passed to `train`.

    Returns
    -------
    Run
        The run, which is not finished if the training was interrupted again.

    Raises
    ------
    DataError
        The data cannot be used.
    RunError
        The folder is not a run folder, or the data or the custom components differ from those of
        the run.
    """
    require_same_components(components, open_run(folder).record, Path(folder))
    run = open_run(folder, components.get("network"))
    if run.finished:
        return run
    epochs = run.recipe.training.epochs
    with (
        torch_threads(run.recipe.training.threads),
        process_group(run.recipe.training.device) as processes,
        training_progress(options.progress, epochs, callbacks) as reported,
    ):
        data = load_data(images, masks, run.recipe, reported.on_read, run)
        state = initial_state(run.recipe, custom_network=components.get("network"))
        _check_components(components, data, state, run.recipe)
        _load_checkpoint(run, state)
        processes.on_rank_zero(lambda: remove_unfinished_files(run.folder))
        _logger.info("Resuming at epoch %d, step %d", state.epoch + 1, state.step + 1)
        return Trainer(run, data, state, reported, processes, components).fit()


def require_empty(output: Path) -> None:
    """Require that the folder of a new run is missing or empty.

    Raises
    ------
    RunError
        It contains files, or is a file.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(
            "the run folder already exists",
            where=output,
            hint="choose another folder, add --overwrite to replace it, or --resume to continue it",
        )


def _log_start(recipe: Recipe, data: TrainingData) -> None:
    sizes = [len(names) for names in (data.split.training, data.split.validation, data.split.test)]
    _logger.info(
        "Training with recipe %s: %d training, %d validation, %d test images", recipe.name, *sizes
    )
    for text in data.warnings:
        _logger.warning("%s", text)


def _require_usable(network: nn.Module, initial_weights: StrPath | None) -> None:
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RunError(
            "the custom network has no parameters to train",
            where="network",
            hint="pass a module with parameters that require gradients",
        )
    if initial_weights is not None and not Path(initial_weights).is_dir():
        raise RunError(
            "a custom network cannot start from the weights of a model file",
            where=str(initial_weights),
            hint="pass a run folder, or load the weights into the network before the training",
        )


def _check_components(
    components: CustomComponents, data: TrainingData, state: TrainingState, recipe: Recipe
) -> None:
    if "schedule" in components:
        check_schedule(components["schedule"], recipe.training.epochs)
    if components:
        pairs = data.prepared.select(data.split.training[:2])
        check_components(components, state.network, ComputeDevice(recipe.training), *pairs)


def _create_run(
    output: Path,
    recipe: Recipe,
    data: TrainingData,
    state: TrainingState,
    components: CustomComponents,
    *,
    overwrite: bool,
) -> None:
    figure = preview_figure(
        data.pairs,
        data.prepared,
        data.split,
        recipe,
        augmentation=components.get("augmentation"),
    )
    if overwrite:
        clear_run(output)
    run = create_run(
        output, recipe, data.split, data.prepared.fingerprint, data.prepared.pixel_hashes()
    )
    save_figure(figure, output / "pairs.png")
    save_tensors(run.checkpoint, state.to_dict())
    if data.lungs is not None:
        content = data.lungs.model.read_bytes()
        write_atomically(output / LUNGS_FILE, lambda file: file.write(content))
    entries: dict[str, Any] = {}
    if data.lungs is not None:
        name, version = data.lungs.stage.model
        entries["lung_model"] = {"name": name, "version": version}
    if data.pretraining_hashes:
        entries["pretraining_hashes"] = sorted(data.pretraining_hashes)
    if state.initial_weights:
        entries["initial_weights"] = state.initial_weights
        _logger.info("Initial weights: %s", state.initial_weights)
    if components:
        entries["custom"] = component_names(components)
    # Last: a run with a record can be resumed, from the weights of its checkpoint.
    run.update(units=data.units, warnings=list(data.warnings), **entries)


def _load_checkpoint(run: Run, state: TrainingState) -> None:
    if not run.checkpoint.exists():  # a run of version 0.1.0, killed before its first step
        raise RunError(
            "the run has no checkpoint to resume from",
            where=run.folder,
            hint="start it again with --overwrite",
        )
    try:
        state.load_dict(load_tensors(run.checkpoint))
    except (KeyError, RuntimeError, ValueError) as error:
        raise RunError(
            "the checkpoint does not fit the recipe of the run",
            where=run.checkpoint,
            hint="restore the folder from a copy, or train again",
        ) from error
