"""The few building blocks of backbone, neck and heads: ReLU6 convolutions, friendly to INT8."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgemtl.nn.depthwise import DepthwiseConv2d


def conv_bn_act(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6; same padding."""
    conv: nn.Conv2d
    if groups == channels_in == channels_out and groups > 1:
        conv = DepthwiseConv2d(channels_in, kernel, stride)
    else:
        conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        )
    return nn.Sequential(
        conv,
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(inplace=True),
    )


def separable(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Sequential:
    """Depthwise then pointwise convolution, each with batch norm and ReLU6."""
    return nn.Sequential(
        conv_bn_act(channels_in, channels_in, kernel, groups=channels_in),
        conv_bn_act(channels_in, channels_out),
    )


class InvertedResidual(nn.Module):
    """MBConv without squeeze-excite (MobileNetV2, arXiv 1801.04381, section 3.3).

    Expansion 1x1 (absent at ratio 1), depthwise k x k, linear projection 1x1, and the skip
    connection where the shape allows it.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, ratio: int):
        super().__init__()
        hidden = channels_in * ratio
        expand = [conv_bn_act(channels_in, hidden)] if ratio > 1 else []
        self.body = nn.Sequential(
            *expand,
            conv_bn_act(hidden, hidden, kernel, stride, groups=hidden),
            nn.Sequential(
                nn.Conv2d(hidden, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
            ),
        )
        self.skip = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.skip else out


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    fuse: Any = torch.nn.utils.fusion.fuse_conv_bn_eval  # its type changes from torch to torch
    fused: nn.Conv2d = fuse(conv, norm)
    assert fused.bias is not None
    # PyTorch makes the bias of a convolution that had none a constant
    fused.bias.requires_grad_(fused.weight.requires_grad)
    return fused


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold every BatchNorm2d that follows a Conv2d into it, in place; the module must be in eval.

    Knows the two habits of torchvision: neighbours in an ``nn.Sequential``, and attributes
    ``convN`` / ``bnN`` of a residual block.
    """
    names = list(module._modules)
    for name, following in zip(names, [*names[1:], ""], strict=False):
        child = module._modules[name]
        norm = module._modules.get(following)
        paired = isinstance(module, nn.Sequential) or following == name.replace("conv", "bn")
        if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and paired:
            module._modules[name] = _folded(child, norm)
            module._modules[following] = nn.Identity()
        elif child is not None:
            fold_batch_norm(child)
    return module
