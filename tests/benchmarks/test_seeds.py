import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FIGURES = ("validation_accuracy", "test_accuracy", "test_iou_0.1", "test_iou_0.5")


@pytest.fixture
def seeds(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("seeds")


def run(peer, seed, *figures):
    known = {"peer": peer, "scaling": "max", "seed": seed, "epochs": 26, "cpu_seconds": 60.4}
    return known | dict(zip(FIGURES, figures, strict=True))


@pytest.fixture
def folder(tmp_path):
    """Two runs of pleura and one of Keras."""
    for result in (
        run("keras", 220, 0.97, 0.975, 0.83, 0.90),
        run("pleura", 1, 0.96, 0.99, 0.81, 0.94),
        run("pleura", 220, 0.98, 0.98, 0.83, 0.92),
    ):
        name = f"{result['peer']}_max_{result['seed']}.json"
        (tmp_path / name).write_text(json.dumps(result))
    return tmp_path


def test_summary_is_mean_sample_sd_and_worst_of_each_peer(seeds, folder):
    summaries = seeds.summarise(seeds.read_results(folder))
    assert list(summaries) == [("pleura", "max"), ("keras", "max")]
    ours = summaries["pleura", "max"]["validation_accuracy"]
    assert ours == pytest.approx((2, 0.97, 0.02 / 2**0.5, 0.96))
    theirs = summaries["keras", "max"]["test_iou_0.5"]
    assert theirs == pytest.approx((1, 0.90, float("nan"), 0.90), nan_ok=True)


def test_pleura_is_held_against_keras_and_the_notebook(seeds, folder):
    found = {
        (c.figure, c.against): (c.mean_reached, c.worst_reached)
        for c in seeds.compare(seeds.summarise(seeds.read_results(folder)))
    }
    assert found == {
        ("validation_accuracy", "Keras"): (True, False),  # 0.97, 0.96 against 0.97
        ("validation_accuracy", "notebook"): (False, False),  # against 0.9703
        ("test_accuracy", "Keras"): (True, True),  # 0.985, 0.98 against 0.975
        ("test_accuracy", "notebook"): (True, True),  # against 0.9783
        ("test_iou_0.1", "Keras"): (False, False),  # 0.82, 0.81 against 0.83
        ("test_iou_0.1", "notebook"): (False, False),  # against 0.8225
        ("test_iou_0.5", "Keras"): (True, True),  # 0.93, 0.92 against 0.90
    }


def test_table_shows_each_run_then_summaries_then_the_comparison(seeds, folder):
    lines = seeds.table(seeds.read_results(folder)).splitlines()
    assert lines[2] == "| pleura | max | 220 | 26 | 0.9800 | 0.9800 | 0.8300 | 0.9200 | 60 |"
    assert "| pleura | max | SD of 2 | 0.0141 | 0.0071 | 0.0141 | 0.0141 |" in lines
    assert "| keras | max | SD of 1 |  |  |  |  |" in lines
    assert "| keras | max | worst of 1 | 0.9700 | 0.9750 | 0.8300 | 0.9000 |" in lines
    compared = "| max | validation accuracy | Keras | 0.9700, 0.9700 | reached | 0.9600, 0.9700 |"
    assert f"{compared} below |" in lines
    widths = [line.count("|") for line in lines]
    assert widths == [10] * 5 + [0] + [8] * 8 + [0] + [8] * 9
