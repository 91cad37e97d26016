import pytest
import torch
import torch.nn.functional as F

from pleura.network.exercise import Dropout, ExerciseUNet, UpConvolution


def test_network_has_the_parameters_of_the_exercise():
    def convolution(inputs, outputs, side):
        return inputs * outputs * side * side + outputs

    expected = (
        convolution(1, 64, 3)
        + convolution(64, 128, 3)
        + convolution(128, 256, 3)
        + convolution(256, 128, 2)
        + convolution(256, 128, 3)
        + convolution(128, 64, 2)
        + convolution(128, 64, 3)
        + convolution(64, 1, 1)
    )
    assert expected == 902_593
    assert sum(p.numel() for p in ExerciseUNet().parameters()) == expected


def test_network_gives_one_logit_a_pixel():
    network = ExerciseUNet((4, 8, 16))
    assert network(torch.zeros(2, 1, 20, 36)).shape == (2, 1, 20, 36)


def test_up_convolution_equals_upsampling_and_convolution():
    torch.manual_seed(0)
    layer = UpConvolution(5, 3).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, 6, 7, dtype=torch.double, requires_grad=True)
    padded = F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), (0, 1, 0, 1))
    plain = F.relu(F.conv2d(padded, layer.weight, layer.bias))
    wanted = (x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), plain)
    torch.testing.assert_close(
        torch.autograd.grad(layer(x).square().sum(), wanted),
        torch.autograd.grad(plain.square().sum(), wanted),
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("probability", [0.25, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(probability, memory_format):
    torch.manual_seed(0)
    x = torch.ones(4, 16, 50, 50).contiguous(memory_format=memory_format)
    y = Dropout(probability)(x)
    assert y.is_contiguous(memory_format=memory_format)
    # 160,000 draws: the SD of their share is below 0.00125.
    assert (y == 0).float().mean().item() == pytest.approx(probability, abs=0.006)
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - probability)])


def test_dropout_draws_anew_by_torchs_seed_and_rests_in_evaluation():
    layer, x = Dropout(0.5), torch.ones(1, 8, 8, 8)
    torch.manual_seed(1)
    first = layer(x)
    assert not torch.equal(first, layer(x))
    torch.manual_seed(1)
    assert torch.equal(first, layer(x))
    assert torch.equal(layer.eval()(x), x)


def test_weights_start_as_keras_starts_them():
    torch.manual_seed(0)
    network = ExerciseUNet()
    assert all(not p.any() for n, p in network.named_parameters() if n.endswith("bias"))
    weight = network.merge1.weight  # Glorot: uniform within sqrt(6 / (fan in + fan out))
    limit = (6 / (9 * 128 + 9 * 64)) ** 0.5
    assert 0.99 * limit < weight.abs().max().item() <= limit
