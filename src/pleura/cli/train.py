"""`pleura train`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    echo,
    json_option,
    log_to_file,
    optional_masks_argument,
    require_masks,
    roi_option,
    roi_overrides,
    silent_option,
    stderr_console,
    write_json,
)
from pleura.cli.recipe_options import recipe_of
from pleura.cli.types import Number, WholeNumber, choice
from pleura.training.progress_bar import new_progress_bar

if TYPE_CHECKING:
    from pleura.corrections.training_slices import TrainingSlices
    from pleura.masks.selection import RoiSelection
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.recipe import Recipe
    from pleura.training.run import Run
    from pleura.training.trackers import TrackerName

_EPILOG = """\
\b
Examples:
  pleura train images/ masks/ -o runs/first
  pleura train images/ masks/ --recipe exercise-plus -o runs/plus
  pleura train images/ masks/ --recipe mine.yaml --set training.epochs=5 -o runs/short
  pleura train images/ masks/ --roi Lung_R=1,Lung_L=2 -o runs/rois   # structures of RTSTRUCT
  pleura train images/ masks/ -o runs/first --resume      # after Ctrl-C
  pleura train images/ masks/ --from default -o runs/mine # start from the model of this package
  pleura train data/ --recipe default -o runs/default     # the model of this package, from its data
  pleura train --from default --corrected out/ -o runs/mine   # on masks corrected in `pleura view`
"""


@click.command("train", epilog=_EPILOG)
@click.argument("images", type=PATH, required=False)
@optional_masks_argument
@click.option("--output", "-o", type=PATH, required=True, help="Run folder to write.")
@click.option("--recipe", "-r", help="Name, or path of a .yaml file.  [default: exercise]")
@click.option(
    "--from",
    "initial_weights",
    metavar="MODEL",
    help="Start from these weights: a run, a model file, or `default`, the model of this package.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the recipe, such as training.epochs=5; repeatable.",
)
@click.option(
    "--corrected", type=PATH, metavar="OUT", help="Fine-tune on the corrected masks in OUT."
)
@click.option("--scans", type=PATH, help="Folder or manifest that was segmented, if it was moved.")
@click.option(
    "--uncorrected-fraction",
    type=Number(0, 1),
    default=0.1,
    show_default=True,
    help="Fraction of the uncorrected slices to train on (with --corrected).",
)
@click.option("--exclude", type=PATH, help="File with names of images to exclude, one per line.")
@roi_option
@click.option(
    "--track",
    "trackers",
    type=choice(["mlflow", "wandb"]),
    multiple=True,
    help="Also log recipe and epochs with MLflow or Weights & Biases, if it is installed; "
    "repeatable. TensorBoard events are always written if TensorBoard is installed.",
)
@click.option("--log-file", type=PATH, help="Append the log of the training to this file.")
@click.option("--seed", type=WholeNumber(0), help="Same as --set training.seed=SEED.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@json_option
@silent_option
def command(
    images: Path | None,
    masks: Path | None,
    output: Path,
    recipe: str | None,
    initial_weights: str | None,
    overrides: tuple[str, ...],
    corrected: Path | None,
    scans: Path | None,
    uncorrected_fraction: float,
    exclude: Path | None,
    roi: RoiSelection | None,
    trackers: tuple[TrackerName, ...],
    log_file: Path | None,
    seed: int | None,
    resume: bool,
    overwrite: bool,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Train a U-Net on the images or volumes in IMAGES and the MASKS of the same names.

    Without MASKS, IMAGES is the folder of the data sources of the recipe (key `data`).
    Ctrl-C saves the run; --resume continues it, to the weights of an uninterrupted training.

    With --corrected, the images are slices of the scans whose masks you corrected in OUT, the
    output folder of `pleura segment`. The models before and after are compared on held-out
    corrected scans and on a sample scan.
    """
    options = _Options(
        output=output,
        recipe=recipe,
        initial_weights=initial_weights,
        overrides=overrides,
        exclude=exclude,
        roi=roi,
        trackers=trackers,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        json_file=json_file,
        quiet=quiet,
    )
    if corrected is not None and images is not None:
        raise click.UsageError("--corrected takes no IMAGES: omit them")
    if corrected is not None and roi is not None:
        raise click.UsageError("--corrected excludes --roi and --labels")
    with log_to_file(log_file):
        if corrected is not None:
            return _fine_tune(corrected, scans, uncorrected_fraction, options)
        if images is None:
            raise click.UsageError("IMAGES or --corrected is missing")
        return _train(images, masks, options)


@dataclass(frozen=True)
class _Options:
    """Options of training and fine-tuning."""

    output: Path
    recipe: str | None
    initial_weights: str | None
    overrides: tuple[str, ...]
    exclude: Path | None
    roi: RoiSelection | None
    trackers: tuple[TrackerName, ...]
    seed: int | None
    resume: bool
    overwrite: bool
    json_file: Path | None
    quiet: bool


def _fine_tune(corrected: Path, scans: Path | None, fraction: float, options: _Options) -> int:
    """Fine-tune on corrected masks and print the scores before and after."""
    from pleura.corrections import fine_tuning
    from pleura.training.processes import is_distributed

    if is_distributed():
        raise click.UsageError("--corrected trains in one process: start pleura without torchrun")
    output, to_stderr = options.output, str(options.json_file) == "-"
    if not options.resume:
        options = replace(options, initial_weights=options.initial_weights or "default")
    recipe = _recipe_of(options)
    bar = new_progress_bar(stderr_console(), hidden=options.quiet)
    evaluating = bar.add_task("evaluating", total=None)

    def on_slices(slices: TrainingSlices) -> None:
        counts = f"{slices.n_corrected} corrected slices, {slices.n_uncorrected} others"
        if not options.quiet:
            echo(counts, err=True)

    def on_evaluation(done: int, total: int) -> None:
        bar.start()  # not before: the training shows its own bar
        bar.update(evaluating, completed=done, total=total)

    callbacks = fine_tuning.FineTuningCallbacks(
        on_slices, training=_callbacks(options), on_evaluation=on_evaluation
    )
    try:
        if options.resume:
            result = fine_tuning.resume_fine_tuning(
                corrected, output, scans=scans, progress=not options.quiet, callbacks=callbacks
            )
        else:
            fine_tuning_options = fine_tuning.FineTuningOptions(
                model=options.initial_weights or "default",
                recipe=recipe,
                scans=scans,
                uncorrected_fraction=fraction,
                seed=options.seed or 0,
                overwrite=options.overwrite,
                progress=not options.quiet,
            )
            result = fine_tuning.fine_tune_on_corrections(
                corrected, output, fine_tuning_options, callbacks=callbacks
            )
    finally:
        bar.stop()
    to_resume = f"pleura train --corrected {_quoted(corrected)} -o {_quoted(output)} --resume"
    next_ = f"pleura segment SCAN -o lungs.nii.gz --model {_quoted(output / 'model.onnx')}"
    code = _print_run(result.run, options, to_resume, next_)
    if result.scores and not options.quiet:
        echo(str(result), err=to_stderr)
    for warning in result.warnings:
        echo(f"warning  {warning}", fg="yellow", err=True)
    return code


def _recipe_of(options: _Options) -> Recipe:
    """Return the recipe of a resumed run, or load a recipe and override its values."""
    from pleura.dataset.subsets import read_names
    from pleura.training.run import open_run

    changes = (
        options.recipe,
        options.initial_weights,
        options.exclude,
        options.roi,
        options.overrides,
        options.overwrite,
    )
    if options.resume and (any(changes) or options.seed is not None):
        raise click.UsageError(
            "a run is resumed with its own recipe: --resume excludes --overwrite, --recipe, "
            "--from, --exclude, --roi, --labels, --set and --seed"
        )
    if options.resume:
        return open_run(options.output).recipe
    overrides = list(options.overrides)
    if options.exclude is not None:
        overrides.append(f"split.exclude={json.dumps(read_names(options.exclude))}")
    overrides += roi_overrides(options.roi)
    if options.seed is not None:
        overrides.append(f"training.seed={options.seed}")
    return recipe_of(options.recipe, options.initial_weights, overrides)


def _train(images: Path, masks: Path | None, options: _Options) -> int:
    from pleura.training.options import TrainingOptions
    from pleura.training.processes import is_rank_zero
    from pleura.training.train import resume, train

    output, recipe = options.output, _recipe_of(options)
    require_masks(masks, recipe)
    training = TrainingOptions(options.initial_weights, options.overwrite, not options.quiet)
    callbacks = _callbacks(options)
    if options.resume:
        run = resume(images, masks, output, options=training, callbacks=callbacks)
    else:
        run = train(images, masks, output, recipe, options=training, callbacks=callbacks)
    if not is_rank_zero():
        return 0 if run.finished else 130
    data = _quoted(images) if masks is None else _quoted(images, masks)
    next_ = (
        f"pleura evaluate {_quoted(output)} {data}"
        if masks
        else f"pleura export {_quoted(output)} -o model.onnx"
    )
    to_resume = f"pleura train {data} -o {_quoted(output)} --resume"
    return _print_run(run, options, to_resume, next_)


def _callbacks(options: _Options) -> TrainingCallbacks:
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.trackers import tracking_callbacks

    return sum(map(tracking_callbacks, options.trackers), TrainingCallbacks())


def _print_run(run: Run, options: _Options, to_resume: str, next_: str) -> int:
    """Print the result of a training and the next command; return the exit code."""
    history = run.history()
    write_json(options.json_file, {"run": str(run.folder), **run.record, "history": history})
    if not run.finished:
        echo(
            f"stopped in epoch {len(history) + 1} of {run.recipe.training.epochs} and saved; "
            f"resume with: {to_resume}",
            err=True,
        )
        return 130
    if str(options.json_file) == "-" or options.quiet:
        return 0
    last = history[-1]
    if "initial_weights" in run.record:
        echo(f"start    {run.record['initial_weights']}")
    echo(
        f"trained {len(history)} epochs: loss {last['loss']:.4f}, accuracy {last['accuracy']:.4f}; "
        f"validation loss {last['validation_loss']:.4f}, "
        f"accuracy {last['validation_accuracy']:.4f}\n"
        f"run      {run.folder}\n"
        f"curves   {run.folder / 'curves.png'}\n"
        f"next     {next_}"
    )
    return 0


def _quoted(*paths: Path) -> str:
    return shlex.join(str(path) for path in paths)
