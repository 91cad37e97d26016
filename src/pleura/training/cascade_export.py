"""The first stage of a cascade in the export of a run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pleura.engine.lung_stage import LungStage
from pleura.engine.model_file import require_lung_model
from pleura.errors import ModelError, RunError
from pleura.files.hashing import hash_files
from pleura.training.graph_input import GraphInput
from pleura.training.lungs import LUNGS_FILE, lungs_of_run
from pleura.training.run import Run


def lung_stage(run: Run, graph: GraphInput) -> LungStage | None:
    """Return the first stage of the model of a run; None without `data.lungs`.

    Raises
    ------
    RunError
        The model of the lungs takes other units than the exported model; or inverted images were
        masked with their minimum, which is not the background of the exported model.
    """
    lungs = lungs_of_run(run)
    if lungs is None:
        return None
    try:
        require_lung_model(lungs.engine.metadata, graph.units)
    except ModelError as error:
        raise RunError(
            f"{error.message}", where=run.folder, hint="omit the option --input"
        ) from error
    mapping, preprocessing = graph.mapping, run.recipe.preprocessing
    if preprocessing.scaling == "window":
        limit = (preprocessing.window[0] - mapping.offset) / mapping.scale
        limits = np.iinfo(np.int16)
        rounded = math.floor(limit) if mapping.scale > 0 else math.ceil(limit)
        return replace(lungs.stage, background=int(np.clip(rounded, limits.min, limits.max)))
    if mapping.scale < 0 and lungs.stage.mask:
        raise RunError(
            "masked inverted images need a window, whose lower limit is the background",
            where=run.folder,
            hint="train with --set preprocessing.scaling=window",
        )
    return lungs.stage


def require_same_lungs(run: Run, other: Run) -> None:
    """Require that the networks of two runs get the same part of a scan.

    Raises
    ------
    RunError
        The runs have another recipe section `data.lungs`, or another model of the lungs.
    """
    sections = [one.recipe.data.lungs for one in (run, other)]
    files = [one.folder / LUNGS_FILE for one in (run, other)]
    if sections[0] == sections[1] and (
        sections[0] is None or len({hash_files([file]) for file in files}) == 1
    ):
        return
    raise RunError(
        f"the lungs differ from those of {other.folder.name}",
        where=run.folder,
        hint="combine only runs with the same recipe section data.lungs and the same model",
    )
