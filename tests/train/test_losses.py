"""What is not labelled must give no loss and no gradient."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import Shapes

from edgemtl.nn.heads import anchor_points
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.train.assign import Assignment
from edgemtl.train.balance import make_balance
from edgemtl.train.batches import Batch, BatchMaker
from edgemtl.train.config import LossConfig, TrainConfig
from edgemtl.train.losses import (
    Part,
    class_weight,
    combine,
    compute_losses,
    contrastive,
    embed,
    mean_of,
    measure,
    part,
)
from edgemtl.train.losses.embed import likeness
from edgemtl.train.losses.step import shaken

SMALL = NetworkConfig(backbone_width=0.35, neck_width=16, embedding_dim=8, embedding_hidden=16)
CONFIG = TrainConfig(name="t", data=Path("d"), size_hw=(64, 96), images=8, batch=4, network=SMALL)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return BatchMaker([Shapes()], CONFIG).batch(0)[0]


OF_OBJECTS = (
    "frame",
    "boxes_net",
    "labels",
    "identities",
    "ignore",
    "confidence",
    "appearance",
    "attributes",
)
"""Fields of a batch with one entry for each object."""


@pytest.fixture(scope="module")
def network() -> MultiTaskNetwork:
    torch.manual_seed(0)
    return MultiTaskNetwork(SMALL, 2, 2).eval()


def losses(network: MultiTaskNetwork, batch: Batch):
    return compute_losses(network, network(batch.images), batch, LossConfig())


def test_all_three_are_there_and_finite(network: MultiTaskNetwork, batch: Batch) -> None:
    found = dict(losses(network, batch).items())
    assert set(found) == {"detect", "classify", "embed"}
    assert all(torch.isfinite(v) for v in found.values())


def test_unlabelled_tasks_have_no_loss(network: MultiTaskNetwork, batch: Batch) -> None:
    blind = dataclasses.replace(
        batch,
        detect=torch.zeros_like(batch.detect),
        scenes=torch.full_like(batch.scenes, -1),
        identities=torch.full_like(batch.identities, -1),
    )
    assert losses(network, blind) == {}


def test_an_unlabelled_class_gets_no_gradient(network: MultiTaskNetwork, batch: Batch) -> None:
    """Class 1 is not labelled and its objects are gone: its predictors must not move."""
    keep = batch.labels == 0
    partial = dataclasses.replace(
        batch,
        labelled=torch.tensor([[True, False]]).expand(4, 2),
        **{name: getattr(batch, name)[keep] for name in OF_OBJECTS},
    )
    network.zero_grad()
    detect = losses(network, partial)["detect"]
    detect.backward()
    for predictor in [*network.detect.one, *network.detect.many]:
        assert predictor.weight.grad[0].abs().sum() > 0
        assert predictor.weight.grad[1].abs().sum() == 0


def test_a_doubtful_object_is_a_softer_target(network: MultiTaskNetwork, batch: Batch) -> None:
    """Confidence 1 changes nothing; confidence 0 leaves only what says that nothing is there."""
    sure = losses(network, batch)["detect"]
    half = dataclasses.replace(batch, confidence=torch.full_like(batch.confidence, 0.5))
    assert not torch.equal(losses(network, half)["detect"], sure)
    quality = Assignment(
        *(torch.tensor([0, 0]),) * 2, torch.tensor([1, 0]), torch.tensor([0.8, 0.4])
    )
    scaled = quality.surely(torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(scaled.quality, torch.tensor([0.2, 0.2]))


def test_an_ignore_region_silences_its_class_inside_only(batch: Batch) -> None:
    ignored = dataclasses.replace(batch, ignore=torch.ones_like(batch.ignore))
    points, _ = anchor_points(CONFIG.size_hw)
    weight = class_weight(ignored, points)
    x1, y1, x2, y2 = batch.boxes_net[0].tolist()
    within = (points[:, 0] > x1) & (points[:, 0] < x2) & (points[:, 1] > y1) & (points[:, 1] < y2)
    frame, label = int(batch.frame[0]), int(batch.labels[0])
    assert (weight[frame, label, within] == 0).all()
    assert (weight[frame, label] == 1).any()


def test_a_picture_without_objects(network: MultiTaskNetwork, batch: Batch) -> None:
    none = torch.zeros(0, dtype=torch.long)
    empty = dataclasses.replace(
        batch,
        frame=none,
        boxes_net=torch.zeros(0, 4),
        labels=none,
        identities=none,
        ignore=torch.zeros(0, dtype=torch.bool),
        confidence=torch.zeros(0),
        appearance=torch.zeros(0, 0),
    )
    found = losses(network, empty)
    assert "embed" not in found
    assert torch.isfinite(found["detect"])


def test_two_batches_of_a_step_count_as_one(network: MultiTaskNetwork) -> None:
    """Pictures 0 and 1 in one batch, 2 and 3 in another: the losses of all four, and gradients.

    Two sets of identities, one in each half: what is compared lies in one batch.
    """
    whole = BatchMaker([Shapes(), Shapes()], CONFIG.model_copy(update={"group": 2})).batch(0)[0]
    assert whole.source.tolist() == [0, 0, 1, 1]
    halves = [take(whole, first, first + 2) for first in (0, 2)]
    found, grads = [], []
    for batches in ([whole], halves):
        network.zero_grad()
        parts = [measure(network, network(b.images), b, LossConfig()) for b in batches]
        found.append(combine(parts))
        torch.stack(list(found[-1].values())).sum().backward()
        grads.append([p.grad for p in network.parameters() if p.grad is not None])
    assert set(found[0]) == {"detect", "classify", "embed"}
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-5)


def test_the_shares_of_two_processes_add_up(
    network: MultiTaskNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each divides by what is counted over both; one of them has nothing that labels a scene."""
    whole = BatchMaker([Shapes(), Shapes()], CONFIG.model_copy(update={"group": 2})).batch(0)[0]
    whole.scenes[:2] = -1
    halves = [take(whole, first, first + 2) for first in (0, 2)]
    network.zero_grad()
    expected = losses(network, whole)
    torch.stack(list(expected.values())).sum().backward()
    wanted = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    counted: list[torch.Tensor] = []
    monkeypatch.setattr(part, "total", lambda t: counted.append(t) or t)
    for half in halves:
        losses(network, half)
    monkeypatch.setattr(part, "total", lambda t: sum(counted))
    network.zero_grad()
    found = [losses(network, half) for half in halves]
    assert [set(f) for f in found] == [set(expected)] * 2
    for name, value in expected.items():
        torch.testing.assert_close(found[0][name] + found[1][name], value)
    torch.stack([v for f in found for v in f.values()]).sum().backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    torch.testing.assert_close(grads, wanted, rtol=1e-3, atol=1e-5)


def take(batch: Batch, first: int, last: int) -> Batch:
    """Pictures ``first`` to ``last`` of a batch, with their objects."""
    own = (batch.frame >= first) & (batch.frame < last)
    fields = {
        name: getattr(batch, name)[own if name in OF_OBJECTS else slice(first, last)]
        for name in batch.__slots__
        if name not in ("objects", "blank")
    }
    return Batch(**{**fields, "frame": fields["frame"] - first})


def test_means_over_a_step() -> None:
    """By hand: 2 * (1 + 5) / (3 + 1) + 4 / 1, the weight of the second mean being at least 1."""
    tensors = [torch.tensor(v) for v in (1.0, 3.0, 5.0, 1.0, 4.0, 0.0)]
    one = {"a": (Part(tensors[0], tensors[1], 2.0), Part(tensors[4], tensors[5]))}
    two = {"a": (Part(tensors[2], tensors[3], 2.0), Part(tensors[5], tensors[5]))}
    assert float(combine([one, two])["a"]) == 7.0
    assert combine([]) == {}
    three = {"b": (mean_of(torch.tensor([1.0, 2.0])),)}
    assert float(combine([one, three, two])["b"]) == 1.5


def test_pictures_without_objects_need_no_neck(network: MultiTaskNetwork, batch: Batch) -> None:
    outputs = network(batch.images, objects=False)
    assert outputs.features is None
    assert set(outputs.raw) == {"classify"}
    assert set(measure(network, outputs, batch, LossConfig())) == {"classify"}


def test_contrastive_against_the_formula() -> None:
    """Three objects, two of one identity, by hand."""
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0.2], [0, 1]]), dim=1)
    identities, owner = torch.tensor([5, 5, 6]), torch.tensor([0, 1, 2])
    found = contrastive(vectors, identities, owner, 0.5)
    s = (vectors @ vectors.T / 0.5).exp()
    by_hand = -(torch.log(s[0, 1] / (s[0, 1] + s[0, 2])) + torch.log(s[1, 0] / (s[1, 0] + s[1, 2])))
    torch.testing.assert_close(found.total, by_hand)
    assert int(found.weight) == 2


def test_contrastive_without_a_pair() -> None:
    vectors = torch.eye(3)
    assert contrastive(vectors, torch.tensor([1, 2, 3]), torch.arange(3), 0.1) is None


@pytest.mark.parametrize("kind", ["fixed", "uncertainty", "aligned_mtl", "pcgrad"])
def test_every_balance_reaches_shared_and_own_parameters(kind: str, batch: Batch) -> None:
    if kind in ("aligned_mtl", "pcgrad"):
        pytest.importorskip("torchjd")
    torch.manual_seed(0)
    network = MultiTaskNetwork(SMALL, 2, 2)
    balance = make_balance(LossConfig(balance=kind), network)
    balance.backward(losses(network, batch))
    without = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert all(p.grad is not None for p in balance.parameters())


def test_likeness_is_zero_for_the_teacher_itself_and_known_otherwise() -> None:
    """Against a plain loop over objects."""
    torch.manual_seed(1)
    seen = torch.nn.functional.normalize(torch.randn(6, 5), dim=1)
    vectors = torch.nn.functional.normalize(torch.randn(6, 3), dim=1)
    owner = torch.tensor([0, 0, 1, 2, 3, 3])
    wanted = []
    for i in range(6):
        others = [j for j in range(6) if owner[j] != owner[i]]
        ours = torch.stack([vectors[i] @ vectors[j] / 0.2 for j in others]).softmax(0)
        theirs = torch.stack([seen[i] @ seen[j] / 0.1 for j in others]).softmax(0)
        wanted.append(sum(t * (t / o).log() for t, o in zip(theirs, ours, strict=True)))
    found = likeness(vectors, seen, owner, 0.2)
    assert found is not None
    torch.testing.assert_close(found.total, torch.stack(wanted).sum())
    assert int(found.weight) == 6
    assert likeness(vectors[:2], seen[:2], owner[:2], 0.2) is None
    empty = likeness(vectors[:0], seen[:0], owner[:0], 0.2)
    assert empty is None


def test_a_teacher_of_looks_trains_objects_without_identity(
    network: MultiTaskNetwork, batch: Batch
) -> None:
    looks = torch.nn.functional.normalize(torch.randn(len(batch.frame), 7), dim=1)
    looks[0] = float("nan")
    blind = dataclasses.replace(
        batch, identities=torch.full_like(batch.identities, -1), appearance=looks
    )
    network.zero_grad()
    losses(network, blind)["embed"].backward()
    assert network.embed.layers[0].weight.grad.abs().sum() > 0


def test_the_grid_head_learns_from_boxes(batch: Batch) -> None:
    torch.manual_seed(0)
    shape = SMALL.model_copy(update={"embedding_grid": (4, 2)})
    network = MultiTaskNetwork(shape, 2, 2).eval()
    found = losses(network, batch)
    assert set(found) == {"detect", "classify", "embed"}
    found["embed"].backward()
    assert network.embed.layers[0].weight.grad.abs().sum() > 0
    moved = shaken(batch.boxes_net, 1) - batch.boxes_net
    sides = (batch.boxes_net[:, 2:] - batch.boxes_net[:, :2]).repeat(1, 2)
    assert 0 < (moved.abs() / sides).max() <= 0.1
    assert not torch.equal(moved, shaken(batch.boxes_net, 2) - batch.boxes_net)


def test_a_share_that_no_teacher_has_seen_says_so(
    network: MultiTaskNetwork, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several processes, another one's pictures may have looks of eight numbers."""
    plain = dataclasses.replace(batch, appearance=torch.zeros(len(batch.frame), 0))
    before = dict(losses(network, plain).items())
    monkeypatch.setattr(embed, "widest", lambda columns: 8)
    after = dict(losses(network, plain).items())
    torch.testing.assert_close(after["embed"], before["embed"])
