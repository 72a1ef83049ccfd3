"""Training with INT8's rounding: the same numbers as the INT8 graphs, and slopes all the same."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

import torch
from graph_tools import as_uint8, pictures, run
from torch import nn

from edgemtl.errors import CalibrationError, ModelError
from edgemtl.export import export_network
from edgemtl.graph.dialect import ORT_ARM, ORT_X86, TRT, Dialect
from edgemtl.graph.file import canonical_hash, load_model
from edgemtl.graph.qdq import insert_qdq
from edgemtl.graph.ranges import RangeTable
from edgemtl.graph.rounding import read_roundings
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.nn.config import NetworkConfig
from edgemtl.nn.network import PIXEL_ZERO, MultiTaskNetwork, folded, network_of
from edgemtl.quantize.collect import collect, watch
from edgemtl.quantize.histogram import make_observer
from edgemtl.train.rounding import Rounder

MANIFEST = Manifest(
    name="m", input=InputSpec(size_hw=(64, 96)), classes=("a", "b"), image_classes=("x", "y"),
    embedding_dim=8, top_k=20, min_score=0.3, edgemtl_version="0",
)  # fmt: skip
Case = tuple[MultiTaskNetwork, onnx.ModelProto, RangeTable]
SHAPE = {"neck_width": 24, "embedding_dim": 8, "embedding_hidden": 16, "image_hidden": 32}
BACKBONES = {
    "lite0": {"backbone": "efficientnet_lite0", "embedding_grid": (3, 2)},
    "mobilenet": {"backbone": "mobilenet_v2", "backbone_width": 0.35},
    "resnet": {"backbone": "resnet18"},
    "regnet": {"backbone": "regnet_x_400mf"},
}


def _network(backbone: str) -> MultiTaskNetwork:
    torch.manual_seed(0)
    shape = NetworkConfig.model_validate({**SHAPE, **BACKBONES[backbone], "top_k": 20})
    network = network_of(shape, MANIFEST)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had seen pictures
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    assert network.detect is not None
    for layer in (*network.detect.one, *network.detect.box):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return folded(network)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """A backbone's network, its graph and a table of ranges; the network is a copy each time."""

    @functools.cache
    def made(backbone: str) -> Case:
        network = _network(backbone)
        return (network, *_exported(network, tmp_path_factory.mktemp(backbone)))

    def copied(backbone: str) -> Case:
        network, model, table = made(backbone)
        return copy.deepcopy(network), model, table

    return copied


def _exported(network: MultiTaskNetwork, folder: Path) -> tuple[onnx.ModelProto, RangeTable]:
    export_network(network, MANIFEST, folder / "m.onnx")
    model, manifest = load_model(folder / "m.onnx")
    images = pictures(manifest, count=6)
    found = collect(model, [one[None] for one in images], lambda: make_observer("minmax", 100.0))
    table = RangeTable(
        model="m", model_sha256=canonical_hash(model), observer="minmax", images=6,
        content_sha256="0" * 64, ranges=found.ranges, means=found.means,
    )  # fmt: skip
    return model, table


def _x(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).float() / PIXEL_ZERO


@pytest.mark.parametrize(
    ("backbone", "dialect"),
    [("lite0", ORT_X86), ("lite0", ORT_ARM), *((backbone, TRT) for backbone in BACKBONES)],
    ids=lambda given: given if isinstance(given, str) else given.key,
)
def test_it_computes_what_the_int8_graph_computes(
    case: Callable[[str], Case], backbone: str, dialect: Dialect
) -> None:
    network, model, table = case(backbone)
    dialect = replace(dialect, half=False)
    int8, grids = insert_qdq(model, table, dialect), read_roundings(model, table, dialect).grids
    images = pictures(MANIFEST, count=4, seed=3)
    shown = as_uint8(images) if dialect.activation == "uint8" else images
    want = run(watch(int8, [*grids, "image_probs"]), shown)
    with torch.no_grad(), Rounder(model, table, (dialect,)).applied(network) as followed:
        in_place = network.select(_x(images))["image_probs"]
        for module in network.modules():
            if isinstance(module, nn.ReLU | nn.ReLU6):
                module.inplace = False  # leaves what it reads as it was
        have = {"image_probs": network.select(_x(images))["image_probs"], **followed.tensors()}
    assert torch.equal(have["image_probs"], in_place)
    gone = grids.keys() - have.keys()
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    assert all(any(name in add.input for add in adds) for name in gone), "x += y"
    for number, (name, grid) in enumerate(grids.items()):
        if name in gone:
            continue
        steps = np.abs(have[name].numpy() - want[name]) / grid.scale
        # a sum in another order ends on the other side of a half now and then; what is not
        # rounded alike is hardly ever equal
        assert (steps < 1e-2).mean() > (0.99 if number < 3 else 0.5), name
        assert steps.mean() < 0.6, name
    assert np.abs(have["image_probs"].numpy() - want["image_probs"]).max() < 0.02


def test_a_network_is_left_as_it_was(case: Callable[[str], Case]) -> None:
    network, model, table = case("mobilenet")
    rounder = Rounder(model, table, (ORT_X86, TRT))
    before = dict(network.named_parameters())
    x = _x(pictures(MANIFEST, count=1))
    with torch.no_grad():
        plain = network.select(x)["image_probs"]
        rounded = []
        for number in range(3):
            with rounder.applied(network, number):
                rounded.append(network.select(x)["image_probs"])
        with pytest.raises(ZeroDivisionError), rounder.applied(network):
            raise ZeroDivisionError
        assert torch.equal(network.select(x)["image_probs"], plain)
    assert torch.equal(rounded[0], rounded[2]), "the dialects take turns"
    assert not torch.equal(rounded[0], rounded[1])
    after = dict(network.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert not any(module._forward_hooks for module in network.modules())


def test_slopes_reach_weights_and_biases(case: Callable[[str], Case]) -> None:
    network, model, table = case("lite0")
    network.train()
    network.backbone.stages[0].requires_grad_(False)
    with Rounder(model, table, (TRT,)).applied(network):
        outputs = network(_x(pictures(MANIFEST, count=2)))
        assert outputs.image_logits is not None
        assert outputs.dense.logits_many is not None
        (outputs.image_logits.square().sum() + outputs.dense.box_raw.square().sum()).backward()
    found = {name for name, p in network.named_parameters() if p.grad is not None}
    wanted = {
        name for name, _ in network.named_parameters()
        if name.startswith(("backbone", "neck", "classify", "detect.box"))
        and not name.startswith("backbone.stages.0.")
    }  # fmt: skip
    assert found == wanted
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_a_straight_slope_through_a_rounded_weight(case: Callable[[str], Case]) -> None:
    """The gradient is that of the rounded network, as if rounding were adding a constant."""
    network, model, table = case("mobilenet")
    rounder = Rounder(model, table, (ORT_X86,))
    assert network.detect is not None
    layer = network.detect.one[0]
    x = _x(pictures(MANIFEST, count=1))
    with rounder.applied(network):
        network(x).dense.logits_one.sum().backward()
    # the predictor stays float for this host: its gradient is the sum of its rounded inputs
    seen = []
    hook = layer.register_forward_hook(lambda module, args, out: seen.append(args[0].detach()))
    with torch.no_grad(), rounder.applied(network):
        network(x)
    hook.remove()
    expected = seen[0].sum((0, 2, 3)).expand(2, -1)
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0], expected, rtol=1e-4, atol=1e-3)


def test_a_table_of_another_model_is_refused(case: Callable[[str], Case]) -> None:
    _, model, table = case("mobilenet")
    other = table.model_copy(update={"model_sha256": "0" * 64})
    with pytest.raises(CalibrationError, match="belongs to another model"):
        Rounder(model, other, (TRT,))


def test_a_network_that_is_not_folded_is_refused(case: Callable[[str], Case]) -> None:
    network, *graph_and_table = case("mobilenet")
    rounder = Rounder(*graph_and_table, (TRT,))
    shape = network.config.model_copy(update={"folded": False, "neck_width": 16})
    other = network_of(shape, MANIFEST.model_copy(update={"image_classes": ()}))
    with pytest.raises(ModelError, match=r"no weights 'network\.classify"), rounder.applied(other):
        pass
