"""Ranges and weights that look wrong: what usually stands behind an accuracy that INT8 lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgemtl.graph.features import plan_quantisation
from edgemtl.graph.index import GraphIndex
from edgemtl.quantize.collect import Statistics
from edgemtl.quantize.histogram import MinMax, Percentile

_TAIL = Percentile(99.99)
_FAR = 4.0
"""A range this many times as wide as one without the outermost 0.01 % of the values at each end is
there for outliers."""

_LOUD = 50.0
"""Sum of a channel's weights over the median channel's, from which on its neighbours drown."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """``where``: a tensor, or the output tensor of a convolution; ``what`` in words."""

    where: str
    what: str


def find_oddities(model: onnx.ModelProto, seen: Statistics) -> tuple[Oddity, ...]:
    """Tensors with outliers or one value alone, and weights with dead or outsized channels.

    Raises TypeError for statistics that counted nothing (see Statistics.ranges_by).
    """
    found = []
    inner = seen.ranges_by(_TAIL)
    for name, (low, high) in seen.ranges_by(MinMax()).items():
        if high == low:
            found.append(Oddity(name, f"always {low:g}"))
        elif high - low > _FAR * (inner[name][1] - inner[name][0]):
            what = "{:g} to {:g}, but 99.98 % lie in {:g} to {:g}".format(low, high, *inner[name])
            found.append(Oddity(name, what))
    index = GraphIndex(model)
    for node in plan_quantisation(index).convs:
        weights = index.value(node.input[1])
        sizes = np.abs(weights.reshape(len(weights), -1).astype(np.float64)).sum(1)
        dead = int((sizes == 0).sum())
        if dead:
            found.append(Oddity(node.output[0], f"{dead} of {len(sizes)} channels are dead"))
        large, usual = int(sizes.argmax()), float(np.median(sizes))
        if sizes[large] > _LOUD * usual > 0:
            what = f"the weights of channel {large} are {sizes[large] / usual:.0f} times the usual"
            found.append(Oddity(node.output[0], f"{what}: a common range drowns the others"))
    return tuple(found)
