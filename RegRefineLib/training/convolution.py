"""Convolutions on a CPU at the speed of oneDNN, forwards and backwards.

torch (2.13) leaves oneDNN for a plain loop where a single volume is small (channels x first two
sides up to 20480) and often reaches slow kernels backwards: 2 to 35 GFLOP/s on a core
that does 80. Here the 3x3x3 convolutions of the U-Nets go to oneDNN by name; the gradient by the
input is the convolution with the mirrored kernel, and the gradient by the kernel is computed for a
batch of two half volumes, which torch gives to oneDNN whatever their size.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ONES = (1, 1, 1)


class _QuickConvolutions(TorchFunctionMode):
    """Sends the convolutions that `_Convolution` can do to it, all others to torch."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (F.conv3d, torch.conv3d) and not kwargs and _suits(*args):
            return _Convolution.apply(*args[:3])
        return func(*args, **(kwargs or {}))


def quick_convolutions(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which small convolutions are quick; on other devices it does nothing."""
    able = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return _QuickConvolutions() if able else nullcontext()


def _suits(x: Tensor, weight: Tensor, *others: Any) -> bool:
    """Whether it is a plain 3x3x3 convolution of one float32 volume, padded by one voxel.

    The others are F.conv3d's: bias, stride, padding, dilation, groups, as nn.Conv3d gives them.
    """
    given = others[1:]  # stride, padding, dilation, groups
    plain = len(given) == 4 and all(value in (1, _ONES) for value in given)
    cubes = weight.shape[2:] == (3, 3, 3) and x.shape[0] == 1 and x.dim() == 5
    floats = x.dtype == weight.dtype == torch.float32
    return plain and cubes and floats and not torch.is_autocast_enabled("cpu")


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mkldnn_convolution(x, weight, bias, _ONES, _ONES, _ONES, 1)


class _Convolution(torch.autograd.Function):
    """A 3x3x3 convolution (1, C, D, H, W) with one voxel of zeros around."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = grad_outputs[0].contiguous()
        by_input, by_weight, by_bias = ctx.needs_input_grad
        mirrored = weight.flip(2, 3, 4).transpose(0, 1).contiguous()
        return (
            _convolved(gradient, mirrored, None) if by_input else None,
            _by_weight(x, gradient, weight) if by_weight else None,
            gradient.sum(dim=(0, 2, 3, 4)) if by_bias else None,
        )


def _by_weight(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient by the kernel, of the volume's two halves with what they share."""
    depth = x.shape[2]
    half = -(-depth // 2)
    # the second half of an odd depth ends in a plane of zeros
    padded = F.pad(x, (0, 0, 0, 0, 1, 1 + 2 * half - depth))
    gradient = F.pad(gradient, (0, 0, 0, 0, 0, 2 * half - depth))
    volumes = torch.cat([padded[:, :, : half + 2], padded[:, :, half:]])
    gradients = torch.cat([gradient[:, :, :half], gradient[:, :, half:]])
    wanted = [False, True, False]
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradients, volumes, weight, None, _ONES, (0, 1, 1), _ONES, False, (0, 0, 0), 1, wanted
    )
    return found[1]
