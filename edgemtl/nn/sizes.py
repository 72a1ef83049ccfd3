"""Sizes to pick by a letter: for each backbone, the widths that bring a network into the range.

At 320x320, multiply-accumulates of everything that runs on a device (both small heads included):
``n`` 0.5 to 1.0 billion, ``s`` 2 to 3. All are ReLU6 networks without squeeze-excite: their
activations are bounded, which float16 and INT8 ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIZES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "n": {
        "mobilenet_v2": {"backbone_width": 1.0, "neck_width": 64},
        "efficientnet_lite0": {"backbone_width": 1.0, "neck_width": 96},
    },
    "s": {
        "mobilenet_v2": {"backbone_width": 2.0, "neck_width": 128},
        "efficientnet_lite2": {"backbone_width": 1.0, "neck_width": 304},
    },
}
"""Size -> backbone -> what it sets; the first backbone is the default one."""


def with_size(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of [network] with those that ``size`` stands for.

    Raises ValueError for an unknown size, a backbone that the size does not have, and a key that
    says otherwise than the size.
    """
    size = given.get("size")
    if size is None:
        return dict(given)
    if size not in SIZES:
        raise ValueError(f"size: expected one of {sorted(SIZES)}, got '{size}'")
    backbone = given.get("backbone", next(iter(SIZES[size])))
    if backbone not in SIZES[size]:
        raise ValueError(f"size '{size}' has the backbones {list(SIZES[size])}, got '{backbone}'")
    preset = {"backbone": backbone, **SIZES[size][backbone]}
    for key, value in preset.items():
        if given.get(key, value) != value:
            raise ValueError(f"size '{size}' sets {key} = {value!r}; leave out one of them")
    return {**given, **preset}
