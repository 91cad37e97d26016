import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pleura.network.exercise import ExerciseUNet
from pleura.network.tiling import forward_whole, predict_whole
from pleura.network.unet2015 import UNet2015

sides = st.integers(1, 45)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small wait for threads longer than they compute
    yield
    torch.set_num_threads(threads)


def narrow(kind, filters=(4, 4, 4), dropout=0.5):
    """Build a small network whose units are alive, or it would agree with anything."""
    torch.manual_seed(0)
    network = kind(filters, dropout).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(0, 1)
    return network


@pytest.fixture(scope="module")
def unpadded():
    return narrow(UNet2015, (4, 4, 4, 4))  # margin 44, multiple 8


@pytest.fixture(scope="module")
def padded():
    return narrow(ExerciseUNet)


def image_of(h, w, n=1):
    return torch.randn(n, 1, h, w, generator=torch.Generator().manual_seed(h * 1000 + w))


def mirrored_by_numpy(images, before, after):
    pad = [(0, 0), (0, 0), *((before, extra) for extra in after)]
    return torch.from_numpy(np.pad(images.numpy(), pad, mode="reflect"))


def assert_alike(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(h=sides, w=sides, tile=st.integers(10, 45))
@example(h=9, w=13, tile=1)
def test_tiles_give_what_the_untiled_image_gives_seams_included(unpadded, h, w, tile):
    images = image_of(h, w, n=2)
    tiled = predict_whole(unpadded, images, tile)
    assert tiled.shape == (2, 1, h, w)
    with torch.no_grad():
        assert_alike(tiled, forward_whole(unpadded, images))


@settings(max_examples=25, deadline=None)
@given(h=sides, w=sides)
def test_unpadded_network_sees_mirror_images_beyond_every_border(unpadded, h, w):
    images = image_of(h, w)
    after = [unpadded.valid_size(side) - unpadded.margin - side for side in (h, w)]
    with torch.no_grad():
        expected = unpadded(mirrored_by_numpy(images, unpadded.margin, after))[..., :h, :w]
        assert_alike(forward_whole(unpadded, images), expected)


@settings(max_examples=25, deadline=None)
@given(h=sides, w=sides, tile=st.integers(1, 45))
def test_padded_network_mirrors_below_and_right_without_tiles(padded, h, w, tile):
    images = image_of(h, w)
    with torch.no_grad():
        expected = padded(mirrored_by_numpy(images, 0, [-h % 4, -w % 4]))[..., :h, :w]
    assert_alike(predict_whole(padded, images, tile), expected)


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (512, 512)])
def test_network_of_four_poolings_gives_whole_images_in_the_paper_s_tiles(size):
    network = narrow(UNet2015, (3, 3, 3, 3, 3))
    images = image_of(*size)
    with torch.no_grad():
        whole = forward_whole(network, images)
    assert whole.shape == (1, 1, *size)
    assert_alike(predict_whole(network, images), whole)


def test_no_tile_is_larger_than_asked_but_for_rounding(unpadded):
    seen = []
    hook = unpadded.register_forward_hook(lambda *call: seen.append(call[-1].shape[2:]))
    predict_whole(unpadded, image_of(100, 30), tile=42)
    hook.remove()
    assert seen == [(44, 36)] * 3


def test_image_that_fits_a_padded_network_goes_in_as_it_is(padded):
    images = image_of(64, 32)
    seen = []
    hook = padded.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    forward_whole(padded, images)
    hook.remove()
    assert seen[0] is images


@pytest.mark.parametrize("kind", [UNet2015, ExerciseUNet])
def test_whole_images_can_be_learned_from(kind):
    network = narrow(kind, dropout=0.0)
    images = image_of(13, 9).requires_grad_()
    forward_whole(network, images).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.head.parameters())
    assert images.grad.any()


def test_prediction_keeps_the_dtype_of_the_images_and_no_gradient(unpadded):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = predict_whole(unpadded, image_of(50, 30), tile=8)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
