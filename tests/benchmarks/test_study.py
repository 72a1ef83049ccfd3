"""The studies' own functions, on made-up results: no training here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import against_yolo26
import balancing
import numpy as np
import quantise_aware
import shared_vs_separate
import study
import torch
from study_plot import figure, shared_plot
from study_separate import AtBoxes, Joined, Looker

from edgemtl.engine import open_session
from edgemtl.errors import ConfigError
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.metrics.bootstrap import Interval
from edgemtl.models import resolve_model
from edgemtl.nn.checkpoint import save_checkpoint
from edgemtl.nn.network import NetworkConfig, network_of
from edgemtl.quantize.budget import Loss
from edgemtl.train.config import TrainConfig, load_train_config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    "values",
    [
        {"a": 1, "b": [1, 2], "c": {"d": 'x " y', "e": True}, "f": 0.5},
        study.merged(shared_vs_separate.SYNTHETIC, {"tasks": ["detect"], "seed": 3}),
        study.merged(against_yolo26.OURS, against_yolo26.PRETRAINED),
    ],
)
def test_toml_comes_back_as_it_was(values: study.Json) -> None:
    back = tomllib.loads(study.toml(values))
    assert back == json.loads(json.dumps(values, default=str))


@pytest.mark.parametrize("quick", [True, False])
def test_every_config_is_a_training_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    monkeypatch.setenv("EDGEMTL_LITE0", "weights.pth")
    wanted = [balancing.config(kind, 1, quick) for kind in balancing.KINDS]
    wanted += [shared_vs_separate.SYNTHETIC, shared_vs_separate.REAL]
    wanted += [{**against_yolo26.OURS, "images": 80}]
    for number, config in enumerate(wanted):
        for tasks in shared_vs_separate.KINDS.values():
            whole = study.merged(config, shared_vs_separate.QUICK if quick else {})
            file = tmp_path / f"{number}.toml"
            text = whole if tasks is None else {**whole, "tasks": tasks}
            file.write_text(study.toml(text), encoding="utf-8")
            assert isinstance(load_train_config(file), TrainConfig)


def test_merging_goes_key_by_key() -> None:
    base = {"a": {"x": 1, "y": 2}, "b": 1}
    assert study.merged(base, {"a": {"y": 3}, "c": 4}) == {"a": {"x": 1, "y": 3}, "b": 1, "c": 4}
    assert base == {"a": {"x": 1, "y": 2}, "b": 1}


ROWS = """{"step": 1, "images": 8, "time_s": 50, "score": 1}
{"step": 2, "images": 16, "time_s": 60, "loss": {}}
{"step": 3, "images": 24, "time_s": 90, "score": 2}
"""


def judged(*scores: float) -> list[study.Json]:
    return [{"time_s": 10.0 * (k + 1), "scores": {"w.map": s}} for k, s in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "quality", "seconds"),
    [
        ((0.2, 0.4, 0.5), 0.4, 20.0),
        ((0.2, 0.4, 0.5), 0.3, 15.0),
        ((0.2, 0.4), 0.1, 5.0),
        ((0.2, 0.1, 0.3), 0.2, 10.0),
        ((0.2, 0.4), 0.5, None),
        ((), 0.5, None),
    ],
)
def test_seconds_to_a_quality(
    scores: tuple[float, ...], quality: float, seconds: float | None
) -> None:
    assert study.seconds_to(judged(*scores), "w.map", quality) == seconds
    assert study.seconds_to(judged(*scores), "w.other", quality) is None


def test_time_to_quality_asks_both_for_the_worse_end() -> None:
    def facts(*scores: float) -> study.Json:
        rows = judged(*scores)
        for row in rows:
            row["scores"] = dict.fromkeys(("map", "top1", "rank1"), row["scores"]["w.map"])
        return {"judgements": rows}

    runs = {"shared": facts(0.2, 0.4), "detect": facts(0.4, 0.6), "classify": facts(0.1, 0.2),
            "embed": facts(0.5, 1.0)}  # fmt: skip
    names = {"detect": "map", "classify": "top1", "embed": "rank1"}
    found = shared_vs_separate.times_to_quality(runs, names)
    assert found["detect"] == {"shared_s": 20.0, "separate_s": 10.0}
    assert found["classify"] == {"shared_s": 10.0, "separate_s": 20.0}
    assert found["embed"] == {"shared_s": 19.0, "separate_s": 19.0}
    assert found["all"] == {"shared_s": 20.0, "separate_s": 49.0}


def test_a_command_is_timed_and_its_failure_told(tmp_path: Path) -> None:
    study.timed([sys.executable, "-c", "print('words')"], tmp_path)
    study.timed([sys.executable, "-c", "sum(range(10**6))"], tmp_path)
    parts = json.loads((tmp_path / "times.json").read_text())
    assert len(parts) == 2
    assert all(part["cpu_s"] >= 0 for part in parts)
    assert "words" in (tmp_path / "log").read_text()
    with pytest.raises(SystemExit, match="exit 3"):
        study.timed([sys.executable, "-c", "import sys; sys.exit(3)"], tmp_path)


def test_another_config_in_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("name = 'other'\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="another config"):
        study.train(tmp_path, {"name": "this"}, None)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(study.toml({"threads": 1, "name": "x"}))
    (tmp_path / "done").touch()
    (tmp_path / "times.json").write_text('[{"wall_s": 3, "cpu_s": 2}, {"wall_s": 1, "cpu_s": 1}]')
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text(ROWS, encoding="utf-8")
    done = study.train(tmp_path, {"name": "x"}, None)
    assert (done.wall_s, done.cpu_s) == (4, 3)
    # by the processor, whatever the clock said
    assert [(row["images"], row["time_s"]) for row in done.judgements] == [(8, 1.0), (24, 3.0)]


def test_judgements_at_the_cost_of_steps_here() -> None:
    rows = [{"step": 1, "time_s": 9.0, "score": 1}, {"step": 40, "time_s": 80.0, "score": 2}]
    assert [r["time_s"] for r in study.at_cost(rows, 250.0)] == [0.2, 10.0]
    assert [r["score"] for r in study.at_cost(rows, 250.0)] == [1, 2]


def part(**difference: float) -> study.Json:
    scores = dict.fromkeys(("map", "top1", "idf1", "rank1"), 0.5)
    cost = {"latency_cpu_ms": {p: {"ratio": 0.4} for p in ("fp32", "int8")},
            "parameters": {"ratio": 0.4}}  # fmt: skip
    return {
        "seeds": {s: {"scores": {"shared": scores, "separate": scores}} for s in "123"},
        "scores": {"shared": scores, "separate": scores},
        "difference": {task: {"mean": difference.get(task, 0.0)} for task in scores},
        "intervals": {t: {"low": -0.03, "high": difference.get(t, 0.03)} for t in scores},
        "cost": cost,
    }  # fmt: skip


def test_what_counts_as_missed_by_the_shared_network() -> None:
    missed = shared_vs_separate.misses
    assert missed({}) == ["synthetic: not measured yet", "real: not measured yet"]
    good = {"synthetic": part(map=0.01, top1=-0.004), "real": part(idf1=-0.009)}
    assert missed(good) == []
    assert len(missed({**good, "synthetic": part(map=0.01, top1=-0.006)})) == 1
    assert len(missed({**good, "real": part(rank1=-0.011)})) == 1
    assert missed({"synthetic": part(), "real": part()}) == ["no task is better than alone"]
    dear = part(map=0.01)
    dear["cost"]["latency_cpu_ms"]["int8"]["ratio"] = 0.46
    assert len(missed({"synthetic": dear, "real": part()})) == 1


def test_what_counts_as_missed_with_rounding() -> None:
    def losses(points: float, low: float) -> study.Json:
        interval = Interval(points, low, points + 1)
        return {
            graph: [Loss("map", 0.5, interval, 100).to_dict()] for graph in ("int8", "int8 trt")
        }

    missed = quantise_aware.misses
    assert missed({"before": losses(1.0, 0.5), "after": losses(0.2, -0.1)}) == []
    assert missed({"before": losses(1.0, 0.5), "after": losses(1.3, 0.9)}) == []
    assert len(missed({"before": losses(1.0, 0.5), "after": losses(2.0, 1.1)})) == 2


def test_what_counts_as_missed_beside_the_peer() -> None:
    result = {
        "scores": {"ours": {"map": 0.2}, "yolo26n": {"map": 0.1}}, "latency_ratio": 0.9,
        "training": {n: {"cpu_s": 100.0} for n in ("ours", "yolo26n", "ours, pretrained")},
    }  # fmt: skip
    assert against_yolo26.misses(result) == []
    worse = {**result, "latency_ratio": 1.01, "scores": {"ours": {"map": 0.1},
             "yolo26n": {"map": 0.1}}}  # fmt: skip
    assert len(against_yolo26.misses(worse)) == 2
    result["training"]["ours"]["cpu_s"] = 103.0
    assert len(against_yolo26.misses(result)) == 1


def test_the_peers_labels_are_the_same_boxes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100},
                   {"id": 2, "file_name": "b.jpg", "width": 50, "height": 50}],
        "annotations": [{"image_id": 1, "category_id": 4, "bbox": [20, 10, 60, 40]}],
    }  # fmt: skip
    for split in ("train", "val"):
        (tmp_path / "in" / f"instances_{split}.json").write_text(json.dumps(truth))
    file = against_yolo26.yolo_data(tmp_path / "out", tmp_path / "in")
    text = (tmp_path / "out" / "labels" / "train" / "a.txt").read_text().split()
    assert [float(v) for v in text] == [4, 0.25, 0.3, 0.3, 0.4]
    assert (tmp_path / "out" / "labels" / "val" / "b.txt").read_text().strip() == ""
    assert "Motorcycle" in file.read_text()


def test_three_networks_as_one_take_embeddings_at_the_boxes() -> None:
    alone = open_session(resolve_model("toy"), threads=1)
    size_hw = alone.manifest.input.size_hw
    picture = np.random.default_rng(1).integers(-128, 128, (1, 3, *size_hw)).astype(np.int8)
    own = alone.infer(picture)

    class Echo(Looker):
        """Says of every box its corners."""

        def __init__(self) -> None:
            self.manifest = alone.manifest

        def embeddings(self, images: np.ndarray, boxes_net: np.ndarray) -> np.ndarray:
            assert images is picture
            return boxes_net[None]

    joined = Joined(alone, alone, Echo())
    both = joined.infer(picture)
    assert both.embeddings is not None
    np.testing.assert_array_equal(both.embeddings, own.boxes_net)
    np.testing.assert_array_equal(both.boxes_net, own.boxes_net)
    np.testing.assert_array_equal(both.image_probs, own.image_probs)
    joined.close()


def test_a_network_that_looks_inside_boxes_is_asked_for_them(tmp_path: Path) -> None:
    shape = NetworkConfig.model_validate({
        "backbone_width": 0.35, "embedding_dim": 8, "embedding_grid": (2, 1), "top_k": 5,
    })  # fmt: skip
    manifest = Manifest(name="looks", input=InputSpec(size_hw=(64, 96)), embedding_dim=8, top_k=5)
    network = network_of(shape, manifest).eval()
    (tmp_path / "run").mkdir()
    average = {f"average.{k}": v for k, v in network.state_dict().items()}
    trained = network_of(shape, manifest)  # other weights: those of the last step
    last = tmp_path / "run" / "last.safetensors"
    save_checkpoint(last, trained, manifest, extra=average)
    fixed = AtBoxes(network, manifest)
    picture = np.random.default_rng(1).integers(-128, 128, (1, 3, 64, 96)).astype(np.int8)
    with torch.no_grad():
        wanted = fixed.select(torch.from_numpy(picture).float() / 128)["embeddings"].numpy()
    found = Looker(tmp_path / "run").embeddings(picture, fixed.boxes[0].numpy())
    assert found.shape == (1, 5, 8)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ConfigError, match="need boxes"):
        network.select(torch.zeros(1, 3, 64, 96))


def test_models_take_turns_and_weights_are_counted() -> None:
    path = resolve_model("toy")
    taken = study.latency({"a": path, "b": path}, 3)
    assert {name: len(values) for name, values in taken.items()} == {"a": 3, "b": 3}
    assert all(value > 0 for value in study.median_ms(taken).values())
    assert 100_000 < study.parameters(path) < path.stat().st_size / 4


def test_pictures_are_the_same_for_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    shared_plot({"synthetic": part(), "real": part()}, tmp_path / "a.svg")
    shared_plot({"synthetic": part(), "real": part()}, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert text.lstrip().startswith("<?xml")
    figure([("one", ["x"], {"k": [None]})], tmp_path / "c.svg")
    shared_plot({}, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
