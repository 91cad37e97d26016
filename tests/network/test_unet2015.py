from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pleura.network.unet2015 import UNet2015

PAPER = (64, 128, 256, 512, 1024)
NARROW = (2, 3, 4, 5, 6)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small wait for threads longer than they compute
    yield
    torch.set_num_threads(threads)


def parameters_by_formula(filters):
    """Count weights and biases as figure 1 lists the layers."""

    def convolution(side, inputs, outputs):
        return (side**2 * inputs + 1) * outputs

    down = sum(convolution(3, i, o) + convolution(3, o, o) for i, o in pairwise((1, *filters)))
    up = sum(
        convolution(2, below, here) + convolution(3, 2 * here, here) + convolution(3, here, here)
        for here, below in pairwise(filters)
    )
    return down + up + convolution(1, filters[0], 2)


def sides_by_walking(poolings, side):
    """Follow one side of the image through figure 1; None where a pooling meets an odd one."""
    for _ in range(poolings):
        side -= 4
        if side <= 0 or side % 2:
            return None
        side //= 2
    for _ in range(poolings):
        side = 2 * (side - 4)
    return side - 4 if side > 4 else None


def test_network_of_the_paper_has_31_030_658_parameters():
    network = UNet2015()
    assert parameters_by_formula(PAPER) == 31_030_658
    assert sum(p.numel() for p in network.parameters()) == 31_030_658


def test_572_pixels_become_388_as_in_figure_1():
    network = UNet2015(NARROW).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 572, 572)).shape == (1, 1, 388, 388)
    assert (network.margin, network.multiple, network.valid_size(388)) == (92, 16, 572)


@pytest.mark.parametrize("poolings", [1, 2, 3, 4])
def test_valid_sizes_are_those_at_which_every_pooling_is_even(poolings):
    network = UNet2015((1,) * (poolings + 1))
    walked = {side: sides_by_walking(poolings, side) for side in range(1, 300)}
    valid = {side: out for side, out in walked.items() if out is not None}
    assert {side - out for side, out in valid.items()} == {2 * network.margin}
    for output in range(1, max(valid.values()) + 1):
        assert network.valid_size(output) == min(s for s, out in valid.items() if out >= output)


@pytest.mark.parametrize(("side", "fit"), [(573, 588), (512, 524), (184, 188), (12, 188)])
def test_impossible_side_is_refused_with_the_next_that_fits(side, fit):
    with pytest.raises(ValueError, match=f"{side} pixels is not a valid input side .* is {fit}$"):
        UNet2015(NARROW)(torch.zeros(1, 1, 572, side))


def test_pixel_sees_its_pooling_cell_and_the_margin_around_it():
    torch.manual_seed(0)
    network = UNet2015((8, 8, 8)).eval()
    images = torch.rand(1, 1, 64, 64, requires_grad=True)
    logit = network(images)[0, 0, 13, 13]  # in the cell 12-15, pixels 32-35 of the image
    (gradient,) = torch.autograd.grad(logit, images)
    for axis in (0, 1):
        seen = gradient[0, 0].abs().sum(axis).nonzero().flatten().tolist()
        assert seen == list(range(32 - network.margin, 36 + network.margin))


def figure_1(weights, x, level=0):
    """Follow figure 1 as a recursion: what a level returns is its last blue box."""

    def two_convolutions(x, name):
        for i in (0, 2):
            x = F.conv2d(x, weights[f"{name}.{i}.weight"], weights[f"{name}.{i}.bias"]).clamp(min=0)
        return x

    x = two_convolutions(x, f"down.{level}")
    if f"down.{level + 1}.0.weight" not in weights:
        return x
    below = figure_1(weights, F.max_pool2d(x, 2), level + 1)
    up = sum(name.startswith("up.") for name in weights) // 2 - 1 - level
    below = F.conv_transpose2d(below, weights[f"up.{up}.weight"], weights[f"up.{up}.bias"], 2)
    border = (x.shape[2] - below.shape[2]) // 2
    skip = F.pad(x, [-border] * 4)
    return two_convolutions(torch.cat([skip, below], 1), f"merge.{up}")


def test_last_feature_maps_are_those_of_figure_1_followed_as_a_recursion():
    torch.manual_seed(0)
    network = UNet2015((4, 5, 6, 7)).eval()
    images = torch.randn(2, 1, 108, 116)
    last = []
    network.head.register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))
    with torch.no_grad():
        network(images)
        expected = figure_1(network.state_dict(), images)
    assert expected.std() > 0.1
    torch.testing.assert_close(last[0], expected, rtol=1e-4, atol=1e-4)


def test_sigmoid_of_the_logits_is_the_softmax_over_the_two_maps():
    network = UNet2015((3, 4, 5)).eval()
    maps = []
    network.head.register_forward_hook(lambda *call: maps.append(call[-1]))
    logits = network(torch.randn(2, 1, 44, 48))
    assert maps[0].shape[1] == 2
    torch.testing.assert_close(torch.sigmoid(logits[:, 0]), F.softmax(maps[0], 1)[:, 1])


def test_initial_weights_give_every_feature_map_about_unit_variance():
    torch.manual_seed(0)
    network = UNet2015()
    assert all(not p.any() for name, p in network.named_parameters() if name.endswith("bias"))
    incoming = {"down.0.2": 9 * 64, "down.4.0": 9 * 512, "up.0": 1024, "merge.3.0": 9 * 128}
    for name, n in incoming.items():
        weight = network.get_submodule(name).weight.detach().numpy()
        assert np.std(weight) == pytest.approx(np.sqrt(2 / n), rel=0.02), name


def test_dropout_works_at_the_end_of_the_contracting_path_and_only_in_training():
    network = UNet2015((3, 4, 5), dropout=0.5)
    images = torch.randn(1, 1, 44, 44)
    dropped = []
    network.dropout.register_forward_hook(lambda *call: dropped.append(call[-1].shape[1]))
    network.train()
    assert not torch.equal(network(images), network(images))
    assert dropped == [4, 5, 4, 5]
    network.eval()
    assert torch.equal(network(images), network(images))


def test_channels_last_and_bfloat16_give_nearly_the_same_logits():
    torch.manual_seed(0)
    network = UNet2015((8, 8, 8)).eval()
    images = torch.randn(1, 1, 76, 76)
    with torch.no_grad():
        plain = network(images)
        network.to(memory_format=torch.channels_last)
        last = network(images.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(images)
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).abs().max() < 0.05 * plain.abs().max()
