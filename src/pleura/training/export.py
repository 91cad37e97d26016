"""Export of a run as an ONNX model, whose graph computes probabilities from HU or grey values."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pleura
from pleura.dataset.data_recipe import mirror_table
from pleura.engine.lung_stage import LUNGS_KEY, to_entry
from pleura.engine.model_file import (
    CASCADE_FORMAT,
    METADATA_KEY,
    InputUnits,
    ModelMetadata,
    model_format,
)
from pleura.errors import RunError
from pleura.files.atomic import remove_unfinished, write_atomically
from pleura.names import counted
from pleura.network.ensemble import Ensemble
from pleura.scan.labels import Label
from pleura.training.cascade_export import lung_stage, require_same_lungs
from pleura.training.graph_input import graph_input
from pleura.training.inference_module import InferenceModule
from pleura.training.log_level import log_level
from pleura.training.lungs import LUNGS_FILE
from pleura.training.quantise import calibration_slices, quantise
from pleura.training.run import Run, open_run, without_paths
from pleura.training.state import trained_network
from pleura.typing import StrPath

_logger = logging.getLogger(__name__)

_MIN_HALF_PRECISION_SIZE = 1000
"""Smallest tensor that is stored in half precision, in values."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`.

    Parameters
    ----------
    calibration_images:
        Folder of the training images; the convolutions are then quantised to 8-bit integers, in
        ranges measured on these images.
    name:
        Name of the model; the name of the first run folder by default.
    version:
        Version of the model; the version of pleura by default.
    data:
        Description of the training data.
    licence:
        Licence of the model.
    input:
        Units of the input: ``HU``; or ``grey``, values from 0 to 255. None: ``grey`` if the run was
        trained on grey values, else ``HU``. With ``grey``, the model of a run that was trained in
        HU takes images whose grey values 0 and 255 are the limits of its window.
    mirror:
        Average the probabilities of each slice and of its mirror image, which is usually more
        accurate and takes twice the time.
    """

    calibration_images: StrPath | None = None
    name: str | None = None
    version: str | None = None
    data: str = ""
    licence: str = ""
    input: InputUnits | None = None
    mirror: bool = False


def export(
    runs: Run | StrPath | Sequence[Run | StrPath],
    output: StrPath,
    options: ExportOptions = ExportOptions(),
) -> ModelMetadata:
    """Export a training run, or an ensemble of several, as a single ONNX model file.

    The model takes HU, or grey values if the run was trained on them. For a run that was trained on
    scaled or shifted HU, it contains the conversion from HU. The recipe in the metadata is that of
    the first run.

    Parameters
    ----------
    runs:
        A run or its folder, or several, whose mean probability the model computes.
    output:
        Model file to write.
    options:
        Quantisation and metadata.

    Returns
    -------
    ModelMetadata
        The metadata in the model file.

    Raises
    ------
    RunError
        A run cannot be loaded, or was trained on values that cannot be computed from the input; the
        runs differ in their preprocessing; or ONNX Runtime, which quantisation needs, is not
        installed.
    DataError
        ``calibration_images`` are not the images of the run.
    """
    given = [runs] if isinstance(runs, Run | str | os.PathLike) else runs
    opened = [run if isinstance(run, Run) else open_run(run) for run in given]
    first = opened[0]
    if first.recipe.data.overlap and options.calibration_images is not None:
        raise RunError(
            "models of overlapping labels (data.overlap) cannot be quantised",
            where=first.folder,
            hint="omit --int8",
        )
    graph = graph_input(first, options.input)
    for run in opened[1:]:
        require_same_lungs(run, first)
        if run.recipe.data.classes != first.recipe.data.classes:
            raise RunError(
                f"the labels differ from those of {first.folder.name}",
                where=run.folder,
                hint="combine only runs with the same data.labels",
            )
        if run.recipe.data.context != first.recipe.data.context:
            raise RunError(
                f"the neighbouring slices differ from those of {first.folder.name}",
                where=run.folder,
                hint="combine only runs with the same data.context",
            )
        if (run.recipe.preprocessing, graph_input(run, options.input)) != (
            first.recipe.preprocessing,
            graph,
        ):
            raise RunError(
                "the preprocessing or the intensity units differ from those of "
                f"{first.folder.name}",
                where=run.folder,
                hint="combine only runs with the same preprocessing and units",
            )
    context = first.recipe.data.context.slice_context
    networks = [trained_network(run) for run in opened]
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    module = InferenceModule(
        network.eval(),
        first.recipe.preprocessing,
        graph.mapping,
        mirror=options.mirror,
        mirrored=_mirrored(first) if options.mirror else (),
    )
    content = _to_onnx(module.eval())
    if options.calibration_images is not None:
        images = Path(options.calibration_images)
        content = quantise(content, calibration_slices(first, images, graph.values))
    content = _with_half_precision_weights(content)
    lungs = lung_stage(first, graph)
    weights = b"".join(t.numpy().tobytes() for t in network.state_dict().values())
    metadata = ModelMetadata(
        format=CASCADE_FORMAT if lungs else model_format(graph.units, first.classes, context),
        name=options.name or first.folder.resolve().name,
        version=options.version or pleura.__version__,
        labels=tuple(label.name for label in first.classes) or ("lung",),
        threshold=sum(run.threshold for run in opened) / len(opened),
        recipe=_recorded_recipe(first),
        data=options.data,
        data_fingerprint=_fingerprint(opened),
        licence=options.licence,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        input=graph.units,
        window=graph.window,
        classes=_mean_thresholds(opened),
        output="sigmoid" if first.recipe.data.overlap else "softmax",
        context=context,
        lungs=lungs,
    )
    model = _with_metadata(content, metadata, first.folder / LUNGS_FILE)
    write_atomically(Path(output), lambda file: file.write(model))
    remove_unfinished(Path(output))
    runs_text = counted(len(opened), "run")
    _logger.info("Exported %s as model %s %s", runs_text, metadata.name, metadata.version)
    return metadata


def _mirrored(run: Run) -> tuple[int, ...]:
    """Return the output of the network for a mirrored image, by output; empty for one class."""
    try:
        table = mirror_table(run.recipe.data) if run.classes else ()
        return tuple(i - 1 for i in table[1:]) if run.recipe.data.overlap else table
    except ValueError as error:
        raise RunError(
            f"the model cannot average mirror images: {error}",
            where=run.folder,
            hint="omit --mirror, or set the keys data.labels.VALUE.mirrored of the recipe",
        ) from error


def _mean_thresholds(runs: Sequence[Run]) -> tuple[Label, ...]:
    """Return the classes of runs, with the mean of their thresholds."""
    columns = zip(*(run.classes for run in runs), strict=True)
    return tuple(
        replace(column[0], threshold=sum(label.threshold for label in column) / len(column))
        for column in columns
    )


def _recorded_recipe(run: Run) -> dict[str, Any]:
    """Return the recipe of a run, with the names of custom components instead of their sections."""
    recipe = without_paths(run.recipe).model_dump(mode="json")
    custom = run.record.get("custom")
    if not custom:
        return recipe
    return {key: value for key, value in recipe.items() if key not in custom} | {"custom": custom}


def _fingerprint(runs: Sequence[Run]) -> str:
    """Return the hash of the data; of several data sets, the hash of their hashes."""
    hashes = list(dict.fromkeys(str(run.record["data_fingerprint"]) for run in runs))
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _to_onnx(module: InferenceModule) -> Any:
    channels = [module.network.inputs] if module.network.inputs > 1 else []
    example = torch.zeros(2, *channels, 96, 80, dtype=torch.int16)
    axes = {0: "slices", example.ndim - 2: "rows", example.ndim - 1: "columns"}
    with log_level("torch.onnx", logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["hu"],
            output_names=["probability"],
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RunError("the network cannot be exported", where=None, hint="report this error")
    return _without_source_paths(program.model_proto)


def _without_source_paths(model: Any) -> Any:
    """Remove the source paths of the nodes, which contain folders of this computer."""
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _with_half_precision_weights(model: Any) -> Any:
    """Store weights in half precision, which changes probabilities by at most 1/255."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weights in model.graph.initializer:
        if (
            weights.data_type == TensorProto.FLOAT
            and np.prod(weights.dims) >= _MIN_HALF_PRECISION_SIZE
        ):
            half = numpy_helper.to_array(weights).astype(np.float16)
            name = f"{weights.name}_half"
            casts.append(helper.make_node("Cast", [name], [weights.name], to=TensorProto.FLOAT))
            weights.CopyFrom(numpy_helper.from_array(half, name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _with_metadata(model: Any, metadata: ModelMetadata, lungs: Path) -> bytes:
    """Return the model file; that of a cascade also contains the model file of the lungs."""
    entries = {METADATA_KEY: json.dumps(metadata.to_dict())}
    if metadata.lungs is not None:
        entries[LUNGS_KEY] = to_entry(lungs.read_bytes())
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = model.SerializeToString()
    return content
