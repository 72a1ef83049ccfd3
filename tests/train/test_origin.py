"""Fine-tuning: what a run takes from a trained network, what it leaves alone, what it refuses."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, STILL, Shapes, stopped_before

from edgemtl import finetune as tuning
from edgemtl.data.base import Task
from edgemtl.data.config import DataMix
from edgemtl.engine import open_session
from edgemtl.errors import ConfigError, ModelError
from edgemtl.export import export_checkpoint
from edgemtl.finetune import finetune
from edgemtl.manifest import DataSource, IdentitySource
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.network import folded
from edgemtl.train import before, loop
from edgemtl.train.before import check_run
from edgemtl.train.config import TrainConfig, load_train_config
from edgemtl.train.loop import run_training
from edgemtl.train.manifest import build_manifest
from edgemtl.train.origin import Origin, with_kept
from edgemtl.train.runlog import read_rows

STEPS = 40


def config(start: dict[str, Any] | None = None, steps: int = 4, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "name": "tuned", "data": Path("shapes.toml"), "size_hw": (64, 96), "images": 4 * steps,
        "batch": 4, "augment": STILL, "validate": {"every": 10_000},
        "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.5},
        "data_checks": {"allow_overlap": True}, "start": start or {},
    }  # fmt: skip
    return TrainConfig.model_validate({**values, **changes})


class Renamed(Shapes):
    """The shapes, of which the data say other things: classes by name, and only some tasks."""

    def __init__(
        self, classes: tuple[str, ...], image_classes: tuple[str, ...], tasks: set[Task]
    ) -> None:
        super().__init__(12, labelled=(True,) * len(classes))
        self.classes, self.image_classes = classes, image_classes
        self.tasks = frozenset(tasks)

    def truth(self, index: int) -> Any:
        found = super().truth(index)
        if not self.classes:
            none = np.zeros(0, np.int32)
            return replace(
                found, boxes_src=np.zeros((0, 4), np.float32), labels=none,
                identities=none.astype(np.int64), ignore=none.astype(bool),
            )  # fmt: skip
        return found


def use(monkeypatch: pytest.MonkeyPatch, data: Shapes) -> DataMix:
    mix = DataMix(data.classes, data.image_classes, (data,))
    for module in (loop, before, tuning):
        monkeypatch.setattr(module, "load_data", lambda path, split, root: mix)
    return mix


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> DataMix:
    return use(monkeypatch, Shapes(12))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows classes a and b, dark and light, and identities."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, Shapes(12))
        out = tmp_path_factory.mktemp("trained") / "run"
        source = DataSource(name="shapes", role="train", licence="CC0")
        return run_training(
            config(None, STEPS, network=SMALL, weights_licence="CC0", sources=[source],
                   min_score=0.2),
            out=out,
        )  # fmt: skip


def only(task: str, trained: Path) -> dict[str, Any]:
    return {"checkpoint": trained, "only": [task]}


def test_it_begins_with_the_weights_and_is_judged_first(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run_training(config({"checkpoint": trained}, 1), out=tmp_path / "run")
    rows = [row for row in read_rows(best.parent) if "score" in row]
    reached = [row["score"] for row in read_rows(trained.parent) if "score" in row]
    assert [row["step"] for row in rows] == [0, 1]
    assert rows[0]["score"] == pytest.approx(max(reached), abs=1e-4)
    told = "start: 'best.safetensors': detect as it was, embed as it was, classify as it was"
    assert told in capsys.readouterr().err
    network, manifest = load_network(best)
    assert network.config.neck_width == 24, "the shape comes from the checkpoint"
    assert (manifest.weights_licence, manifest.min_score) == ("CC0", 0.2)
    assert [source.name for source in manifest.data] == ["shapes"]


def test_what_the_file_says_is_not_taken_over(tmp_path: Path, trained: Path) -> None:
    own = DataSource(name="ours", role="train", licence="MIT")
    wanted = config({"checkpoint": trained}, 1, weights_licence="MIT", sources=[own],
                    min_score=0.5, network={"top_k": 7})  # fmt: skip
    _, manifest = load_network(run_training(wanted, out=tmp_path / "run"))
    assert (manifest.weights_licence, manifest.min_score, manifest.top_k) == ("MIT", 0.5, 7)
    assert [source.name for source in manifest.data] == ["shapes", "ours"]


@pytest.mark.parametrize(
    ("only", "wanted"), [(None, "ab"), (("embed",), "ab"), (("classify",), "a")]
)
def test_whom_it_knew_it_still_knows(
    trained: Path, shapes: DataMix, only: tuple[str, ...] | None, wanted: str
) -> None:
    network, old = load_network(trained)
    known = {key: IdentitySource(source=key, ranges=((0, 1),)) for key in "ab"}
    origin = Origin(network, old.model_copy(update={"identities": (known["a"],)}), trained)
    start = {"checkpoint": trained, "only": only}
    found = build_manifest(config(start, network=SMALL), shapes)
    found = found.model_copy(update={"identities": (known["b"],)})
    kept = with_kept(found, config(start), origin)
    assert "".join(one.source for one in kept.identities) == wanted


@pytest.mark.parametrize("task", ["classify", "embed", "detect"])
def test_only_one_head_learns(tmp_path: Path, trained: Path, task: str) -> None:
    """Parameters and the statistics of batch norm: all else stays bit for bit."""
    run_training(config(only(task, trained)), out=tmp_path / "run")
    old = load_network(trained)[0].state_dict()
    network, _ = load_network(tmp_path / "run" / "last.safetensors")
    moved = {key for key, value in network.state_dict().items() if not value.equal(old[key])}
    assert moved, "nothing was learnt"
    assert all(key.startswith(f"{task}.") for key in moved)
    learnt = {f"{task}.{name}" for name, _ in getattr(network, task).named_parameters()}
    assert learnt <= moved


def test_classes_are_known_by_their_names(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Another order, and one that is new."""
    tasks: set[Task] = {"detect", "classify", "embed"}
    use(monkeypatch, Renamed(("b", "c", "a"), ("light", "dark", "dusk"), tasks))
    run_training(config({"checkpoint": trained}, 1, optimiser={"rate": 1e-12}), out=tmp_path / "r")
    said = capsys.readouterr().err
    assert "detect knows 2 of its 3 classes" in said
    assert "classify knows 2 of its 3 classes" in said
    old, new = load_network(trained)[0], load_network(tmp_path / "r" / "last.safetensors")[0]
    assert old.detect is not None
    assert new.detect is not None
    for mine, theirs in zip(new.detect.one, old.detect.one, strict=True):
        torch.testing.assert_close(mine.weight[[2, 0]], theirs.weight, rtol=0, atol=1e-6)
        assert mine.bias[1].item() == pytest.approx(-np.log(99), abs=1e-3), "begins rare"
    assert old.classify is not None
    assert new.classify is not None
    wanted = old.classify.classify.weight
    torch.testing.assert_close(new.classify.classify.weight[[1, 0]], wanted, rtol=0, atol=1e-6)


def test_a_task_is_added_to_a_network_that_stays_what_it_is(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of a class each, without a box: the graph still detects as before."""
    use(monkeypatch, Renamed((), ("cat", "dog"), {"classify"}))
    still = {**STILL, "mosaic": 0.0}
    wanted = config(only("classify", trained), 3 * STEPS, augment=still)
    best = run_training(wanted, out=tmp_path / "run")
    _, manifest = load_network(best)
    assert manifest.tasks == ("detect", "classify", "embed")
    assert (manifest.classes, manifest.image_classes) == (("a", "b"), ("cat", "dog"))
    last = [row["scores"] for row in read_rows(best.parent) if "score" in row][-1]
    assert last == {"shapes.top1": 1.0}
    pictures = np.random.default_rng(0).integers(-128, 128, (1, 3, 64, 96)).astype(np.int8)
    found = []
    for number, checkpoint in enumerate((trained, best)):
        export_checkpoint(checkpoint, tmp_path / f"{number}.onnx")
        with closing(open_session(tmp_path / f"{number}.onnx", threads=1)) as session:
            found.append(session.infer(pictures))
    for name in ("boxes_net", "scores", "labels", "embeddings"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    assert np.abs(found[0].image_probs - found[1].image_probs).max() > 0.1


def test_a_network_of_one_task_gets_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier has neither neck nor embeddings."""
    shape = {"backbone_width": 0.35}
    alone = run_training(config(None, 1, tasks=["classify"], network=shape), out=tmp_path / "one")
    network, manifest = load_network(
        run_training(config({"checkpoint": alone}, 1), out=tmp_path / "run")
    )
    assert manifest.tasks == ("detect", "classify", "embed")
    assert manifest.embedding_dim == 64
    assert network.neck is not None
    said = "neck begins anew, detect begins anew, embed begins anew, classify as it was"
    assert said in capsys.readouterr().err
    wanted = config({"checkpoint": alone, "only": ["detect"]}, 1, tasks=["detect"])
    network, manifest = load_network(run_training(wanted, out=tmp_path / "detect"))
    assert manifest.tasks == ("detect", "classify")
    last, _ = load_network(tmp_path / "detect" / "last.safetensors")
    old = load_network(alone)[0].state_dict()
    moved = {
        key for key, value in last.state_dict().items() if not value.equal(old.get(key, value))
    }
    assert not moved, "what was there stays; the neck is new"
    assert last.neck is not None
    begun = {key for key, value in last.state_dict().items() if key not in old}
    assert {key.partition(".")[0] for key in begun} == {"neck", "detect"}


def test_an_interrupted_run_resumes_to_the_same_result(tmp_path: Path, trained: Path) -> None:
    """Wherever the checkpoint lies by then."""
    wanted = config(only("classify", trained))
    run_training(wanted, out=tmp_path / "whole")
    with stopped_before(2):
        run_training(wanted, out=tmp_path / "cut")
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(trained.read_bytes())
    run_training(config(only("classify", moved)), out=tmp_path / "cut", resume=True)
    states = [
        load_network(tmp_path / name / "last.safetensors")[0].state_dict()
        for name in ("whole", "cut")
    ]
    assert all(value.equal(states[1][key]) for key, value in states[0].items())
    with pytest.raises(ConfigError, match=r"resume: start\.only is \['embed'\]"):
        run_training(config(only("embed", trained)), out=tmp_path / "cut", resume=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"neck_width": 32}}, r"describes another neck than 'best.safetensors'"),
        ({"network": {"backbone": "resnet18"}}, r"describes another backbone than"),
        ({"network": {"pretrained": True}}, r"both say what to begin with"),
        ({"start": {"only": ["attributes"]}}, r"start.only: no data set labels 'attributes'"),
        ({"start": {"only": ["detect"]}, "network": {"embedding_hidden": 32}},
         r"'embed' is to stay as it is in 'best.safetensors', and \[network\] gives it another"),
        ({"start": {"only": ["classify"]}, "renamed": True}, r"'detect' stays as in .* whose "
         r"classes are \['a', 'b'\]; the data have \['b', 'c', 'a'\]"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
    words: str,
) -> None:  # fmt: skip
    """Before the first step, and by --check as well."""
    if changes.pop("renamed", False):
        use(monkeypatch, Renamed(("b", "c", "a"), ("dark", "light"), {"detect", "classify"}))
    start = {"checkpoint": trained, **changes.pop("start", {})}
    with pytest.raises(ConfigError, match=words) as refused:
        run_training(config(start, **changes), out=tmp_path / "run")
    assert refused.value.hint
    with pytest.raises(ConfigError, match=words):
        check_run(config(start, **changes), tmp_path / "check", None)


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="checkpoint: no file"):
        run_training(config({"checkpoint": tmp_path / "gone.safetensors"}), out=tmp_path / "run")


def test_the_section_in_a_file(tmp_path: Path) -> None:
    """A shipped model by its name, else a path beside the file."""
    text = 'name = "x"\ndata = "d.toml"\nsize_hw = [64, 96]\nimages = 8\n[start]\n'
    file = tmp_path / "run.toml"
    file.write_text(text + 'checkpoint = "toy"\n')
    assert load_train_config(file).start.checkpoint == Path("toy")
    file.write_text(text + 'checkpoint = "a/best.safetensors"\nonly = ["embed"]\n')
    start = load_train_config(file).start
    assert start.checkpoint == tmp_path / "a" / "best.safetensors"
    assert start.only == ("embed",)
    file.write_text(text + 'only = ["embed"]\n')
    with pytest.raises(ConfigError, match=r"start\.checkpoint, which is not given"):
        load_train_config(file)
    file.write_text(text + 'checkpoint = "toy"\nonly = ["embed"]\n[loss]\nbalance = "upgrad"\n')
    with pytest.raises(ConfigError, match=r"loss\.balance 'upgrad': start.only shares nothing"):
        load_train_config(file)


def test_a_shipped_model_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its classes are others than those of the shapes."""
    best = run_training(config({"checkpoint": "toy"}, 1), out=tmp_path / "run")
    said = capsys.readouterr().err
    assert "start: 'toy.safetensors': detect knows 0 of its 2 classes, embed as it was" in said
    assert load_network(best)[1].classes == ("a", "b")


def test_it_goes_on_with_rounding(tmp_path: Path, trained: Path, shapes: DataMix) -> None:
    """--quantize with the same file: what start.only leaves alone stays alone."""
    wanted = config(only("classify", trained), 4, quantize={"part": 1.0})
    best = run_training(wanted, out=tmp_path / "run")
    tuned = finetune(wanted, best, out=tmp_path / "tuned")
    old = folded(load_network(best)[0]).state_dict()
    network, manifest = load_network(tuned.parent / "last.safetensors")
    assert manifest.tasks == ("detect", "classify", "embed")
    moved = {key for key, value in network.state_dict().items() if not value.equal(old[key])}
    assert moved
    assert all(key.startswith("classify.") for key in moved)
