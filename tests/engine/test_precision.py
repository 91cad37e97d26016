"""The precision that `auto` chooses."""

from pathlib import Path

import pytest

from pleura.engine.cpu import is_slow_in_bf16
from pleura.engine.engine import DEFAULT_MODEL
from pleura.engine.openvino_model import OpenVinoModel

INTEL, AMD = "vendor_id\t: GenuineIntel\n", "vendor_id\t: AuthenticAMD\n"


@pytest.mark.parametrize(
    ("information", "slow"),
    [
        (INTEL + "flags\t: avx2 avx512_bf16\n", True),
        (INTEL + "flags\t: avx2 avx512_bf16 amx_bf16\n", False),
        (INTEL + "flags\t: avx2\n", True),
        (AMD + "flags\t: avx2 avx512_bf16\n", False),
        ("Features\t: asimd bf16\n", False),
        (None, False),
    ],
)
def test_cpus_that_are_slow_in_bf16(information, slow, monkeypatch):
    def read_text(path, **options):
        assert str(path) == "/proc/cpuinfo"
        if information is None:
            raise FileNotFoundError
        return information

    monkeypatch.setattr(Path, "read_text", read_text)
    assert is_slow_in_bf16() == slow


@pytest.mark.parametrize(("slow", "hint"), [(True, "f32"), (False, None)])
def test_precision_of_openvino(slow, hint, monkeypatch):
    monkeypatch.setattr("pleura.engine.openvino_model.is_slow_in_bf16", lambda: slow)
    model = OpenVinoModel(DEFAULT_MODEL, 1, "auto")
    assert model._options.get("INFERENCE_PRECISION_HINT") == hint
    assert OpenVinoModel(DEFAULT_MODEL, 1, "bf16")._options["INFERENCE_PRECISION_HINT"] == "bf16"
