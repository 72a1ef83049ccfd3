"""Attributes from the truth to the loss: augmentation keeps them, a batch carries them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shapes_set import Shapes, ToldShapes

from edgemtl.data.config import DataMix
from edgemtl.errors import ConfigError
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.train import loop
from edgemtl.train.augment import augment, mosaic
from edgemtl.train.balance import loss_weights
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import AugmentConfig, LossConfig, TrainConfig
from edgemtl.train.judge import judge
from edgemtl.train.loop import run_training
from edgemtl.train.losses import compute_losses
from edgemtl.train.losses.attributes import attribute_loss
from edgemtl.train.losses.step import Step, assign_objects

SMALL = {"backbone_width": 0.35, "neck_width": 24, "embedding_dim": 8, "embedding_hidden": 16}
STILL = {
    "scale": (0.9, 1.1), "shift": 0.05, "flip": 0.0, "gain": 0.0, "bias": 0.0, "saturation": 0.0,
}  # fmt: skip


def config(steps: int, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "name": "told", "data": Path("d.toml"), "size_hw": (64, 96), "images": 4 * steps,
        "batch": 4, "network": SMALL, "augment": STILL, "validate": {"every": 4 * steps},
        "data_checks": {"allow_overlap": True},
        "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.9},
    }  # fmt: skip
    return TrainConfig.model_validate({**values, **changes})


def test_a_view_keeps_the_attributes_of_the_boxes_that_stay() -> None:
    data, rng = ToldShapes(), np.random.default_rng(0)
    truth = dataclasses.replace(data.truth(1), attributes=np.array([[0, 7], [1, 8]], np.int32))
    by_label = {0: [0, 7], 1: [1, 8]}
    shifted = AugmentConfig(shift=0.5, scale=(1.0, 2.0))
    counts = set()
    for _ in range(40):
        seen = augment(data.image(1), truth, (64, 96), shifted, rng)
        assert seen.attributes.tolist() == [by_label[label] for label in seen.labels.tolist()]
        counts.add(len(seen.labels))
    assert len(counts) > 1
    four = mosaic([(data.image(1), truth)] * 4, (64, 96), AugmentConfig(), rng)
    assert four.attributes.tolist() == [by_label[label] for label in four.labels.tolist()]
    silent = [(data.image(1), Shapes().truth(1))] * 4
    assert mosaic(silent, (64, 96), shifted, rng).attributes is None


def test_a_batch_of_mixed_sets_knows_who_says_nothing() -> None:
    batch = BatchMaker([ToldShapes(), Shapes()], config(2, group=2, batch=16)).batch(0)[0]
    assert batch.attributes.shape == (len(batch.labels), 2)
    assert batch.attributes.dtype == torch.int64
    told = batch.source[batch.frame] == 0
    assert 0 < told.sum() < len(told)
    torch.testing.assert_close(batch.attributes[told, 0], batch.labels[told])
    assert (batch.attributes[~told] == -1).all()
    assert BatchMaker([Shapes()], config(2)).batch(0)[0].attributes.shape[1] == 0


def case() -> tuple[MultiTaskNetwork, Step]:
    torch.manual_seed(0)
    shape = NetworkConfig.model_validate(SMALL)
    network = MultiTaskNetwork(shape, 2, 2, attributes={"size": 2, "colour": 3}).eval()
    batch = BatchMaker([ToldShapes()], config(2)).batch(0)[0]
    outputs = network(batch.images)
    return network, Step(outputs, batch, LossConfig(), assign_objects(outputs, batch))


def test_the_loss_by_hand() -> None:
    network, step = case()
    found = attribute_loss(network.attributes, step)
    told = step.batch.attributes
    features, owner = step.object_points(torch.ones(len(told), dtype=torch.bool))
    parts = []
    for place, name in enumerate(("size", "colour")):
        logits = network.attributes(features)[name].detach().double().numpy()
        log_share = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        values = told[owner, place].numpy()
        known = values >= 0
        parts.append(-log_share[known, values[known]].mean())
        assert known.any()
    assert not (told[:, 1] >= 0).all()
    np.testing.assert_allclose(float(found.detach()), np.mean(parts), rtol=1e-5)


def test_no_object_is_known() -> None:
    network, step = case()
    unknown = torch.full_like(step.batch.attributes, -1)
    blind = dataclasses.replace(step, batch=dataclasses.replace(step.batch, attributes=unknown))
    assert attribute_loss(network.attributes, blind) is None
    one = unknown.clone()
    one[0, 1] = 2
    partly = dataclasses.replace(step, batch=dataclasses.replace(step.batch, attributes=one))
    loss = attribute_loss(network.attributes, partly)
    loss.backward()
    size, colour = network.attributes.last
    assert size.weight.grad is None or not size.weight.grad.any()
    assert colour.weight.grad.any()


def test_weights_of_the_losses() -> None:
    network, step = case()
    assert loss_weights(LossConfig(), network)["attributes"] == network.attributes.loss_weight
    assert loss_weights(LossConfig(further={"attributes": 2.0}), network)["attributes"] == 2.0
    names = set(compute_losses(network, step.outputs, step.batch, LossConfig()))
    assert names == {"detect", "classify", "embed", "attributes"}
    for wrong in ("atributes", "detect"):
        with pytest.raises(ConfigError, match=f"'{wrong}' is no further task"):
            loss_weights(LossConfig(further={wrong: 1.0}), network)


def test_a_run_learns_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ToldShapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,), (), data.attributes)
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mix)
    best = run_training(
        config(80, min_score=0.05, loss={"further": {"attributes": 1.0}}), out=tmp_path / "run"
    )
    network, manifest = load_network(best)
    assert manifest.tasks == ("detect", "classify", "embed", "attributes")
    assert {a.name: a.values for a in manifest.attributes} == data.attributes
    parts = judge(network, manifest, mix, None).parts
    assert parts["shapes.size.accuracy"] >= 0.9
    assert parts["shapes.colour.accuracy"] >= 0.9


def test_a_task_that_no_set_labels_is_left_out() -> None:
    data = Shapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,), (), ToldShapes().attributes)
    assert loop.build_manifest(config(2), mix).attributes == ()
    data.tasks = frozenset({"classify"})
    assert loop.build_manifest(config(2), mix).tasks == ("classify",)
