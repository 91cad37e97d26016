"""Weights that were saved under earlier names."""

import pytest
import torch

from pleura.network.build import build_network
from pleura.network.default import DefaultUNet
from pleura.network.recipe import NetworkRecipe
from pleura.network.weight_names import rename_weights
from pleura.training.initial_weights import load_initial_weights
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import Run
from pleura.training.state import initial_state, trained_network
from pleura.training.tensor_files import load_tensors, save_tensors

NETWORK = NetworkRecipe(architecture="default", channels=(4, 8, 16), dropout=0)


def earlier(weights):
    return {name.replace("upsample.", "enlarge."): value for name, value in weights.items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture
def recipe():
    values = {"name": "test", "network": NETWORK.model_dump(), "training": {"ema_decay": 0.9}}
    return build_recipe(values, "test")


def test_current_names_are_kept():
    weights = build_network(NETWORK).state_dict()
    assert any(name.startswith("upsample.") for name in weights)
    assert list(rename_weights(weights, build_network(NETWORK))) == list(weights)


def test_a_network_that_has_the_earlier_name_itself_keeps_it():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.enlarge = torch.nn.Conv2d(1, 1, 1)

    own = Own()
    assert same(rename_weights(own.state_dict(), own), own.state_dict())


def test_a_checkpoint_with_earlier_names_loads(recipe, tmp_path):
    state = initial_state(recipe)
    state.end_cycle(last=False)
    saved = state.to_dict()
    for name in ("network", "average"):
        saved[name] = earlier(saved[name])
    saved["ends"] = [earlier(weights) for weights in saved.pop("cycle_weights")]
    save_tensors(tmp_path / "checkpoint.pt", saved)

    loaded = initial_state(recipe.model_copy(update={"training": recipe.training}))
    for value in loaded.network.state_dict().values():
        value.zero_()
    loaded.load_dict(load_tensors(tmp_path / "checkpoint.pt"))
    assert same(loaded.network.state_dict(), state.network.state_dict())
    assert same(loaded.average.state_dict(), state.average.state_dict())
    assert len(loaded.cycle_weights) == 1
    assert same(loaded.cycle_weights[0], state.cycle_weights[0])
    loaded.end_cycle(last=True)  # the mean of all cycles, by current names
    assert len(loaded.cycle_weights) == 2


def test_a_run_with_earlier_names_predicts_and_is_fine_tuned(recipe, tmp_path):
    weights = DefaultUNet((4, 8, 16), dropout=0).state_dict()
    save_tensors(tmp_path / "weights.pt", {"network": earlier(weights)})
    run = Run(tmp_path, recipe, {"format": 1, "finished": True, "seed": 0, "data_fingerprint": ""})
    assert same(trained_network(run).state_dict(), weights)

    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    run.update()
    network = build_network(NETWORK)
    load_initial_weights(network, tmp_path)
    assert same(network.state_dict(), weights)
