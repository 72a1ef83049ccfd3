"""Assignment against a loop that does one object after the other."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgemtl.nn.heads import anchor_points  # noqa: E402
from edgemtl.train.assign import ALPHA, BETA, assign, box_iou_aligned, inside  # noqa: E402

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
