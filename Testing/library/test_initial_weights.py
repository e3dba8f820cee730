"""First weights: kernels without a mean, first features of unit size, a head near zero."""

import torch
from torch import nn

from RegRefineLib.networks.blocks.initial_weights import flow_head, sees_contrast, without_mean


def test_what_all_inputs_share_is_not_seen() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(4, 8, 3)
    without_mean(convolution)
    x = torch.randn(1, 4, 6, 6, 6)
    torch.testing.assert_close(convolution(x + 5), convolution(x), atol=1e-4, rtol=0)


def test_the_variance_stays_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 32, 16, 16, 16)
    with torch.no_grad():
        for _ in range(6):
            convolution = nn.Conv3d(32, 32, 3, padding=1)
            without_mean(convolution)
            x = nn.functional.leaky_relu(convolution(x), 0.2)
    assert 0.3 < float(x.std()) < 2


def test_images_in_0_to_1_come_out_with_unit_size_and_a_displacement_as_before() -> None:
    torch.manual_seed(0)
    first = nn.Conv3d(6, 64, 3)
    without_mean(first)
    before = first.weight[:, 3:].clone()
    sees_contrast(first, 3)
    images = 0.5 + torch.randn(1, 3, 12, 12, 12) / 8
    seen = first(torch.cat([images, torch.zeros(1, 3, 12, 12, 12)], dim=1)).detach()
    assert 0.5 < float(seen.std()) < 2
    assert torch.equal(first.weight[:, 3:], before)


def test_the_head_begins_near_zero() -> None:
    assert 0 < float(flow_head(16).weight.detach().abs().max()) < 1e-4
