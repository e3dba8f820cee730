"""Quick convolutions give what torch's do, and leave the others alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from RegRefineLib.training.convolution import quick_convolutions

CPU = torch.device("cpu")
needed = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")


@needed
@pytest.mark.parametrize("shape", [(9, 7, 5), (1, 4, 6), (8, 8, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(6, 4, 3, padding=1, bias=bias)
    x = torch.randn(1, 6, *shape, requires_grad=True)
    leaves = [x, *convolution.parameters()]
    usual = convolution(x)
    back = torch.randn_like(usual)
    with quick_convolutions(CPU):
        quick = convolution(x)
    assert "Convolution" in type(quick.grad_fn).__name__
    assert type(quick.grad_fn) is not type(usual.grad_fn)
    torch.testing.assert_close(quick, usual)
    expected = torch.autograd.grad(usual, leaves, back)
    for own, theirs in zip(torch.autograd.grad(quick, leaves, back), expected, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)


@needed
@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv3d(2, 4, 3, stride=2, padding=1),
        nn.Conv3d(2, 4, 1),
        nn.Conv3d(2, 4, 3),
        nn.Conv3d(2, 4, 3, padding=1, groups=2),
        nn.Conv3d(2, 4, 3, padding=2, dilation=2),
    ],
)
def test_other_convolutions_are_left_to_torch(convolution: nn.Conv3d) -> None:
    x = torch.randn(1, 2, 6, 6, 6)
    with quick_convolutions(CPU):
        quick = convolution(x)
    assert type(quick.grad_fn) is type(convolution(x).grad_fn)
    torch.testing.assert_close(quick, convolution(x))


def test_batches_and_other_precisions_are_left_to_torch() -> None:
    convolution = nn.Conv3d(2, 4, 3, padding=1).double()
    x = torch.randn(2, 2, 6, 6, 6).double()
    with quick_convolutions(CPU):
        for volumes in (x, x[:1]):
            assert torch.equal(convolution(volumes), convolution(volumes.clone()))


def test_on_other_devices_nothing_changes() -> None:
    with quick_convolutions(torch.device("meta")) as mode:
        assert mode is None
