"""`pleura train`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import Progress, TextColumn

from pleura.cli.common import (
    PATH,
    console,
    echo,
    json_option,
    new_progress,
    optional_masks_argument,
    progress_bar,
    quiet_option,
    require_masks,
    write_json,
)

if TYPE_CHECKING:
    from pleura.training.loop import TrainingCallbacks

_EPILOG = """\
\b
Examples:
  pleura train images/ masks/ -o runs/first
  pleura train images/ masks/ --recipe exercise-plus -o runs/plus
  pleura train images/ masks/ --recipe mine.yaml --set training.epochs=5 -o runs/short
  pleura train images/ masks/ -o runs/first --resume      # after Ctrl-C
  pleura train images/ masks/ --from default -o runs/mine # goes on from the model that ships
  pleura train data/ --recipe default -o runs/default     # the model that ships, from its sources
  pleura train --from default --corrected out/ -o runs/mine   # from what `pleura view` corrected
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
    "--corrected", type=PATH, metavar="OUT", help="Results with masks that you corrected."
)
@click.option("--scans", type=PATH, help="The folder that was segmented, if it has moved.")
@click.option(
    "--rest",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Weight of a slice that you left as it was (with --corrected).",
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
    rest: float,
    **how: Any,
) -> int:
    """Train a U-Net on the pictures or volumes in IMAGES and their MASKS of the same names.

    Without MASKS, IMAGES is the folder of the sets that the recipe names under `data`.
    Ctrl-C saves; --resume goes on to the same weights as an uninterrupted training.

    With --corrected, the slices are those of the scans below OUT whose masks you corrected; the
    model before and after is judged on corrected scans that are held out, and on a sample.
    """
    if corrected is not None:
        if images is not None:
            raise click.UsageError("--corrected finds the scans itself: leave out IMAGES")
        return _learn(corrected, scans, rest, how)
    if images is None:
        raise click.UsageError("IMAGES is missing, or --corrected")
    return _train(images, masks, **how)


def _learn(corrected: Path, scans: Path | None, rest: float, how: dict[str, Any]) -> int:
    """Fine-tune on what was corrected, export, and echo whether that is better."""
    from pleura.corrections.learning import corrected_cases, judge, read_slices, write_slices
    from pleura.files.records import read_record, write_json
    from pleura.training.export import export
    from pleura.training.loop import require_empty
    from pleura.training.processes import are_several

    if are_several():
        raise click.UsageError("corrections are few: train on them in one process")
    output: Path = how["output"].absolute()
    data, note = output.with_name(f"{output.name}.corrected"), output / "learning.json"
    cases = corrected_cases(corrected, scans)
    if how["resume"]:
        found = read_slices(cases, data)
        start = str(read_record(note).get("start", "default"))
    else:
        if not how["overwrite"]:
            require_empty(output)
        start = how["start"] = how["start"] or "default"
        found = write_slices(cases, data, rest, how["seed"] or 0)
        echo(f"{found.corrected} corrected slices, {found.rest} others", err=True)
        split = ["split.method=file", f"split.file={json.dumps(str(found.split))}"]
        how["overrides"] = (*how["overrides"], *split)
    code = _train(found.images, found.masks, **how)
    write_json(note, {"start": start})
    if code:
        again = f"pleura train --corrected {_quoted(corrected)} -o {_quoted(output)} --resume"
        echo(f"or, to have it judged then: {again}", err=True)
        return code
    model, before = output / "model.onnx", Path(start)
    export(output, model, data=f"{before.name}, and corrections")
    if before.is_dir():
        before = output / "before.onnx"
        export(start, before)
    with progress_bar("judging", how["quiet"], "scans") as progress:
        judged = judge({"before": before, "after": model}, found.held_out, progress)
    write_json(output / "before-after.json", judged)
    _print_judged(judged, model, err=str(how["json_file"]) == "-")
    return 0


def _print_judged(judged: Mapping[str, Mapping[str, float]], model: Path, *, err: bool) -> None:
    from pleura.corrections.learning import WORSE

    echo(f"{'Dice of both lungs':<40} before  after", err=err)
    for name, scores in judged.items():
        echo(f"{name:<40} {scores['before']:.4f}  {scores['after']:.4f}", err=err)
    if len(judged) == 1:
        echo("no scan is held out: correct three or more to see what it learned", err=True)
    worse = [n for n, scores in judged.items() if scores["after"] < scores["before"] - WORSE]
    if worse:
        echo(f"worse on {', '.join(worse)}: keep the model that you had", fg="red", err=True)
    next_ = f"next     pleura segment SCAN -o lungs.nii.gz --model {model}"
    echo(f"model    {model}\n{next_}", err=err)


def _train(
    images: Path,
    masks: Path | None,
    *,
    output: Path,
    recipe: str | None,
    start: str | None,
    overrides: tuple[str, ...],
    exclude: Path | None,
    seed: int | None,
    resume: bool,
    overwrite: bool,
    json_file: Path | None,
    quiet: bool,
) -> int:
    from pleura.dataset.splits import read_names
    from pleura.training import loop
    from pleura.training.initial_weights import starting_recipe
    from pleura.training.processes import is_first
    from pleura.training.recipe import load_recipe, override_recipe
    from pleura.training.run import open_run

    if resume and (overwrite or recipe or start or exclude or overrides or seed is not None):
        raise click.UsageError(
            "a run is resumed with its own recipe: --resume excludes --overwrite, --recipe, "
            "--from, --exclude, --set and --seed"
        )
    if exclude is not None:
        overrides = (*overrides, f"split.leave_out={json.dumps(read_names(exclude))}")
    if seed is not None:
        overrides = (*overrides, f"training.seed={seed}")
    if resume:
        loaded = open_run(output).recipe
    elif recipe is None and start is not None:
        loaded = override_recipe(starting_recipe(start), overrides)
    else:
        loaded = load_recipe(recipe or "exercise", overrides)
    require_masks(masks, loaded)
    data = [images] if masks is None else [images, masks]
    quiet = quiet or not is_first()
    with new_progress(quiet, TextColumn("{task.fields[note]}")) as bar:
        callbacks = _watch(bar, loaded.training.epochs, quiet)
        if resume:
            run = loop.resume(images, masks, output, callbacks=callbacks)
        else:
            how: dict[str, Any] = {"start": start, "overwrite": overwrite, "callbacks": callbacks}
            run = loop.train(images, masks, output, loaded, **how)

    if not is_first():
        return 0 if run.finished else 130
    history = run.history()
    write_json(json_file, {"run": str(output), **run.record, "history": history})
    if not run.finished:
        echo(
            f"stopped in epoch {len(history) + 1} of {run.recipe.training.epochs} and saved; go on "
            f"with: pleura train {_quoted(*data)} -o {_quoted(output)} --resume",
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
        f"run      {output}\n"
        f"curves   {output / 'curves.png'}\n"
        + (
            f"next     pleura evaluate {_quoted(output, *data)}"
            if masks
            else f"next     pleura export {_quoted(output)} -o model.onnx"
        )
    )
    return 0


def _watch(bar: Progress, epochs: int, quiet: bool) -> TrainingCallbacks:
    """Show reading, steps and epochs on the bar; a line for each epoch stays."""
    from pleura.training.loop import StepReport, TrainingCallbacks

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
            console.print(_epoch_line(row, epochs), highlight=False, soft_wrap=True)

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
