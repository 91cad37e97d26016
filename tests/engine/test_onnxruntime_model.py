import numpy as np
import pytest

from pleura.engine.engine import Engine
from pleura.engine.onnxruntime_model import GPU_BATCH, OnnxRuntimeModel
from pleura.errors import ModelError
from pleura.formats.images import from_array
from pleura.scan.scan import Decision
from pleura.segmentation.segmenter import Segmenter


def test_batches_on_a_gpu_have_one_shape(model, monkeypatch):
    """A change of the shape makes cuDNN choose its algorithms again, which takes a second."""
    gpu = OnnxRuntimeModel(model, threads=1)
    shapes = []
    run = gpu._run
    monkeypatch.setattr(gpu, "device", lambda: ("CUDA", ""))
    monkeypatch.setattr(gpu, "_run", lambda values: (shapes.append(values.shape), run(values))[1])
    values = np.random.default_rng(0).integers(-1000, 100, (GPU_BATCH + 3, 64, 64), np.int16)
    found = gpu.run(values)
    assert shapes == [(GPU_BATCH, 64, 64)] * 2
    assert (
        np.abs(found.astype(int) - Engine(model, precision="fp32").probability(values)).max() <= 1
    )


def test_a_gpu_that_cannot_be_used_is_reported(model, monkeypatch):
    import onnxruntime

    session = onnxruntime.InferenceSession

    def without_gpu(source, options, providers, **others):
        if len(providers) > 1:
            raise RuntimeError("no CUDA-capable device is detected")
        return session(source, options, providers=providers, **others)

    gpu_package = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: gpu_package)
    monkeypatch.setattr(onnxruntime, "InferenceSession", without_gpu)
    expected = "ONNX Runtime cannot use CUDA (no CUDA-capable device is detected)"
    assert OnnxRuntimeModel(model, threads=1).device() == ("CPU", expected)
    scan = from_array(np.zeros((1, 64, 64), np.int16), units="hu")
    result = Segmenter(model, runtime="onnxruntime")(scan, warn=False)
    assert Decision("device", "CPU", expected) in result.decisions


def test_an_operator_that_onnx_runtime_lacks_is_named(model, tmp_path):
    import onnx

    content = onnx.load(model)
    content.graph.node[0].op_type = "FutureOperator"
    onnx.save(content, tmp_path / "future.onnx")
    with pytest.raises(ModelError, match="FutureOperator"):
        OnnxRuntimeModel(tmp_path / "future.onnx", threads=1)
