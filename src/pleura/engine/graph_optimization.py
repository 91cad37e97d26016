"""Faster equivalents of parts of a model whose slices have a fixed size.

OpenVINO multiplies the resampling matrices of an exported model as dense matrices, which takes as
long as the convolutions of the network, and copies both inputs of a concatenation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engine.openvino_library import opset13, ov, passes

ops: Any = opset13

MAX_BLOCKS = 16
"""Maximum number of blocks into which the rows of a band matrix are divided."""


def optimize(model: ov.Model) -> None:
    """Replace parts of a model of fixed shapes by faster ones with the same result, in place.

    Results differ by rounding only, since sums are computed in another order.
    """
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            _resample_in_blocks(node)
        elif node.get_type_name() == "Concat":
            _add_instead_of_concatenation(node)


def _resample_in_blocks(node: ov.Node) -> None:
    """Replace ``(rows @ x) @ columns.T`` with constant band matrices by products of blocks."""
    inner, columns = node.input_value(0).get_node(), _constant(node.input_value(1))
    if columns is None or inner.get_type_name() != "MatMul" or not _transposes(node, inner):
        return
    rows, x = _constant(inner.input_value(0)), inner.input_value(1)
    if rows is None or rows.ndim != 2 or columns.ndim != 2:
        return

    def resample_columns(value: Any) -> Any:
        return ops.matmul(value, ops.constant(columns), False, True).output(0)

    enlarged = rows.shape[0] > rows.shape[1]
    value = _multiply_blocks(rows, resample_columns(x) if enlarged else x)
    _replace(node, value if enlarged else resample_columns(value))


def _transposes(node: ov.Node, inner: ov.Node) -> bool:
    """Return whether only the second factor of the outer product is transposed."""
    flags = [part.get_attributes()[f"transpose_{side}"] for part in (inner, node) for side in "ab"]
    return flags == [False, False, False, True]


def _multiply_blocks(matrix: NDArray[np.float32], value: Any) -> Any:
    """Multiply a matrix (to, size) by a value (..., size, columns), without its blocks of zeros."""
    to, size = matrix.shape
    count = max(i for i in range(1, MAX_BLOCKS + 1) if to % i == 0)
    blocks = matrix.reshape(count, to // count, size)
    nonzero = [np.flatnonzero(block.any(0)) for block in blocks]
    if not all(map(len, nonzero)):
        return ops.matmul(ops.constant(matrix), value, False, False).output(0)
    width = max(int(columns[-1] - columns[0]) + 1 for columns in nonzero)
    start = np.minimum([columns[0] for columns in nonzero], size - width)
    index = start[:, None] + np.arange(width)  # (count, width)
    blocks = np.take_along_axis(blocks, index[:, None], 2)
    parts = ops.gather(value, ops.constant(index), ops.constant(-2))  # (..., count, width, columns)
    product = ops.matmul(ops.constant(blocks), parts, False, False)
    shape = [*value.get_shape()[:-2], to, value.get_shape()[-1]]
    return ops.reshape(product, ops.constant(np.array(shape)), False).output(0)


def _add_instead_of_concatenation(node: ov.Node) -> None:
    """Apply a separable convolution to each input of a concatenation, and add the results."""
    depthwise = _only_consumer(node, "GroupConvolution")
    pointwise = None if depthwise is None else _only_consumer(depthwise, "Convolution")
    if depthwise is None or pointwise is None or node.get_attributes()["axis"] != 1:
        return
    kernels, mixing = (_constant(part.input_value(1)) for part in (depthwise, pointwise))
    if kernels is None or mixing is None or kernels.shape[1:3] != (1, 1):
        return
    results, first = [], 0
    for value in node.input_values():
        channels = slice(first, first := first + value.get_shape()[1])
        part = ops.group_convolution(
            value, ops.constant(kernels[channels]), **_convolution_options(depthwise)
        )
        weights = np.ascontiguousarray(mixing[:, channels])
        results.append(
            ops.convolution(part, ops.constant(weights), **_convolution_options(pointwise))
        )
    total = results[0]
    for result in results[1:]:
        total = ops.add(total, result)
    _replace(pointwise, total.output(0))


def _convolution_options(node: ov.Node) -> dict[str, Any]:
    attributes = node.get_attributes()
    return {
        name: attributes[name]
        for name in ("strides", "pads_begin", "pads_end", "dilations", "auto_pad")
    }


def _only_consumer(node: ov.Node, kind: str) -> ov.Node | None:
    """Return the node that uses the first output, if it is the only one and of this type."""
    consumers = [target.get_node() for target in node.output(0).get_target_inputs()]
    is_one = len(consumers) == 1 and consumers[0].get_type_name() == kind
    return consumers[0] if is_one and consumers[0].input_value(0).get_node() == node else None


def _constant(value: Any) -> NDArray[np.float32] | None:
    """Return a constant as float32, also if it is stored in half precision; None if it is none."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
        return None
    return np.asarray(node.get_data(), np.float32)


def _replace(node: ov.Node, value: Any) -> None:
    for target in list(node.output(0).get_target_inputs()):
        target.replace_source_output(value)
