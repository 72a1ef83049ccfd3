"""A depthwise convolution whose gradients are as fast on a CPU as the rest of it.

PyTorch's CPU kernels compute the weight gradient of a depthwise 3x3 convolution quickly, and fall
back to a plain loop for larger kernels and for strides: there it costs many times as much as the
forward pass. The gradient of a tap depends on that tap alone, so a 5x5 kernel's is that of four 3x3
kernels, each at a corner.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_PIECE = 3


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` with one filter per channel, square odd kernel, same padding."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)]."""
        slow = (self.kernel_size[0] > _PIECE or self.stride[0] > 1) and x.device.type == "cpu"
        learning = self.training and torch.is_grad_enabled() and self.weight.requires_grad
        if not (slow and learning):  # an exporter must see one convolution
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
        out: Tensor = _Depthwise.apply(x, weight, self.stride[0])
        return out if bias is None else out + bias.to(out.dtype).view(1, -1, 1, 1)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return functional.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        grad = _spread(grad, ctx.stride, (x.shape[2], x.shape[3]))
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = _backward(grad, x, weight, weight.shape[2] // 2, (True, False, False))[0]
        return grad_x, weight_gradient(x, grad, weight.shape[2]), None


def weight_gradient(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    """Gradient [C, 1, kernel, kernel] of a depthwise convolution of stride 1 with same padding.

    x [N, C, H, W] is its input, grad [N, C, H, W] the gradient of its output, ``kernel`` odd and
    at least 3. Tap (i, j) is the sum of x(r + i - kernel // 2, c + j - kernel // 2) grad(r, c)
    over all pictures and places; it is computed for 3x3 taps at a time.
    """
    pad, (channels, height, width) = kernel // 2, x.shape[1:]
    padded = functional.pad(x, (pad, pad, pad, pad))
    out = grad.new_zeros((channels, 1, kernel, kernel))
    like = grad.new_zeros((channels, 1, _PIECE, _PIECE))
    corners = sorted({min(corner, kernel - _PIECE) for corner in range(0, kernel, _PIECE)})
    for i in corners:
        for j in corners:
            view = padded[:, :, i : i + height + _PIECE - 1, j : j + width + _PIECE - 1]
            view = view.contiguous(memory_format=torch.channels_last)
            piece = _backward(grad, view, like, 0, (False, True, False))[1]
            out[:, :, i : i + _PIECE, j : j + _PIECE] = piece
    return out


def _spread(grad: Tensor, stride: int, size_hw: tuple[int, int]) -> Tensor:
    """Zeros between the values, as if the stride were 1: a stride is slow, too."""
    if stride == 1:
        return grad
    out = grad.new_zeros((*grad.shape[:2], *size_hw))
    out = out.to(memory_format=torch.channels_last)
    out[:, :, ::stride, ::stride] = grad
    return out


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, pad: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    groups = weight.shape[0]
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], [pad] * 2, [1, 1], False, [0, 0], groups, wanted
    )
    return found
