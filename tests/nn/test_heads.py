"""Heads of one shape: which a network has, what each gives, and what a manifest says of it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from edgemtl.errors import ConfigError
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.manifest_tasks import Attribute
from edgemtl.nn.heads import HEADS, Head, further_task
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig, network_of

SMALL = NetworkConfig(
    backbone_width=0.35, neck_width=16, embedding_dim=8, embedding_hidden=16, top_k=7
)
TOLD = {"type": 3, "colour": 2}  # one name that torch's own containers refuse as a key


def network(n_classes: int = 2, n_image_classes: int = 4, **more: object) -> MultiTaskNetwork:
    torch.manual_seed(0)
    return MultiTaskNetwork(SMALL, n_classes, n_image_classes, **more).eval()


@pytest.mark.parametrize(
    ("classes", "images", "told", "names"),
    [
        (2, 4, TOLD, ["detect", "embed", "classify", "attributes"]),
        (2, 0, {}, ["detect", "embed"]),
        (0, 4, {}, ["embed", "classify"]),
        (0, 4, TOLD, ["embed", "classify"]),  # nothing is told of objects that nobody looks for
    ],
)
def test_a_network_has_the_heads_of_its_tasks(
    classes: int, images: int, told: dict[str, int], names: list[str]
) -> None:
    made = network(classes, images, attributes=told)
    assert [head.name for head in made.heads] == names
    for kind in HEADS:
        assert (getattr(made, kind.name) is not None) == (kind.name in names)
    assert set(made(torch.zeros(1, 3, 64, 96)).raw) == set(names)


def test_an_image_class_alone_needs_no_neck() -> None:
    made = MultiTaskNetwork(SMALL.model_copy(update={"embedding_dim": None}), 0, 4).eval()
    assert [head.name for head in made.heads] == ["classify"]
    assert made.neck is None
    assert made.shared == [made.backbone]
    out = made(torch.zeros(1, 3, 64, 96))
    assert out.features is None
    assert set(made.select(torch.zeros(1, 3, 64, 96))) == {"image_probs"}


def test_outputs_are_those_of_the_manifest() -> None:
    manifest = Manifest(
        name="t",
        input=InputSpec(size_hw=(64, 96)),
        classes=("a", "b"),
        image_classes=("x", "y", "z"),
        embedding_dim=8,
        attributes=tuple(
            Attribute(name=n, values=tuple(f"v{i}" for i in range(k))) for n, k in TOLD.items()
        ),
        top_k=7,
    )
    assert manifest.tasks == ("detect", "classify", "embed", "attributes")
    torch.manual_seed(0)
    made = network_of(SMALL, manifest).eval()
    found = made.select(torch.randn(2, 3, 64, 96))
    expected = manifest.expected_outputs()
    assert set(found) == set(expected)
    for name, (dtype, shape) in expected.items():
        assert found[name].shape == (2, *shape)
        assert str(found[name].dtype) == f"torch.{dtype}"
    for name in TOLD:
        torch.testing.assert_close(found[f"attributes_{name}"].sum(-1), torch.ones(2, 7))


def test_the_same_seed_gives_the_same_trunk_whatever_the_tasks() -> None:
    alone, all_of_them = network(2, 0), network(2, 4, attributes=TOLD)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(all_of_them.state_dict()[name], value)


def test_attributes_at_a_point_are_a_plain_mlp() -> None:
    head = network(attributes=TOLD).attributes
    x = torch.randn(5, 16)
    seen = torch.relu(x @ head.common[0].weight.T + head.common[0].bias)
    for name, layer in zip(TOLD, head.last, strict=True):
        torch.testing.assert_close(head(x)[name], seen @ layer.weight.T + layer.bias)


@pytest.mark.parametrize("name", ["detect", "attributes", "nonsense"])
def test_what_is_no_further_task(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'"):
        further_task(name, ("a", "b"))


def test_a_head_says_how_it_is_made_and_what_it_gives() -> None:
    class Mute(Head):
        name = "mute"

    with pytest.raises(TypeError, match="Mute"):
        Mute.make(None)
    with pytest.raises(TypeError, match="Mute"):
        Mute().infer(None, None)
    assert Mute().learn(None) is None
