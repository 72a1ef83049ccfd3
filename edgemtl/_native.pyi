"""The C core. Arguments are checked for type and shape; edgemtl.ops and edgemtl.track use it."""

from typing_extensions import Buffer

_Mapping = tuple[float, float, float, float, float, float]

def letterbox_geometry(
    src_h: int, src_w: int, net_h: int, net_w: int, top_left: bool, /
) -> tuple[int, int, int, int]: ...
def letterbox(
    image: Buffer,
    out: Buffer,
    swap_rb: bool,
    scale: float,
    offset: float,
    pad: int,
    top_left: bool,
    /,
) -> tuple[int, int, int, int]: ...
def boxes_to_net(boxes: Buffer, mapping: _Mapping, out: Buffer, /) -> None: ...
def boxes_to_src(boxes: Buffer, mapping: _Mapping, out: Buffer, /) -> None: ...
def decode(
    boxes: Buffer,
    scores: Buffer,
    labels: Buffer,
    embeddings: Buffer | None,
    mapping: _Mapping,
    min_score: float,
    out_boxes: Buffer,
    out_scores: Buffer,
    out_labels: Buffer,
    out_embeddings: Buffer | None,
    /,
) -> int: ...
def iou(a: Buffer, b: Buffer, out: Buffer, /) -> None: ...
def assign(cost: Buffer, max_cost: float, unmatched_cost: float, out: Buffer, /) -> int: ...
def kalman(
    measured: Buffer,
    dt: Buffer,
    trust: float,
    noise: tuple[float, float, float, float],
    out: Buffer,
    /,
) -> None: ...

class Tracker:
    def __new__(cls, config: tuple[float, ...], capacity: int, dim: int, /) -> Tracker: ...
    def step(
        self,
        boxes: Buffer,
        scores: Buffer,
        labels: Buffer,
        embeddings: Buffer | None,
        pts_ns: int,
        height: int,
        width: int,
        out_ids: Buffer,
        out_boxes: Buffer,
        out_scores: Buffer,
        out_labels: Buffer,
        out_det_index: Buffer,
        /,
    ) -> int: ...
    def reset(self) -> None: ...
    def refused(self) -> int: ...
