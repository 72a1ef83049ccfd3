"""How far two runs of one network may be apart, by the precision of the less exact one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from edgemtl.metrics.agreement import Agreement

Kind = Literal["fp32", "fp16", "bf16", "int8"]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Bounds for each head; see :class:`Agreement`.

    ``match_rate`` of detections at IoU ``min_iou``; means over matched pairs: ``box_px`` in network
    pixels, ``score``, ``cosine`` of embeddings, ``attribute`` (its largest probability's change);
    ``scene``: share of pictures with the same image class, ``ids``: IDF1 of one's tracks against
    the other's.
    """

    min_iou: float
    match_rate: float
    box_px: float
    score: float
    cosine: float
    attribute: float
    scene: float
    ids: float

    def exceeded(self, found: Agreement, ids: float = math.nan) -> list[str]:
        """What is out of bounds, in words, head by head; empty if all is well."""
        pictures = found.images or 1
        same = found.same_image_class / pictures if not math.isnan(found.max_image_prob) else 1.0
        another = 1 / pictures + _ROUNDING
        rows = [
            ("detections with a partner", found.match_rate, self.match_rate, False),
            ("mean box difference in px", found.mean_box_px, self.box_px, True),
            ("mean score difference", found.mean_score, self.score, True),
            ("mean embedding cosine", found.mean_cosine, self.cosine, False),
            ("attribute probability difference", found.max_attribute, self.attribute, True),
            # a picture between two classes may fall to either side
            ("pictures of the same class", same, self.scene - another, False),
            ("IDF1 of the tracks", ids, self.ids, False),
        ]
        return [
            f"{what} {value:.4g}, expected at {'most' if upper else 'least'} {bound:.4g}"
            for what, value, bound, upper in rows
            if (value > bound if upper else value < bound)
        ]


TOLERANCES: Mapping[Kind, Tolerance] = MappingProxyType(
    {
        "fp32": Tolerance(0.9, 0.998, 0.02, 5e-4, 0.9999, 0.01, 1.0, 0.99),
        "fp16": Tolerance(0.8, 0.98, 0.2, 5e-3, 0.999, 0.05, 0.99, 0.97),
        "bf16": Tolerance(0.5, 0.9, 2.0, 4e-2, 0.97, 0.2, 0.95, 0.85),
        "int8": Tolerance(0.5, 0.85, 2.5, 8e-2, 0.97, 0.3, 0.93, 0.8),
    }
)
"""Of float32: what another backend's rounding may do. Of the others: what the shipped networks
keep, with room: a network that is apart by more was hurt. bfloat16 has eight bits of precision, and
is no nearer to float32 than INT8 with ranges of its own for each tensor."""


def between(a: Kind, b: Kind) -> Tolerance:
    """The bounds for two forms of a network: those of the less exact one."""
    return TOLERANCES[max(a, b, key=list(TOLERANCES).index)]
