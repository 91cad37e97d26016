"""Faster equivalents of parts of a model have the same result."""

import numpy as np
import pytest

from pleura.engine import openvino_model
from pleura.engine.engine import Engine, model_path
from pleura.engine.graph_optimization import optimize
from pleura.engine.openvino_library import opset13 as ops
from pleura.engine.openvino_library import ov
from pleura.formats.image_files import read_image_file


def types(model):
    return [node.get_type_name() for node in model.get_ordered_ops()]


def run(model, values):
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([values])[0]


@pytest.mark.parametrize("name", ["default", "accurate", "greyscale"])
@pytest.mark.parametrize("shape", [(512, 512), (131, 200), (600, 311)])
def test_probability_of_shipped_models_stays(name, shape, sample, monkeypatch):
    image = read_image_file(sample.images / "LCTSC-201_058.tif").astype(np.int16)
    indices = (np.arange(side) * old // side for side, old in zip(shape, image.shape, strict=True))
    slices = image[np.ix_(*indices)][None]
    optimized = Engine(model_path(name), precision="fp32").probability(slices)
    monkeypatch.setattr(openvino_model, "optimize", lambda model: None)
    expected = Engine(model_path(name), precision="fp32").probability(slices)
    assert expected.max() > 200
    assert np.abs(optimized.astype(int) - expected).max() <= 1


def test_shipped_model_has_no_concatenation_and_no_large_product():
    model = ov.Core().read_model(model_path("default"))
    model.reshape([1, 512, 512])
    optimize(model)
    products = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    multiplications = [
        int(np.prod(node.output(0).get_shape())) * node.input_value(0).get_shape()[-1]
        for node in products
    ]
    assert "Concat" not in types(model)
    assert sum(multiplications) < 512 * 512 * 256 * 1.5  # six times that before


@pytest.mark.parametrize(("to", "size"), [(64, 32), (30, 64), (17, 40), (12, 12)])
@pytest.mark.parametrize("leading", [(2,), (2, 3)])
def test_band_matrices_are_multiplied_in_blocks(to, size, leading):
    rng = np.random.default_rng(to)
    centre = np.arange(to)[:, None] * size / to
    band = np.abs(np.arange(size) - centre) <= 2
    rows, columns = (rng.random((to, size), np.float32) * band for _ in range(2))
    values = rng.random((*leading, size, size), np.float32)
    x = ops.parameter(list(values.shape), np.float32)
    inner = ops.matmul(ops.constant(rows), x, False, False)
    model = ov.Model([ops.matmul(inner, ops.constant(columns), False, True)], [x], "resampling")
    optimize(model)
    np.testing.assert_allclose(run(model, values), rows @ values @ columns.T, rtol=1e-4)


@pytest.mark.parametrize("transposed", [(False, True, False, True), (False, False, False, False)])
def test_other_products_stay(transposed):
    matrix = np.eye(8, dtype=np.float32)
    x = ops.parameter([1, 8, 8], np.float32)
    inner = ops.matmul(ops.constant(matrix), x, *transposed[:2])
    product = ops.matmul(inner, ops.constant(matrix), *transposed[2:])
    model = ov.Model([product], [x], "products")
    optimize(model)
    assert "Gather" not in types(model)


def test_matrix_with_rows_of_zeros_stays_dense():
    matrix = np.zeros((16, 16), np.float32)
    matrix[0, 0] = 1
    x = ops.parameter([1, 16, 16], np.float32)
    inner = ops.matmul(ops.constant(matrix), x, False, False)
    model = ov.Model([ops.matmul(inner, ops.constant(matrix), False, True)], [x], "zeros")
    optimize(model)
    values = np.random.default_rng(0).random((1, 16, 16), np.float32)
    np.testing.assert_allclose(run(model, values), matrix @ values @ matrix.T, rtol=1e-5)
