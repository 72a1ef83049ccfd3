"""Two processes against one at the same batch: the same losses, step by step, and the same end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import Shapes

from edgemtl.data.scenery import SCENES, SHAPES
from edgemtl.models import shipped_checkpoint
from edgemtl.nn.checkpoint import read_checkpoint
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import TrainConfig

PROGRAM = Path(__file__).parents[1] / "noted_training.py"
DATA = f"""
classes = {list(SHAPES)}
image_classes = {list(SCENES)}
[[train]]
name = "world"
format = "synthetic"
seed = 1
clips = 3
frames_per_clip = 20
size_hw = [72, 108]
[[val]]
name = "other"
format = "synthetic"
seed = 2
clips = 1
frames_per_clip = 2
size_hw = [72, 108]
"""
RUN = """
name = "t"
data = "data.toml"
size_hw = [64, 96]
images = {images}
batch = {batch}
threads = 1
[network]
backbone_width = 0.35
neck_width = 16
embedding_dim = 8
embedding_hidden = 16
image_hidden = 16
[optimiser]
rate = 1e-3
batch_norm = "frozen"
[loss]
balance = "{balance}"
"""


def write_run(folder: Path, *, steps: int, balance: str = "fixed", batch: int = 4) -> Path:
    (folder / "data.toml").write_text(DATA, encoding="utf-8")
    text = RUN.format(images=steps * batch, batch=batch, balance=balance)
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return folder / "run.toml"


def launch(processes: int, *arguments: str) -> list[str]:
    """The command line of a program under ``processes`` processes."""
    if processes == 1:
        return [sys.executable, *arguments]
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), *arguments,
    ]  # fmt: skip


def run_program(
    processes: int, config: Path, out: Path, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """``edgemtl train`` by the program that notes; ``variables`` go into its environment."""
    known = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        launch(processes, str(PROGRAM), "train", str(config), "--out", str(out), *options),
        env={**os.environ, **known, "NOTES": f"{out}.json", **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


def train(processes: int, config: Path, out: Path, *options: str) -> list[dict[str, Any]]:
    """Train, and return what every process noted."""
    done = run_program(processes, config, out, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count(" pictures: ") == 1  # one process judges, and one speaks
    assert done.stdout.count("best checkpoint") == 1
    notes = [Path(f"{out}.json.{rank}") for rank in range(processes)]
    return [json.loads(note.read_text(encoding="utf-8")) for note in notes]


@pytest.mark.slow
@pytest.mark.parametrize(("balance", "steps"), [("fixed", 50), ("uncertainty", 8), ("upgrad", 8)])
def test_two_processes_train_as_one(tmp_path: Path, balance: str, steps: int) -> None:
    config = write_run(tmp_path, steps=steps, balance=balance)
    (alone,) = train(1, config, tmp_path / "one")
    first, second = train(2, config, tmp_path / "two")
    assert first == second  # to the last bit
    assert len(first["gradients"]) > 100
    assert first["gradients"] == pytest.approx(alone["gradients"], rel=1e-3, abs=1e-6)
    assert len(first["losses"]) == len(alone["losses"]) == steps
    for ours, theirs in zip(first["losses"], alone["losses"], strict=True):
        tasks = [name for name in theirs if name != "gradient"]
        assert sorted(ours) == sorted(theirs)
        assert [ours[t] for t in tasks] == pytest.approx([theirs[t] for t in tasks], rel=1e-4)
    whole, _ = read_checkpoint(tmp_path / "one" / "last.safetensors")
    shared, _ = read_checkpoint(tmp_path / "two" / "last.safetensors")
    assert set(whole) == set(shared)
    for part in ("network.", "average.", "extra."):
        ours, theirs = (_flat(tensors, part) for tensors in (shared, whole))
        # the optimiser takes full steps where a gradient is next to nothing: so not one by one
        assert float((ours - theirs).norm()) <= 2e-3 * float(theirs.norm()), part


def _flat(tensors: dict[str, torch.Tensor], prefix: str) -> torch.Tensor:
    found = [t.double().flatten() for k, t in tensors.items() if k.startswith(prefix)]
    return torch.cat([*found, torch.zeros(1, dtype=torch.float64)])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_in_the_midst_of_a_step_loses_nothing(tmp_path: Path, processes: int) -> None:
    config = write_run(tmp_path, steps=6, balance="uncertainty")
    run_program(processes, config, tmp_path / "whole")
    stopped = run_program(processes, config, tmp_path / "parts", INTERRUPT_AT="3")
    assert stopped.returncode != 0
    assert "stopping after this step" in stopped.stderr
    _, header = read_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert 3 <= int(header["edgemtl.step"]) < 6  # a launcher takes a moment to pass it on
    train(processes, config, tmp_path / "parts", "--resume")
    whole, _ = read_checkpoint(tmp_path / "whole" / "last.safetensors")
    parts, _ = read_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert set(whole) == set(parts)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert {name for name in whole if name.startswith("extra.")}


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(tmp_path: Path) -> None:
    config = write_run(tmp_path, steps=4)
    text = config.read_text(encoding="utf-8")
    shape = text[text.index("[network]") : text.index("[optimiser]")]
    start = '[start]\ncheckpoint = "toy"\nonly = ["classify"]\n'
    config.write_text(text.replace(shape, start), encoding="utf-8")
    found = []
    for processes in (1, 2):
        done = run_program(processes, config, tmp_path / str(processes))
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stderr.count("start: 'toy.safetensors'") == 1
        found.append(read_checkpoint(tmp_path / str(processes) / "last.safetensors")[0])
    old, _ = read_checkpoint(shipped_checkpoint("toy"))
    for tensors in found:
        moved = {k for k, v in old.items() if not torch.equal(v.to(tensors[k].dtype), tensors[k])}
        assert moved
        assert all(key.startswith("network.classify.") for key in moved)
    alone, both = (_flat(tensors, "network.classify.") for tensors in found)
    assert float((alone - both).norm()) <= 2e-3 * float(alone.norm())


@pytest.mark.slow
def test_a_process_that_fails_ends_all(tmp_path: Path) -> None:
    config = write_run(tmp_path, steps=6, batch=3)
    failed = run_program(2, config, tmp_path / "run")
    assert failed.returncode != 0
    assert "3 pictures cannot be dealt out evenly to 2 processes" in failed.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_shares_make_up_the_batch_of_one_process(mosaic: float) -> None:
    config = TrainConfig(
        name="t", data=Path("d"), size_hw=(64, 96), images=64, augment={"mosaic": mosaic}
    )
    data = Shapes()
    data.sequences = data.sequences if not mosaic else ()
    whole = BatchMaker([data], config).batch(3)[0]
    shares = [BatchMaker([data], config, (k, 4)).batch(3)[0] for k in range(4)]
    torch.testing.assert_close(torch.cat([s.images for s in shares]), whole.images)
    for name in ("labelled", "scenes", "boxes_net", "identities"):
        torch.testing.assert_close(torch.cat([getattr(s, name) for s in shares]),
                                   getattr(whole, name))  # fmt: skip
    frames = torch.cat([share.frame + 2 * k for k, share in enumerate(shares)])
    assert torch.equal(frames, whole.frame)


def test_a_process_without_a_picture_of_a_size_gets_a_blank_one() -> None:
    """Six pictures with boxes and two without at another size, for four processes."""
    faces = Shapes()
    faces.name, faces.tasks, faces.sequences = "faces", frozenset(("classify",)), ()
    config = TrainConfig(
        name="t", data=Path("d"), size_hw=(64, 96), images=64, sizes={"faces": (32, 64)},
        sampling={"classify": 0.25}, group=2,
    )  # fmt: skip
    boxes = Shapes()
    boxes.tasks = frozenset(("detect", "embed"))
    whole = BatchMaker([boxes, faces], config).batch(3)
    shares = [BatchMaker([boxes, faces], config, (k, 4)).batch(3) for k in range(4)]
    assert [len(b.images) for b in whole] == [6, 2]
    for size in (0, 1):
        parts = [share[size] for share in shares]
        real = [p for p in parts if bool(p.images.any())]
        torch.testing.assert_close(torch.cat([p.images for p in real]), whole[size].images)
        assert {p.objects for p in parts} == {whole[size].objects} == {size == 0}
        for blank in [p for p in parts if not bool(p.images.any())]:
            assert len(blank.images) == 1
            assert len(blank.frame) == 0
            assert not bool(blank.labelled.any() | blank.detect.any())
            assert blank.scenes.tolist() == [-1]
            assert blank.blank
        assert not any(p.blank for p in real)
    assert sum(not bool(share[1].images.any()) for share in shares) == 2
