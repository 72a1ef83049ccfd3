"""The fast depthwise convolution against PyTorch's own, forward and backward."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.depthwise import DepthwiseConv2d

CHANNELS = 6


def both(
    layer: DepthwiseConv2d, x: Tensor, dtype: torch.dtype | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Output and gradients (input, weight) of the layer and of PyTorch's kernels in float64."""
    x = x.requires_grad_()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        ours = layer(x)
    grad = torch.randn(ours.shape)
    got = torch.autograd.grad(ours, (x, layer.weight), grad.to(ours.dtype))
    wide, weight = x.detach().double().requires_grad_(), layer.weight.detach().double()
    weight.requires_grad_()
    stride, pad = layer.stride[0], layer.kernel_size[0] // 2
    plain = functional.conv2d(wide, weight, None, stride, pad, 1, CHANNELS)
    wanted = torch.autograd.grad(plain, (wide, weight), grad.double())
    return [ours, *got], [plain, *wanted]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9), (8, 8), (33, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_equal_to_pytorch(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(kernel + stride)
    layer = DepthwiseConv2d(CHANNELS, kernel, stride)
    for ours, plain in zip(*both(layer, torch.randn(3, CHANNELS, *size)), strict=True):
        assert ours.shape == plain.shape
        torch.testing.assert_close(ours.double(), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_close_in_bfloat16(layout: torch.memory_format) -> None:
    torch.manual_seed(3)
    layer = DepthwiseConv2d(CHANNELS, 5, 2)
    x = torch.randn(2, CHANNELS, 11, 14).to(memory_format=layout)
    for ours, plain in zip(*both(layer, x, torch.bfloat16), strict=True):
        torch.testing.assert_close(ours.double(), plain, rtol=0.05, atol=0.2)


def test_bias_of_a_folded_norm() -> None:
    """Folding batch norm into the convolution gives it a bias, which must be trained too."""
    torch.manual_seed(4)
    layer = DepthwiseConv2d(CHANNELS, 5)
    layer.bias = torch.nn.Parameter(torch.randn(CHANNELS))
    x = torch.randn(2, CHANNELS, 6, 7)
    plain = functional.conv2d(x, layer.weight, layer.bias, 1, 2, 1, CHANNELS)
    out = layer(x)
    torch.testing.assert_close(out, plain)
    assert layer.bias is not None
    (grad,) = torch.autograd.grad(out.sum(), layer.bias)
    torch.testing.assert_close(grad, torch.full((CHANNELS,), 2.0 * 6 * 7))


def test_only_training_takes_the_way_around() -> None:
    """In eval mode it is PyTorch's own node, bias inside, as exporters and quantisers know it."""
    layer = DepthwiseConv2d(CHANNELS, 5)
    layer.bias = torch.nn.Parameter(torch.zeros(CHANNELS))
    x = torch.randn(1, CHANNELS, 6, 6)
    assert layer(x).grad_fn.name() == "AddBackward0"
    assert layer.eval()(x).grad_fn.name() == "ConvolutionBackward0"


def test_frozen_and_without_gradient() -> None:
    layer = DepthwiseConv2d(CHANNELS, 5)
    x = torch.randn(1, CHANNELS, 6, 6, requires_grad=True)
    layer.weight.requires_grad_(False)
    (grad,) = torch.autograd.grad(layer(x).sum(), x)
    assert grad.shape == x.shape
    with torch.no_grad():
        assert not layer(x).requires_grad
