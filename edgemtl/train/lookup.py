"""Embeddings of boxes that come from elsewhere: from the truth, or from another network.

A network of embeddings alone has no boxes. One that looks at points was trained on those where an
object's box is at home (see ``assign.prior``); there its embedding is looked up. One that looks at
places inside boxes takes the boxes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from edgemtl.data.base import DataSet
from edgemtl.data.config import DataMix
from edgemtl.evaluate import EvaluateOptions
from edgemtl.evaluate.retrieval import RetrievalTask
from edgemtl.manifest import Manifest
from edgemtl.metrics import RetrievalScores
from edgemtl.nn.heads import GridEmbeddingHead, anchor_points
from edgemtl.nn.network import PIXEL_ZERO, MultiTaskNetwork
from edgemtl.ops import letterbox
from edgemtl.records import F32, I64, Detections
from edgemtl.train.assign import prior


def points_of(boxes_net: F32, size_hw: tuple[int, int]) -> I64:
    """The anchor point i64 [N] of each box f32 [N, 4] in a network input of ``size_hw``."""
    if not len(boxes_net):
        return np.zeros(0, np.int64)
    boxes = torch.from_numpy(np.ascontiguousarray(boxes_net, np.float32))
    found: I64 = prior(*anchor_points(size_hw), boxes).argmax(1).numpy()
    return found


def at_size(manifest: Manifest, data: DataSet, sizes: Mapping[str, tuple[int, int]]) -> Manifest:
    """The manifest with the input size that ``sizes`` has for ``data``, or as it is."""
    size_hw = sizes.get(data.name, manifest.input.size_hw)
    # top_k stays: what a smaller input has not, the session does not give
    return manifest.model_copy(
        update={"input": manifest.input.model_copy(update={"size_hw": size_hw})}
    )


def true_box_retrieval(
    network: MultiTaskNetwork,
    manifest: Manifest,
    mix: DataMix,
    limit: int | None,
    sizes: Mapping[str, tuple[int, int]],
) -> dict[str, RetrievalScores]:
    """Retrieval by data set, of the embeddings at all true boxes that have an identity.

    A set that ``sizes`` names is looked at in that input size, the others in the manifest's.
    """
    network.eval()
    gap = EvaluateOptions().frame_gap
    found = {}
    for data in mix.sets:
        if "embed" in data.tasks and len(data):
            task, manifest_here = RetrievalTask(gap), at_size(manifest, data, sizes)
            for index in range(min(len(data), limit or len(data))):
                _add(task, network, manifest_here, data, index)
            if (scores := task.scores()) is not None:
                found[data.name] = scores
    return found


@torch.no_grad()
def _add(
    task: RetrievalTask, network: MultiTaskNetwork, manifest: Manifest, data: DataSet, index: int
) -> None:
    assert network.embed is not None
    truth, spec = data.truth(index), manifest.input
    if not len(truth):
        return
    pixels = np.empty((3, *spec.size_hw), spec.dtype)
    geometry = letterbox(data.image(index), pixels, spec)
    scale, pad = (np.tile(np.asarray(v), 2) for v in (geometry.scale_xy, geometry.pad_xy))
    boxes_net = (truth.boxes_src * scale + pad).astype(np.float32)
    device = next(network.parameters()).device
    seen = network(torch.from_numpy(pixels)[None].to(device).float() / PIXEL_ZERO)
    if isinstance(network.embed, GridEmbeddingHead):
        boxes = torch.from_numpy(boxes_net)[None].to(device)
        vectors = network.embed(seen.raw[network.embed.name], boxes)[0].cpu().numpy()
    else:
        points = torch.from_numpy(points_of(boxes_net, spec.size_hw)).to(device)
        assert seen.features is not None
        vectors = network.embed(seen.features[0, points]).cpu().numpy()
    sure = np.ones(len(truth), np.float32)
    task.add(index, truth, Detections(truth.boxes_src, sure, truth.labels, vectors))
