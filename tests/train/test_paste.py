"""Part of another picture over one (CutMix): pixels, shares, and what the loss makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, Shapes
from torch.nn import functional

from edgemtl.data.base import UNKNOWN
from edgemtl.data.imageset import empty_truth
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.train.augment import Sample, paste
from edgemtl.train.batches import Batch, BatchMaker
from edgemtl.train.config import LossConfig, TrainConfig
from edgemtl.train.losses import compute_losses


def sample(level: int, scene: int, size: tuple[int, int] = (31, 50)) -> Sample:
    none = empty_truth()
    nothing = np.zeros((0, 0), np.float32)
    return Sample(
        np.full((*size, 3), level, np.uint8), none.boxes_src, none.labels, none.identities,
        none.ignore, scene, np.zeros(0, np.float32), nothing,
    )  # fmt: skip


@pytest.mark.parametrize("size", [(31, 50), (1, 1), (64, 3)])
def test_the_share_is_what_is_left_of_the_picture(size: tuple[int, int]) -> None:
    below, above = sample(10, 0, size), sample(20, 1, size)
    shares = []
    for seed in range(200):
        made = paste(below, above, np.random.default_rng(seed))
        assert set(np.unique(made.pixels)) <= {10, 20}
        assert made.share == pytest.approx(float((made.pixels == 10).mean()))
        assert (made.scene, made.pasted) == (0, 1)
        shares.append(made.share)
    assert (below.pixels == 10).all()
    if size == (31, 50):  # half of a uniform area, less what the border cuts off
        assert 0.6 < np.mean(shares) < 0.8
        assert np.std(shares) > 0.15


@pytest.mark.parametrize("unknown", [0, 1])
def test_nothing_covers_or_hides_a_picture_of_unknown_class(unknown: int) -> None:
    both = [sample(10, 0), sample(20, 1)]
    both[unknown] = replace(both[unknown], scene=UNKNOWN)
    assert paste(*both, np.random.default_rng(0)) is both[0]


class Scenes(Shapes):
    """Shapes of which the image class alone is told."""

    def __init__(self) -> None:
        super().__init__(12)
        self.tasks, self.sequences = frozenset(("classify",)), ()

    def truth(self, index: int) -> object:
        return replace(empty_truth(), scene=super().truth(index).scene)


def batch(paste: float) -> Batch:
    config = TrainConfig(
        name="t", data=Path("d"), size_hw=(64, 96), batch=16, images=64,
        augment={"paste": paste, "mosaic": 0.0},
    )  # fmt: skip
    return BatchMaker([Scenes()], config).batch(3)[0]


def test_batches_tell_both_classes() -> None:
    plain, pasted = batch(0.0), batch(1.0)
    assert plain.pasted.tolist() == [UNKNOWN] * 16
    assert plain.share.tolist() == [1.0] * 16
    assert set(pasted.pasted.tolist()) == {0, 1}
    assert ((pasted.share > 0) & (pasted.share <= 1)).all()
    assert plain.scenes.tolist() == pasted.scenes.tolist()


def test_the_loss_counts_both_by_their_shares() -> None:
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig(**SMALL), 2, 2)
    given = batch(0.7)
    outputs = network(given.images)
    losses = compute_losses(network, outputs, given, LossConfig(label_smoothing=0.1))
    logits = outputs.image_logits
    assert logits is not None
    smooth = 0.9 * torch.eye(2) + 0.05
    wanted = given.share[:, None] * smooth[given.scenes]
    wanted += (1 - given.share)[:, None] * smooth[given.pasted.clamp(min=0)]
    expected = functional.cross_entropy(logits.float(), wanted)
    torch.testing.assert_close(losses["classify"], expected)
