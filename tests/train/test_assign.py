"""Assignment against a loop that does one object after the other."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from edgemtl.nn.heads import anchor_points
from edgemtl.train.assign import (
    ALPHA,
    BETA,
    ONE_ALPHA,
    assign,
    assign_one,
    box_iou_aligned,
    inside,
    prior,
)

SIZE = (64, 96)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(w, 0) * max(h, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def slow_assign(scores, boxes, points, objects, top):
    """{(image, point): object} by plain loops."""
    frame, truth, labels = (o.numpy() for o in objects)
    claims: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for g in range(len(frame)):
        x1, y1, x2, y2 = truth[g]
        ranked = []
        for a, (px, py) in enumerate(points.numpy()):
            if x1 < px < x2 and y1 < py < y2:
                u = iou(boxes[frame[g], a].numpy(), truth[g])
                t = float(scores[frame[g], labels[g], a]) ** ALPHA * u**BETA
                ranked.append((t, a, u))
        for _, a, u in sorted(ranked, reverse=True)[:top]:
            claims.setdefault((int(frame[g]), a), []).append((u, g))
    return {key: max(who)[1] for key, who in claims.items()}


def predictions(seed: int, images: int = 2):
    generator = torch.Generator().manual_seed(seed)
    points, strides = anchor_points(SIZE)
    scores = torch.rand(images, 3, len(points), generator=generator)
    reach = (torch.rand(images, len(points), 4, generator=generator) * 3 + 0.3) * strides[:, None]
    boxes = torch.cat([points - reach[..., :2], points + reach[..., 2:]], -1)
    return scores, boxes, points


@pytest.mark.parametrize("top", [1, 4, 10])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_obvious_loop(top: int, seed: int) -> None:
    scores, boxes, points = predictions(seed)
    objects = (
        torch.tensor([0, 0, 1]),
        torch.tensor([[10.0, 10, 50, 40], [20, 15, 60, 50], [30, 4, 90, 60]]),
        torch.tensor([0, 2, 1]),
    )
    found = assign(scores, boxes, points, objects, top)
    ours = {
        (i, p): o
        for i, p, o in zip(
            found.image.tolist(), found.point.tolist(), found.object.tolist(), strict=True
        )
    }
    assert ours == slow_assign(scores, boxes, points, objects, top)
    assert len(ours) == len(found.point)  # no point has two owners
    assert ((found.quality >= 0) & (found.quality <= 1)).all()


def test_no_objects() -> None:
    scores, boxes, points = predictions(0)
    none = (torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert len(assign(scores, boxes, points, none, 10).point) == 0


def test_an_object_smaller_than_a_cell_still_gets_a_point() -> None:
    points, _ = anchor_points(SIZE)
    tiny = torch.tensor([[16.2, 16.2, 17.0, 17.0]])
    assert inside(points, tiny).any()
    scores, boxes, _ = predictions(1)
    objects = (torch.tensor([0]), tiny, torch.tensor([0]))
    assert len(assign(scores, boxes, points, objects, 1).point) == 1


def test_untrained_ties_go_to_the_centre() -> None:
    points, _ = anchor_points(SIZE)
    boxes = torch.zeros(1, len(points), 4)  # no overlap with anything
    objects = (torch.tensor([0]), torch.tensor([[20.0, 20, 44, 44]]), torch.tensor([0]))
    found = assign(torch.full((1, 1, len(points)), 0.01), boxes, points, objects, 1)
    distance = (points - torch.tensor([32.0, 32.0])).norm(dim=1)
    assert distance[found.point] == distance[distance >= 0].min()


def test_iou_and_giou_against_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(50, 2, generator=generator) * 40
    a = torch.cat([low, low + torch.rand(50, 2, generator=generator) * 30 + 1], 1)
    b = a.roll(1, 0) + torch.rand(50, 4, generator=generator)
    ours, generalised = box_iou_aligned(a, b)
    torch.testing.assert_close(ours, ops.box_iou(a, b).diagonal())
    torch.testing.assert_close(generalised, ops.generalized_box_iou(a, b).diagonal())


def slow_assign_one(scores, boxes, anchors, objects):
    """{object: point} by sorting every pair that there is."""
    points, strides = (t.numpy() for t in anchors)
    frame, truth, labels = (o.numpy() for o in objects)
    pairs = []
    for g, (x1, y1, x2, y2) in enumerate(truth):
        for a, (px, py) in enumerate(points):
            if not (x1 < px < x2 and y1 < py < y2):
                continue
            cells = np.hypot(px - (x1 + x2) / 2, py - (y1 + y2) / 2) / strides[a]
            octaves = np.log2(np.sqrt((x2 - x1) * (y2 - y1)) / (5.0 * strides[a]))
            rank = np.exp(-(cells**2) / (2 * 0.7**2) - octaves**2)
            rank *= float(scores[frame[g], labels[g], a]) ** ONE_ALPHA
            rank *= iou(boxes[frame[g], a].numpy(), truth[g]) + 0.1
            pairs.append((rank, g, a))
    found: dict[int, int] = {}
    for _, g, a in sorted(pairs, reverse=True):
        if g not in found and (int(frame[g]), a) not in {(int(frame[o]), found[o]) for o in found}:
            found[g] = a
    return found


@pytest.mark.parametrize("seed", range(6))
def test_one_to_one_equals_the_obvious_loop(seed: int) -> None:
    scores, boxes, points = predictions(seed)
    anchors = (points, anchor_points(SIZE)[1])
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(12, 2, generator=generator) * torch.tensor([60.0, 30.0])
    truth = torch.cat([low, low + 10 + 25 * torch.rand(12, 2, generator=generator)], 1)
    truth[1] = truth[0]  # two at one place: the second must take another cell
    objects = (torch.arange(12) % 2, truth, torch.arange(12) % 3)
    objects[0][1] = objects[0][0]
    found = assign_one(scores, boxes, anchors, objects)
    ours = dict(zip(found.object.tolist(), found.point.tolist(), strict=True))
    assert ours == slow_assign_one(scores, boxes, anchors, objects)
    assert len(ours) == 12
    for g, a, quality in zip(
        found.object.tolist(), found.point.tolist(), found.quality.tolist(), strict=True
    ):
        image = int(objects[0][g])
        assert quality == pytest.approx(iou(boxes[image, a].numpy(), truth[g].numpy()), abs=1e-5)


def test_the_prior_names_the_cell_at_the_centre_on_the_level_of_the_size() -> None:
    points, strides = anchor_points((128, 160))
    boxes = torch.tensor([[40.0, 40, 72, 80], [10, 8, 110, 88], [0, 0, 160, 128]])
    best = prior(points, strides, boxes).argmax(1)
    assert strides[best].tolist() == [8, 16, 32]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert ((points[best] - centre).abs() <= strides[best, None] / 2).all()


def test_one_to_one_without_objects_and_before_anything_is_learned() -> None:
    scores, boxes, points = predictions(0)
    anchors = (points, anchor_points(SIZE)[1])
    none = (torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert len(assign_one(scores, boxes, anchors, none).point) == 0
    objects = (torch.tensor([0]), torch.tensor([[20.0, 20, 58, 50]]), torch.tensor([0]))
    found = assign_one(scores * 0 + 1e-6, boxes * 0, anchors, objects)
    assert found.point.tolist() == [int(prior(*anchors, objects[1]).argmax())]
    assert found.quality.tolist() == [0.0]
