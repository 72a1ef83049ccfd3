"""A run of some of the tasks: the same code, and only the heads that are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shapes_set import Shapes

from edgemtl.data.config import DataMix
from edgemtl.engine import open_session
from edgemtl.errors import ConfigError
from edgemtl.export import export_network
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.heads import anchor_points
from edgemtl.nn.network import PIXEL_ZERO
from edgemtl.nn.session import TorchSession
from edgemtl.ops import decode, letterbox_geometry
from edgemtl.train import loop
from edgemtl.train.assign import assign_by_place, inside
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import TrainConfig, load_train_config
from edgemtl.train.lookup import points_of, true_box_retrieval
from edgemtl.train.losses import combine
from edgemtl.train.manifest import build_manifest
from edgemtl.train.runlog import read_rows

SIZE = (64, 96)
SMALL = {
    "backbone_width": 0.35, "neck_width": 24, "embedding_dim": 8, "embedding_hidden": 16,
    "image_hidden": 32, "top_k": 20,
}  # fmt: skip


def config(steps: int, tasks: list[str] | None) -> TrainConfig:
    return TrainConfig.model_validate({
        "name": "small", "data": Path("shapes.toml"), "size_hw": SIZE, "images": 8 * steps,
        "data_checks": {"allow_overlap": True}, "tasks": tasks, "batch": 8, "group": 8,
        "network": SMALL, "validate": {"every": 8 * steps},
        "augment": {"scale": (0.9, 1.1), "flip": 0.0, "gain": 0.0, "bias": 0, "saturation": 0.0},
        "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.9},
    })  # fmt: skip


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> DataMix:
    """Every data file means the flat shapes, of which there are enough for retrieval."""
    data = Shapes(60)
    mix = DataMix(data.classes, data.image_classes, (data,))
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mix)
    return mix


@pytest.mark.parametrize(
    ("tasks", "logged"),
    [
        (["detect"], {"map50", "map", "hota", "idf1"}),
        (["classify"], {"top1"}),
        (["embed"], {"rank1"}),
        (["embed", "classify"], {"rank1", "top1"}),
        (["detect", "embed"], {"map50", "map", "hota", "idf1", "rank1"}),
    ],
)
def test_only_these_heads_exist_and_are_trained(
    tmp_path: Path, tasks: list[str], logged: set[str]
) -> None:
    best = loop.run_training(config(2, tasks), out=tmp_path / "run")
    network, manifest = load_network(best)
    assert set(manifest.tasks) == set(tasks)
    assert {head.name for head in network.heads} == set(tasks)
    row = next(row for row in read_rows(best.parent) if "score" in row)
    found = {key.partition(".")[2] for key in row["scores"]}
    # so early nothing is detected that could be searched for
    assert found | ({"rank1"} & logged) == logged
    assert "rank1" in found or "detect" in tasks or "embed" not in tasks
    session = TorchSession(network, manifest)
    outputs = session.infer(np.zeros((1, 3, *SIZE), np.int8))
    assert outputs.boxes_net.shape[1] == (20 if "detect" in tasks else 0)
    assert (outputs.embeddings is not None) == ("embed" in tasks)
    assert (outputs.image_probs is not None) == ("classify" in tasks)


def test_embeddings_inside_boxes_are_trained_alone_or_with_boxes(tmp_path: Path) -> None:
    shape = {**SMALL, "embedding_grid": (2, 1)}
    inside = config(4, ["embed"]).model_dump(by_alias=True)
    inside |= {"network": shape, "validate": {"every": 16}}
    best = loop.run_training(TrainConfig.model_validate(inside), out=tmp_path / "run")
    scores = [row["scores"] for row in read_rows(best.parent) if "score" in row]
    assert [set(score) for score in scores] == [{"shapes.rank1"}] * 2
    mixed = TrainConfig.model_validate(inside | {"tasks": ["embed", "classify"]})
    with pytest.raises(ConfigError, match=r"embedding_grid: .* need boxes, and \['classify'"):
        loop.run_training(mixed, out=tmp_path / "mixed")


def test_embeddings_alone_learn_to_tell_objects_apart(tmp_path: Path, shapes: DataMix) -> None:
    best = loop.run_training(config(25, ["embed"]), out=tmp_path / "run")
    network, manifest = load_network(best)
    found = true_box_retrieval(network, manifest, shapes, None, {})["shapes"]
    assert found.queries > 0
    assert found.rank1 > 0.95
    small = (32, 64)
    seen: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2:]))
    true_box_retrieval(network, manifest, shapes, 2, {"shapes": small})
    assert set(seen) == {small}
    # the graph says the same at the point that is looked up
    network.config = network.config.model_copy(update={"top_k": 10**6})
    path = export_network(network, manifest, tmp_path / "every.onnx").path
    pixels = np.random.default_rng(0).integers(-128, 128, (1, 3, *SIZE)).astype(np.int8)
    session = open_session(path, threads=1)
    every = session.infer(pixels)
    session.close()
    boxes = np.array([[8, 8, 24, 24], [40, 16, 64, 40]], np.float32)
    points = points_of(boxes, SIZE)
    with torch.no_grad():
        features = network(torch.from_numpy(pixels).float() / PIXEL_ZERO).features
        wanted = network.embed(features[0, points]).numpy()
    assert every.embeddings is not None
    np.testing.assert_allclose(every.embeddings[0, points], wanted, atol=1e-4)
    # nothing is detected, and decoding says so
    none = decode(every, 0, letterbox_geometry((48, 80), SIZE), 0.0)
    assert len(none) == 0


def test_points_lie_in_their_boxes_on_the_level_of_their_size() -> None:
    points, strides = anchor_points((128, 128))
    boxes = np.array([[10, 10, 30, 34], [20, 40, 110, 120], [0, 0, 128, 128], [5, 5, 6, 6]])
    found = points_of(boxes.astype(np.float32), (128, 128))
    assert strides[found].tolist() == [8, 16, 32, 8]
    here = inside(points, torch.from_numpy(boxes).float())
    assert here[torch.arange(4), torch.from_numpy(found)].all()
    assert points_of(np.zeros((0, 4), np.float32), (64, 64)).shape == (0,)


def test_a_point_serves_one_object_of_a_picture() -> None:
    anchors = anchor_points((64, 64))
    frame = torch.tensor([0, 0, 1])
    truth = torch.tensor([[8.0, 8, 40, 40], [10, 10, 42, 42], [8, 8, 40, 40]])
    found = assign_by_place(anchors, (frame, truth, torch.zeros(3, dtype=torch.long)), 3)
    taken = list(zip(found.image.tolist(), found.point.tolist(), strict=True))
    assert len(set(taken)) == len(taken)
    assert set(found.object.tolist()) == {0, 1, 2}
    assert (found.object == 2).sum() == 3
    assert inside(anchors[0], truth)[found.object, found.point].all()
    none = assign_by_place(anchors, (frame[:0], truth[:0], frame[:0]), 3)
    assert len(none.point) == 0


def test_a_task_that_nobody_labels_is_refused(shapes: DataMix) -> None:
    shapes.sets[0].tasks = frozenset(("detect",))
    with pytest.raises(ConfigError, match="'embed'"):
        build_manifest(config(1, ["detect", "embed"]), shapes)


def test_sets_of_weight_0_give_no_head(shapes: DataMix) -> None:
    alone, off = Shapes(4), Shapes(4)
    alone.tasks = frozenset(("detect",))
    off.weight = 0.0
    manifest = build_manifest(config(1, None), replace(shapes, sets=(alone, off)))
    assert manifest.tasks == ("detect",)
    assert manifest.identities == ()


@pytest.mark.parametrize(
    ("changes", "tasks", "said"),
    [
        ({"image_classes": ()}, ["classify"], "image_classes: .*'classify'"),
        ({"image_classes": (), "classes": ()}, None, "classes: "),
        ({"classes": ()}, ["detect", "classify"], "classes: .*'detect'"),
    ],
)
def test_tasks_without_a_class_are_refused(
    shapes: DataMix, changes: dict[str, object], tasks: list[str] | None, said: str
) -> None:
    shapes.sets[0].tasks = frozenset(("detect", "classify"))
    with pytest.raises(ConfigError, match=said):
        build_manifest(config(1, tasks), replace(shapes, **changes))


def test_identities_alone_train_the_embedding(tmp_path: Path, shapes: DataMix) -> None:
    """Of pictures in which not every object has a box, detection learns nothing."""
    boxes, looks = Shapes(8), Shapes(8)
    boxes.tasks, looks.tasks = frozenset(("detect",)), frozenset(("embed",))
    mix = replace(shapes, sets=(boxes, looks))
    run = loop._Run(config(1, None), mix, tmp_path, 0, None)
    run.network.train()
    (batch,) = BatchMaker([looks], run.config).batch(0)
    assert batch.objects
    losses = combine([run._measure(batch)])
    assert list(losses) == ["embed"]
    losses["embed"].backward()
    gradients = {n: p.grad for n, p in run.network.named_parameters() if p.grad is not None}
    assert any(name.startswith("embed") and g.any() for name, g in gradients.items())
    assert not any(name.startswith("detect") and g.any() for name, g in gradients.items())


@pytest.mark.parametrize("wrong", ['["boxes"]', "[]"])
def test_a_wrong_word_for_a_task_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        f'name = "x"\ndata = "d.toml"\nsize_hw = [64, 64]\nimages = 8\ntasks = {wrong}\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match="tasks"):
        load_train_config(path)
