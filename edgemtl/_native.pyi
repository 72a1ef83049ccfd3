"""The C core. Arguments are checked for type and shape; edgemtl.ops and edgemtl.track use it."""

from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]

_Mapping = tuple[float, float, float, float, float, float]

def letterbox_geometry(
    src_h: int, src_w: int, net_h: int, net_w: int, top_left: bool, /
) -> tuple[int, int, int, int]: ...
def letterbox(
    image: _Array,
    out: _Array,
    swap_rb: bool,
    scale: float,
    offset: float,
    pad: int,
    top_left: bool,
    level: int,
    /,
) -> tuple[int, int, int, int]: ...
def letterbox_nv12(
    y: _Array,
    uv: _Array,
    bt709: bool,
    out: _Array,
    swap_rb: bool,
    scale: float,
    offset: float,
    pad: int,
    top_left: bool,
    level: int,
    /,
) -> tuple[int, int, int, int]: ...
def has_level(level: int, /) -> bool: ...
def boxes_to_net(boxes: _Array, mapping: _Mapping, out: _Array, /) -> None: ...
def boxes_to_src(boxes: _Array, mapping: _Mapping, out: _Array, /) -> None: ...
def decode(
    boxes: _Array,
    scores: _Array,
    labels: _Array,
    embeddings: _Array | None,
    mapping: _Mapping,
    min_score: float,
    out_boxes: _Array,
    out_scores: _Array,
    out_labels: _Array,
    out_embeddings: _Array | None,
    /,
) -> int: ...
def iou(a: _Array, b: _Array, out: _Array, /) -> None: ...
def nms(
    boxes: _Array,
    scores: _Array,
    labels: _Array,
    iou: float,
    class_agnostic: bool,
    max_out: int,
    keep: _Array,
    /,
) -> int: ...
def detect(
    kind: int,
    values: _Array,
    classes: int,
    net_h: int,
    net_w: int,
    mapping: _Mapping,
    min_score: float,
    iou: float,
    class_agnostic: bool,
    max_out: int,
    out_boxes: _Array,
    out_scores: _Array,
    out_labels: _Array,
    /,
) -> int: ...
def assign(cost: _Array, max_cost: float, unmatched_cost: float, out: _Array, /) -> int: ...
def assign_sparse(
    start: _Array, column: _Array, cost: _Array, columns: int, unmatched_cost: float, out: _Array, /
) -> int: ...
def kalman(
    measured: _Array,
    dt: _Array,
    trust: float,
    noise: tuple[float, float, float, float, float, float],
    out: _Array,
    /,
) -> None: ...

class Tracker:
    def __new__(cls, config: tuple[float, ...], capacity: int, dim: int, /) -> Tracker: ...
    def step(
        self,
        boxes: _Array,
        scores: _Array,
        labels: _Array,
        embeddings: _Array | None,
        pts_ns: int,
        height: int,
        width: int,
        camera: _Array | None,
        out_ids: _Array,
        out_boxes: _Array,
        out_scores: _Array,
        out_labels: _Array,
        out_det_index: _Array,
        /,
    ) -> int: ...
    def reset(self) -> None: ...
    def refused(self) -> int: ...

class ByteTrack:
    def __new__(
        cls, config: tuple[float, float, float, float, int, bool, bool], capacity: int, /
    ) -> ByteTrack: ...
    def step(
        self,
        boxes: _Array,
        scores: _Array,
        labels: _Array,
        pts_ns: int,
        out_ids: _Array,
        out_boxes: _Array,
        out_scores: _Array,
        out_labels: _Array,
        out_det_index: _Array,
        /,
    ) -> int: ...
    def reset(self) -> None: ...
    def refused(self) -> int: ...
