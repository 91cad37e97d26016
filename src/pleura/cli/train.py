"""`pleura train`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import Progress, TextColumn

from pleura.cli.common import (
    PATH,
    echo,
    json_option,
    new_progress,
    optional_masks_argument,
    quiet_option,
    require_masks,
    write_json,
)

if TYPE_CHECKING:
    from pleura.corrections.training_slices import TrainingSlices
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.recipe import Recipe
    from pleura.training.run import Run

_EPILOG = """\
\b
Examples:
  pleura train images/ masks/ -o runs/first
  pleura train images/ masks/ --recipe exercise-plus -o runs/plus
  pleura train images/ masks/ --recipe mine.yaml --set training.epochs=5 -o runs/short
  pleura train images/ masks/ -o runs/first --resume      # after Ctrl-C
  pleura train images/ masks/ --from default -o runs/mine # goes on from the model that ships
  pleura train data/ --recipe default -o runs/default     # the model that ships, from its sources
  pleura train --from default --corrected out/ -o runs/mine   # on masks corrected in `pleura view`
"""


@click.command("train", epilog=_EPILOG)
@click.argument("images", type=PATH, required=False)
@optional_masks_argument
@click.option("--output", "-o", type=PATH, required=True, help="Run folder to write.")
@click.option("--recipe", "-r", help="Name, or path of a .yaml file.  [default: exercise]")
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    help="Go on from these weights: a run, a model file, or `default`, the model that ships.",
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
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Fraction of the uncorrected slices to train on (with --corrected).",
)
@click.option("--exclude", type=PATH, help="File of names to leave out, one a line.")
@click.option("--seed", type=int, help="Same as --set training.seed=SEED.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, exactly.")
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@json_option
@quiet_option
def command(
    images: Path | None,
    masks: Path | None,
    corrected: Path | None,
    scans: Path | None,
    uncorrected_fraction: float,
    **options: Any,
) -> int:
    """Train a U-Net on the pictures or volumes in IMAGES and their MASKS of the same names.

    Without MASKS, IMAGES is the folder of the sets that the recipe names under `data`.
    Ctrl-C saves; --resume goes on to the same weights as an uninterrupted training.

    With --corrected, the images are slices of the scans whose masks you corrected in OUT, the
    output folder of `pleura segment`. The models before and after are compared on held-out
    corrected scans and on a sample scan.
    """
    if corrected is not None:
        if images is not None:
            raise click.UsageError("--corrected finds the scans itself: leave out IMAGES")
        return _fine_tune(corrected, scans, uncorrected_fraction, _Options(**options))
    if images is None:
        raise click.UsageError("IMAGES is missing, or --corrected")
    return _train(images, masks, _Options(**options))


@dataclass(frozen=True)
class _Options:
    """Options of the command that both kinds of training use."""

    output: Path
    recipe: str | None
    start: str | None
    overrides: tuple[str, ...]
    exclude: Path | None
    seed: int | None
    resume: bool
    overwrite: bool
    json_file: Path | None
    quiet: bool


def _fine_tune(corrected: Path, scans: Path | None, fraction: float, options: _Options) -> int:
    """Fine-tune on corrected masks, and print the scores before and after."""
    from pleura.corrections import fine_tuning
    from pleura.training.processes import is_distributed

    if is_distributed():
        raise click.UsageError("--corrected trains in one process: start pleura without torchrun")
    output, to_stderr = options.output, str(options.json_file) == "-"
    if not options.resume:
        options = replace(options, start=options.start or "default")
    recipe = _recipe_of(options)
    with new_progress(options.quiet, TextColumn("{task.fields[note]}")) as bar:
        training = _watch(bar, recipe.training.epochs, options.quiet)
        evaluation = bar.add_task("evaluating", total=None, note="", visible=False)

        def on_slices(slices: TrainingSlices) -> None:
            counts = f"{slices.n_corrected} corrected slices, {slices.n_uncorrected} others"
            echo(counts, err=True)

        def on_evaluation(done: int, total: int) -> None:
            bar.update(evaluation, completed=done, total=total, visible=True)

        callbacks = fine_tuning.FineTuningCallbacks(on_slices, training, on_evaluation)
        if options.resume:
            result = fine_tuning.resume_fine_tuning(
                corrected, output, scans=scans, callbacks=callbacks
            )
        else:
            fine_tuning_options = fine_tuning.FineTuningOptions(
                options.start or "default",
                recipe,
                scans,
                fraction,
                options.seed or 0,
                options.overwrite,
            )
            result = fine_tuning.fine_tune_on_corrections(
                corrected, output, fine_tuning_options, callbacks=callbacks
            )
    resume = f"pleura train --corrected {_quoted(corrected)} -o {_quoted(output)} --resume"
    next_ = f"pleura segment SCAN -o lungs.nii.gz --model {_quoted(output / 'model.onnx')}"
    code = _print_run(result.run, options.json_file, resume, next_)
    if result.scores:
        echo(str(result), err=to_stderr)
    for warning in result.warnings:
        echo(f"warning  {warning}", fg="yellow", err=True)
    return code


def _recipe_of(options: _Options) -> Recipe:
    """Return the recipe of a resumed run, or load one and apply the options."""
    from pleura.dataset.subsets import read_names
    from pleura.training.initial_weights import fine_tuning_recipe
    from pleura.training.recipe_loading import load_recipe, override_recipe
    from pleura.training.run import open_run

    changes = options.recipe, options.start, options.exclude, options.overrides, options.overwrite
    if options.resume and (any(changes) or options.seed is not None):
        raise click.UsageError(
            "a run is resumed with its own recipe: --resume excludes --overwrite, --recipe, "
            "--from, --exclude, --set and --seed"
        )
    if options.resume:
        return open_run(options.output).recipe
    overrides = list(options.overrides)
    if options.exclude is not None:
        overrides.append(f"split.exclude={json.dumps(read_names(options.exclude))}")
    if options.seed is not None:
        overrides.append(f"training.seed={options.seed}")
    if options.recipe is None and options.start is not None:
        return override_recipe(fine_tuning_recipe(options.start), overrides)
    return load_recipe(options.recipe or "exercise", overrides)


def _train(images: Path, masks: Path | None, options: _Options) -> int:
    from pleura.training import loop
    from pleura.training.processes import is_rank_zero

    output, recipe = options.output, _recipe_of(options)
    require_masks(masks, recipe)
    quiet = options.quiet or not is_rank_zero()
    with new_progress(quiet, TextColumn("{task.fields[note]}")) as bar:
        callbacks = _watch(bar, recipe.training.epochs, quiet)
        if options.resume:
            run = loop.resume(images, masks, output, callbacks=callbacks)
        else:
            run = loop.train(
                images,
                masks,
                output,
                recipe,
                start=options.start,
                overwrite=options.overwrite,
                callbacks=callbacks,
            )
    if not is_rank_zero():
        return 0 if run.finished else 130
    data = _quoted(images) if masks is None else _quoted(images, masks)
    next_ = (
        f"pleura evaluate {_quoted(output)} {data}"
        if masks
        else f"pleura export {_quoted(output)} -o model.onnx"
    )
    resume = f"pleura train {data} -o {_quoted(output)} --resume"
    return _print_run(run, options.json_file, resume, next_)


def _print_run(run: Run, json_file: Path | None, resume: str, next_: str) -> int:
    """Print what a training has left, and the command that follows; return the exit code."""
    history = run.history()
    write_json(json_file, {"run": str(run.folder), **run.record, "history": history})
    if not run.finished:
        echo(
            f"stopped in epoch {len(history) + 1} of {run.recipe.training.epochs} and saved; "
            f"resume with: {resume}",
            err=True,
        )
        return 130
    if str(json_file) == "-":
        return 0
    last = history[-1]
    echo(
        f"trained {len(history)} epochs: loss {last['loss']:.4f}, accuracy {last['accuracy']:.4f}; "
        f"validation loss {last['validation_loss']:.4f}, "
        f"accuracy {last['validation_accuracy']:.4f}\n"
        f"run      {run.folder}\n"
        f"curves   {run.folder / 'curves.png'}\n"
        f"next     {next_}"
    )
    return 0


def _watch(bar: Progress, epochs: int, quiet: bool) -> TrainingCallbacks:
    """Show reading, steps and epochs on the bar; a line for each epoch stays."""
    from pleura.training.callbacks import StepReport, TrainingCallbacks

    reading = bar.add_task("reading", total=None, note="")
    training = bar.add_task("training", total=None, note="", visible=False)

    def on_read(done: int, total: int) -> None:
        bar.update(reading, completed=done, total=total, visible=done < total)
        bar.update(training, visible=done == total)

    def on_step(report: StepReport) -> None:
        bar.update(
            training,
            completed=(report.epoch - 1) * report.steps + report.step,
            total=report.epochs * report.steps,
            note=f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}  "
            f"accuracy {report.accuracy:.4f}  rate {report.learning_rate:.1e}",
        )

    def on_epoch(row: Mapping[str, float]) -> None:
        if not quiet:
            bar.console.print(_epoch_line(row, epochs), highlight=False, soft_wrap=True)

    return TrainingCallbacks(on_read, on_step, on_epoch)


def _quoted(*paths: Path) -> str:
    return shlex.join(str(path) for path in paths)


def _epoch_line(row: Mapping[str, float], epochs: int) -> str:
    return (
        f"epoch {row['epoch']:>3.0f}/{epochs}  loss {row['loss']:.4f}  "
        f"accuracy {row['accuracy']:.4f}  validation loss {row['validation_loss']:.4f}  "
        f"accuracy {row['validation_accuracy']:.4f}  rate {row['learning_rate']:.1e}  "
        f"{row['seconds']:.0f} s"
    )
