"""Run folders: everything that is needed to resume, evaluate and repeat a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pleura
from pleura.dataset.subsets import SUBSETS, Split, read_split, read_training_hashes
from pleura.errors import PleuraError, RecipeError, RunError
from pleura.figures.html import html_figure, html_table
from pleura.files.atomic import write_text
from pleura.files.listing import describe_wrong_path
from pleura.files.records import write_json
from pleura.masks.selection import RoiSelection
from pleura.scan.labels import Label
from pleura.training.history import read_history
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import (
    build_recipe,
    override_recipe,
    resolve_paths,
    roi_override,
)
from pleura.training.recipe_text import read_recipe_text
from pleura.training.versions import git_describe, versions
from pleura.typing import StrPath

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
"""Incremented whenever an older version could misread a new run folder."""


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder.

    It contains ``recipe.yaml``, ``run.json`` (the record), ``split.csv``, ``history.csv``,
    ``curves.png``, ``pairs.png``, ``tensorboard/``, ``checkpoint.pt`` (to resume) and
    ``weights.pt`` (to predict); with `data.lungs` also ``lungs.onnx``.

    Parameters
    ----------
    folder:
        The folder.
    recipe:
        Recipe of the training.
    record:
        Content of ``run.json``.
    network:
        Custom network of the run, with any weights; None if it has none or it is not known.
    """

    folder: Path
    recipe: Recipe
    record: Mapping[str, Any]
    network: nn.Module | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        state = "finished" if self.record.get("finished") else "not finished"
        return f"Run({self.folder}; recipe {self.recipe.name}; {state})"

    def _repr_html_(self) -> str:
        """Return the training curves; without matplotlib, a table of the last epoch."""
        history = self.history()
        heading = f"<p>{escape(repr(self))}</p>"
        if not history:
            return heading
        try:
            from pleura.figures.curves import curves_figure
        except PleuraError:  # matplotlib is optional
            return heading + html_table((), [(k, f"{v:g}") for k, v in history[-1].items()])
        return heading + html_figure(curves_figure(history), "Training curves")

    @property
    def weights(self) -> Path:
        """The file with the final weights."""
        return self.folder / "weights.pt"

    @property
    def checkpoint(self) -> Path:
        """The file with the state of the training."""
        return self.folder / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether all epochs of the recipe were trained."""
        return bool(self.record["finished"])

    @property
    def threshold(self) -> float:
        """Smallest probability with which `predict` segments a pixel as lung."""
        if self.recipe.data.labels:  # each label has its own
            return 0.5
        return float(self.record.get("threshold", self.recipe.evaluation.thresholds[0]))

    @property
    def classes(self) -> tuple[Label, ...]:
        """The classes with their thresholds; empty if all masks are lungs."""
        thresholds = self.record.get("thresholds", {})
        return tuple(
            replace(label, threshold=float(thresholds.get(label.name, label.threshold)))
            for label in self.recipe.data.classes
        )

    def with_roi(self, roi: RoiSelection) -> Run:
        """Return the run with another recipe key data.roi, to evaluate it on other masks.

        Raises
        ------
        RecipeError
            A label is not that of a class.
        """
        return replace(self, recipe=override_recipe(self.recipe, [roi_override(roi)]))

    def split(self, names: Sequence[str]) -> Split:
        """Return the split of this run.

        Parameters
        ----------
        names:
            Names of the current images.

        Raises
        ------
        DataError
            They are not the images of the split.
        """
        return read_split(self.folder / "split.csv", names)

    def training_hashes(self) -> set[str]:
        """Return the hashes of the training images, including those of the initial weights.

        Empty for a run of an earlier version.
        """
        own = read_training_hashes(self.folder / "split.csv")
        # "start_images" in runs of earlier versions
        earlier = self.record.get("pretraining_hashes", self.record.get("start_images", ()))
        return (own | {str(image) for image in earlier}) - {""}

    def history(self) -> list[dict[str, float]]:
        """Return one row per epoch, with the columns of ``history.csv``.

        Raises
        ------
        RunError
            The file is damaged.
        """
        return read_history(self.folder)

    def update(self, **changes: Any) -> Run:
        """Change entries of the record, write the record, and return the changed run."""
        record = {**self.record, **changes}
        write_json(self.folder / "run.json", record)
        return replace(self, record=record)


def create_run(
    folder: Path,
    recipe: Recipe,
    split: Split,
    fingerprint: str,
    pixels: Mapping[str, str] | None = None,
) -> Run:
    """Create a run folder with a recipe and a split.

    ``run.json`` stays empty until `Run.update` is called, when the folder contains everything that
    `resume` needs.

    Parameters
    ----------
    folder:
        The run folder, which must not contain a run.
    recipe:
        Recipe of the training.
    split:
        Training, validation and test subset.
    fingerprint:
        Hash of the data.
    pixels:
        Hash of the pixels of each image, by name.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        Another training has started in this folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").open("x").close()  # fails if another process has created it
    except FileExistsError as error:
        raise RunError(
            "another training has started in this folder",
            where=folder,
            hint="choose another folder",
        ) from error
    record = {
        "format": FORMAT,
        "finished": False,
        "seed": recipe.training.seed,
        "data_fingerprint": fingerprint,
        "versions": versions(),
        "git": git_describe(),
        "subsets": {subset: len(getattr(split, subset)) for subset in SUBSETS},
    }
    run = Run(folder, without_paths(recipe), record)
    write_text(folder / "recipe.yaml", run.recipe.to_yaml())
    split.write(folder / "split.csv", pixels)
    return run


def without_paths(recipe: Recipe) -> Recipe:
    """Replace the paths of a recipe by those of the files of a run.

    Split and patient table become ``split.csv``, a model of the lungs ``lungs.onnx``.

    Run folders and model files contain no paths, so that they can be used on another computer.
    """
    lungs = recipe.data.lungs
    if lungs is not None and lungs.model is not None:
        lungs = lungs.model_copy(update={"model": Path("lungs.onnx")})
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"lungs": lungs})})
    split = recipe.split
    if split.file is None and split.patient_file is None:
        return recipe
    changes: dict[str, Any] = {"patient_file": None}
    if split.method == "file" or split.patient_file is not None:
        changes |= {"method": "file", "file": Path("split.csv")}
    else:
        changes["file"] = None  # not used
    return recipe.model_copy(update={"split": split.model_copy(update=changes)})


def open_run(folder: StrPath, network: nn.Module | None = None) -> Run:
    """Open a run folder.

    Parameters
    ----------
    folder:
        The run folder.
    network:
        The custom network with which the run was trained, with any weights; None if the run has
        none, or is not used to predict.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        The folder is missing, is not a run folder, or was written by a newer version.
    """
    folder = Path(folder)
    try:
        text = (folder / "run.json").read_text(encoding="utf-8")
        if not text:
            raise RunError(
                "the training was stopped before its first step",
                where=folder,
                hint="start it again with --overwrite",
            )
        record = json.loads(text)
        written = int(record["format"])
        if written <= FORMAT:
            _ = record["finished"], record["seed"], record["data_fingerprint"]
        recipe_file = folder / "recipe.yaml"
        _ = recipe_file.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            "the folder is not a run folder"
            if folder.is_dir()
            else describe_wrong_path(folder, "run folder"),
            where=folder,
            hint="pass the folder that `pleura train ... -o FOLDER` wrote",
        ) from error
    except (OSError, LookupError, TypeError, OverflowError, RecursionError, ValueError) as error:
        raise RunError(
            f"the record of the run cannot be read ({error})",
            where=folder / "run.json",
            hint="restore the folder from a copy, or train again",
        ) from error
    if written > FORMAT:
        raise RunError(
            f"the run has format {written}; pleura {pleura.__version__} reads up to {FORMAT}",
            where=folder,
            hint="run pip install --upgrade pleura",
        )
    if network is not None and "network" not in record.get("custom", {}):
        raise RunError(
            "the run has no custom network", where=folder, hint="omit the argument network"
        )
    return Run(folder, _recipe_of(recipe_file), record, network)


def _recipe_of(path: Path) -> Recipe:
    try:
        values = read_recipe_text(path, str(path))
        if isinstance(values, dict):
            resolve_paths(values, path)
            return build_recipe(values, str(path))
        reason = "it is not a mapping of keys"
    except RecipeError as error:
        reason = error.message
    raise RunError(
        f"the recipe of the run cannot be read: {reason}",
        where=path,
        hint="restore the folder from a copy, or train again",
    )
