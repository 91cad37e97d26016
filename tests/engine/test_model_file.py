"""Model files that are damaged or hostile: each is one ModelError, before anything is run."""

import dataclasses
import json
import os

import numpy as np
import pytest
from onnx import TensorProto, helper

import pleura
from pleura.engine.engine import DEFAULT_MODEL, Engine
from pleura.engine.model_file import METADATA_KEY, ModelMetadata, read_metadata
from pleura.engine.onnx_graph import check_graph
from pleura.errors import ModelError

RECORD = {
    "format": 1,
    "name": "tiny",
    "version": "1",
    "labels": ["lung"],
    "threshold": 0.5,
    "recipe": {},
    "data": "",
    "data_fingerprint": "",
    "licence": "",
    "weights_sha256": "",
}
FREE = ["slices", "rows", "columns"]


def value(name, kind, shape=FREE):
    return helper.make_tensor_value_info(name, kind, shape)


def write(path, nodes=None, *, record=RECORD, inputs=None, outputs=None, **graph):
    """A model that returns its input as uint8, unless told otherwise."""
    nodes = nodes or [helper.make_node("Cast", ["hu"], ["p"], to=TensorProto.UINT8)]
    inputs = inputs or [value("hu", TensorProto.INT16)]
    outputs = outputs or [value("p", TensorProto.UINT8)]
    made = helper.make_graph(nodes, "tiny", inputs, outputs, **graph)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, record if isinstance(record, str) else json.dumps(record)
    path.write_bytes(model.SerializeToString())
    return path


def constant(dims, name="c", **fields):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    for key, content in fields.items():
        setattr(tensor, key, content)
    return tensor


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_whole_model_runs(tmp_path, runtime):
    hu = np.arange(32, dtype=np.int16).reshape(2, 4, 4)
    engine = Engine(write(tmp_path / "a.onnx"), 1, runtime=runtime)
    np.testing.assert_array_equal(engine.probability(hu), hu)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threshold": "abc"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": 10**400}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": 0}, "threshold"),
        ({"format": float("inf")}, "format"),
        ({"format": "1"}, "format"),
        ({"format": 0}, "format"),
        ({"format": 10**300}, "install --upgrade pleura"),
        ({"name": ""}, "name"),
        ({"name": "\x1b[31mred"}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"name": ["a"]}, "name"),
        ({"version": None}, "version"),
        ({"licence": "\x07"}, "licence"),
        ({"data": "a" * 100_000}, "data"),
        ({"labels": "lung"}, "labels"),
        ({"labels": ["lung", "heart"]}, "labels"),
        ({"recipe": []}, "recipe"),
        ({"recipe": {"a": json.loads("[" * 100 + "]" * 100)}}, "recipe"),
        ({"other": 1}, "keys"),
    ],
)
def test_an_invalid_record_is_refused(tmp_path, change, says):
    path = write(tmp_path / "a.onnx", record={**RECORD, **change})
    with pytest.raises(ModelError, match=says) as caught:
        read_metadata(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "record", ["", "[" * 100_000, "{}", "[]", "1", "1e999", '{"format":1e999}']
)
def test_a_record_that_is_no_record_is_refused(tmp_path, record):
    with pytest.raises(ModelError, match="model"):
        read_metadata(write(tmp_path / "a.onnx", record=record))


def test_a_record_is_checked_before_it_is_written():
    with pytest.raises(ModelError, match="name must be"):
        dataclasses.replace(ModelMetadata(**{**RECORD, "labels": ("lung",)}), name="a\nb")


def looping():
    condition = helper.make_tensor("true", TensorProto.BOOL, [1], [1])
    body = helper.make_graph(
        [helper.make_node("Identity", ["c_in"], ["c_out"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c_in", TensorProto.BOOL, [])],
        [value("c_out", TensorProto.BOOL, [])],
    )
    loop = helper.make_node("Loop", ["", "true"], [], body=body)
    cast = helper.make_node("Cast", ["hu"], ["p"], to=TensorProto.UINT8)
    return {"nodes": [loop, cast], "initializer": [condition]}


GRAPHS = {
    "loop": (looping, "loop or a branch"),
    "two inputs": (
        lambda: {"inputs": [value("hu", TensorProto.INT16), value("b", TensorProto.INT16)]},
        "one input",
    ),
    "another input type": (lambda: {"inputs": [value("hu", TensorProto.FLOAT)]}, "int16"),
    "another input name": (lambda: {"inputs": [value("x", TensorProto.INT16)]}, "'hu'"),
    "another output type": (lambda: {"outputs": [value("p", TensorProto.FLOAT)]}, "uint8"),
    "another output rank": (
        lambda: {"outputs": [value("p", TensorProto.UINT8, ["rows", "columns"])]},
        "one output",
    ),
    "one size": (lambda: {"inputs": [value("hu", TensorProto.INT16, [1, 64, 64])]}, "one size"),
    "another domain": (
        lambda: {"nodes": [helper.make_node("Evil", ["hu"], ["p"], domain="evil")]},
        "not an ONNX operator",
    ),
    "external data": (
        lambda: {"initializer": [constant([1], data_location=TensorProto.EXTERNAL)]},
        "other files",
    ),
    "huge initializer": (
        lambda: {"initializer": [constant([1 << 40], raw_data=b"")]},
        "larger than the file",
    ),
    "huge constant": (
        lambda: {"nodes": [helper.make_node("Constant", [], ["p"], value=constant([1 << 40]))]},
        "larger than the file",
    ),
}


@pytest.mark.parametrize("what", GRAPHS)
def test_a_graph_that_pleura_does_not_run_is_refused(tmp_path, what):
    make, says = GRAPHS[what]
    path = write(tmp_path / "a.onnx", **make())
    with pytest.raises(ModelError, match=says):
        Engine(path)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_output_of_another_shape_than_declared_is_refused(tmp_path, runtime):
    cast = helper.make_node("Cast", ["hu"], ["f"], to=TensorProto.FLOAT)
    most = helper.make_node("ReduceMax", ["f", "axes"], ["m"], keepdims=1)
    back = helper.make_node("Cast", ["m"], ["p"], to=TensorProto.UINT8)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    path = write(tmp_path / "a.onnx", [cast, most, back], initializer=[axes])
    with pytest.raises(ModelError, match=r"returned uint8 \(3, 1, 20\)|cannot run"):
        Engine(path, runtime=runtime).probability(np.zeros((3, 20, 20), np.int16))


@pytest.mark.parametrize("sides", [(1 << 16, 1 << 15), (1 << 40, 1)])
def test_an_intermediate_result_without_bound_is_refused(tmp_path, sides):
    shape = helper.make_tensor("sides", TensorProto.INT64, [2], sides)
    fill = helper.make_node("ConstantOfShape", ["sides"], ["huge"])
    most = helper.make_node("ReduceMax", ["huge"], ["m"], keepdims=0)
    cast = helper.make_node("Cast", ["hu"], ["f"], to=TensorProto.FLOAT)
    add = helper.make_node("Add", ["f", "m"], ["s"])
    back = helper.make_node("Cast", ["s"], ["p"], to=TensorProto.UINT8)
    path = write(tmp_path / "a.onnx", [fill, most, cast, add, back], initializer=[shape])
    with pytest.raises(ModelError, match=r"cannot run|memory|truncated or corrupt"):
        Engine(path).probability(np.zeros((1, 20, 20), np.int16))


def test_damaged_structure_raises_nothing_but_what_is_documented():
    """A byte of the file's end, where its structure is, changes, or the file ends there."""
    content = DEFAULT_MODEL.read_bytes()
    rng = np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(content)
        at = int(rng.integers(len(content) - 20_000, len(content)))
        damaged[at] = int(rng.integers(256))
        try:
            check_graph(bytes(damaged[: None if i % 2 else at + 1]))
        except (ValueError, IndexError, KeyError):
            continue


def test_what_is_no_file_is_refused(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")
    for name in ("pipe.onnx", "", "n" * 300, "a\0b"):
        with pytest.raises(ModelError):
            pleura.Segmenter(tmp_path / name)
