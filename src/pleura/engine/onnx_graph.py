"""Check of the structure of an ONNX file before a runtime loads it.

Runtimes allocate the memory that a file claims and read other files that it refers to. This check
refuses such files. docs/experiments/reliability.md compares it with the reader of OpenVINO.

References
----------
.. [1] https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
.. [2] https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

Fields = list[tuple[int, "int | memoryview"]]

Value = tuple[str, int, "list[int | None]"]
"""Name, element type and sizes of an input or output; None is a dynamic size."""

MAX_FIELDS = 1_000_000
"""Maximum number of fields of a file; the larger of the shipped models has 30,000."""

_RANK = 3
_INT16, _UINT8 = 5, 2
_ONNX = ("", "ai.onnx")


class GraphError(ValueError):
    """A graph that pleura refuses; the message completes "the model file ..."."""


@dataclass(frozen=True)
class GraphSignature:
    """Inputs and outputs of a graph."""

    inputs: list[Value]
    outputs: list[Value]

    def check(self) -> tuple[int | None, int | None]:
        """Check names, types and sizes.

        There must be one input ``hu`` (HU or grey values), int16 (slices, rows, columns) or
        (slices, channels, rows, columns), and one output, uint8 (slices, rows, columns) or
        (slices, classes, rows, columns). Only the numbers of channels and classes are fixed.

        Returns
        -------
        channels, classes:
            None for a dimension that does not exist.

        Raises
        ------
        GraphError
            The graph has another signature.
        """
        inputs, outputs, ranks = self.inputs, self.outputs, (_RANK, _RANK + 1)
        is_input = [value[:2] for value in inputs] == [("hu", _INT16)]
        if not is_input or len(inputs[0][2]) not in ranks:
            raise GraphError("does not have one input 'hu', int16 (slices, rows, columns)")
        if [value[1] for value in outputs] != [_UINT8] or len(outputs[0][2]) not in ranks:
            raise GraphError("does not have one output, uint8 (slices, rows, columns)")
        return _fixed_size(inputs[0][2], "channels"), _fixed_size(outputs[0][2], "classes")


def _fixed_size(sizes: list[int | None], name: str) -> int | None:
    """Return the size of the second of four dimensions, and check that the others are free."""
    if len(sizes) > _RANK and sizes[1] is None:
        raise GraphError(f"does not have a fixed number of {name}")
    if any(size is not None for size in (sizes[0], *sizes[-2:])):
        raise GraphError("accepts slices of one size only")
    return sizes[1] if len(sizes) > _RANK else None


def check_graph(content: bytes) -> tuple[dict[str, str], GraphSignature]:
    """Check the graph of an ONNX file and return the file's metadata.

    The graph must not have loops, branches, functions, operators of other domains, or data in other
    files. Field numbers are those of onnx.proto [1]_.

    Parameters
    ----------
    content:
        The content of the file.

    Returns
    -------
    metadata:
        The entries of ``metadata_props``.
    signature:
        Inputs and outputs, which are not checked.

    Raises
    ------
    GraphError
        The graph contains elements that are refused.
    ValueError
        The file is truncated or not an ONNX file.
    """
    budget = iter(range(MAX_FIELDS))
    model = _fields(memoryview(content), budget)
    graphs = _messages(model, 7)
    if len(graphs) != 1:
        raise ValueError("no graph")
    if _messages(model, 25):
        raise GraphError("defines functions")
    graph = _fields(graphs[0], budget)
    if _messages(graph, 15):
        raise GraphError("contains sparse tensors")
    for tensor in _messages(graph, 5):
        _check_tensor(_fields(tensor, budget), len(content))
    for node in _messages(graph, 1):
        _check_node(_fields(node, budget), len(content), budget)
    inputs = [_value(_fields(value, budget), budget) for value in _messages(graph, 11)]
    outputs = [_value(_fields(value, budget), budget) for value in _messages(graph, 12)]
    entries = [dict(_fields(entry, budget)) for entry in _messages(model, 14)]
    return {_text(entry[1]): _text(entry[2]) for entry in entries}, GraphSignature(inputs, outputs)


def _check_node(node: Fields, size: int, budget: Iterator[int]) -> None:
    operator = "".join(_text(value) for field, value in node if field == 4)
    if any(_text(value) not in _ONNX for field, value in node if field == 7):
        raise GraphError(f"uses the operator {operator}, which is not an ONNX operator")
    for attribute in _messages(node, 5):
        fields = _fields(attribute, budget)
        if any(field in (6, 11) for field, _ in fields):
            raise GraphError(f"has a loop or a branch (operator {operator})")
        if any(field in (22, 23) for field, _ in fields):
            raise GraphError("contains sparse tensors")
        for tensor in (*_messages(fields, 5), *_messages(fields, 10)):
            _check_tensor(_fields(tensor, budget), size)


def _check_tensor(tensor: Fields, size: int) -> None:
    """Refuse data in other files, and sizes that a file of ``size`` bytes cannot hold."""
    if any(field == 13 or (field == 14 and value) for field, value in tensor):
        raise GraphError("refers to data in other files")
    dims: list[int] = []
    for field, value in tensor:
        if field == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
    if math.prod(dims) > 8 * size:  # the smallest type has one bit
        raise GraphError("claims tensors larger than the file")


def _value(fields: Fields, budget: Iterator[int]) -> Value:
    """Return an input or output of the graph."""
    name = "".join(_text(value) for field, value in fields if field == 1)
    types = [t for k in _messages(fields, 2) for t in _messages(_fields(k, budget), 1)]
    tensor_type = _fields(types[0], budget) if types else []
    dims = [d for shape in _messages(tensor_type, 2) for d in _messages(_fields(shape, budget), 1)]
    sizes = [
        next((v if isinstance(v, int) else 0 for f, v in _fields(dim, budget) if f == 1), None)
        for dim in dims
    ]
    element = next((value for field, value in tensor_type if field == 1), 0)
    return name, element if isinstance(element, int) else 0, sizes


def _messages(fields: Fields, number: int) -> list[memoryview]:
    return [v for field, v in fields if field == number and isinstance(v, memoryview)]


def _text(value: int | memoryview) -> str:
    if not isinstance(value, memoryview):
        raise ValueError("not an ONNX file")  # noqa: TRY004
    return bytes(value).decode()


def _packed(content: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(content):
        value, position = _varint(content, position)
        values.append(value)
    return values


def _fields(content: memoryview, budget: Iterator[int]) -> Fields:
    """Return the fields of a message in the wire format of protobuf [2]_."""
    fields: Fields = []
    position = 0
    while position < len(content):
        if next(budget, None) is None:
            raise GraphError(f"has more than {MAX_FIELDS:,} fields")
        key, position = _varint(content, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _varint(content, position)
            fields.append((key >> 3, value))
            continue
        if wire_type == 2:
            length, position = _varint(content, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError("not an ONNX file")
        if position + length > len(content):
            raise ValueError("truncated")
        fields.append((key >> 3, content[position : position + length]))
        position += length
    return fields


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("not an ONNX file")
