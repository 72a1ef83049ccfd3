"""What the studies share: trainings in processes of their own, timed and kept; latency; results.

Every study keeps its state under a --work folder: a training that is finished is not repeated, one
that was stopped goes on where it stopped. All of them use one thread, so that two can run side by
side and processor seconds mean the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.bench.host import conditions, host_facts
from edgemtl.engine.timing import take_turns
from edgemtl.files import write_text

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
STEPS = 12
"""Steps that :func:`step_times` counts."""
LOADS = 24
"""How often :func:`latency` loads the models."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
Json = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A finished training: its folder, what it took, and its judgements.

    ``wall_s`` and ``cpu_s`` are of the whole process, over all its parts; a judgement is
    ``{"step", "images", "time_s", "score", "scores"}``, ``time_s`` of the processor: the clock of
    the log says little on a busy machine.
    """

    folder: Path
    wall_s: float
    cpu_s: float
    judgements: list[Json]

    @property
    def best(self) -> Path:
        return self.folder / "run" / "best.safetensors"


def toml(values: Mapping[str, Any]) -> str:
    """A TOML document: plain keys first, then one table for each mapping."""
    plain = [f"{k} = {_value(v)}" for k, v in values.items() if not isinstance(v, Mapping)]
    for key, table in values.items():
        if isinstance(table, Mapping):
            plain += ["", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in table.items())]
    return "\n".join(plain) + "\n"


def _value(value: Any) -> str:
    # strings, numbers, booleans and lists of them are written alike in JSON and TOML
    return json.dumps(str(value) if isinstance(value, Path) else value)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """``base`` with ``changes``, tables merged key by key."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        result[key] = {**base[key], **value} if both else value
    return result


def train(
    folder: Path,
    config: Mapping[str, Any],
    data_root: Path | None,
    quantize: Path | None = None,
) -> Trained:
    """``edgemtl train`` with this config, in a process of its own; at once if it was done before.

    ``quantize``: go on from this checkpoint, with INT8's rounding.
    Raises SystemExit if the folder holds a training with another config, or if the process fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text, file = toml({"threads": 1, **config}), folder / "config.toml"
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{folder}: holds a training with another config; remove it first")
    file.write_text(text, encoding="utf-8")
    run = folder / "run"
    command = [sys.executable, "-m", "edgemtl", "train", str(file), "--out", str(run)]
    command += [] if data_root is None else ["--data-root", str(data_root)]
    command += [] if quantize is None else ["--quantize", str(quantize)]
    if not (folder / "done").exists():
        resume = ["--resume"] if (run / "last.safetensors").exists() else []
        timed(command + resume, folder)
        (folder / "done").touch()
    return trained(folder)


def trained(folder: Path) -> Trained:
    """What :func:`train` left in ``folder``."""
    from edgemtl.train.runlog import read_rows

    parts = json.loads((folder / "times.json").read_text(encoding="utf-8"))
    wall, cpu = (round(sum(part[key] for part in parts), 1) for key in ("wall_s", "cpu_s"))
    rows = [row for row in read_rows(folder / "run") if "score" in row]
    each = cpu / rows[-1]["images"] if rows else 0.0
    timely = [{**row, "time_s": round(each * row["images"], 1)} for row in rows]
    return Trained(folder, wall, cpu, timely)


def timed(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end; its seconds are added to ``times.json``, its words to ``log``.

    Raises SystemExit, with the end of the log, if it fails.
    """
    record = folder / "times.json"
    parts = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    environ = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), **(env or {})}
    started = time.monotonic()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environ)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:  # the training got it, too, and saves itself
            _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = round(usage.ru_utime + usage.ru_stime, 1)
    parts.append({"wall_s": round(time.monotonic() - started, 1), "cpu_s": cpu})
    write_text(record, json.dumps(parts))
    if process.returncode:
        last = (folder / "log").read_text(encoding="utf-8", errors="replace")[-1500:]
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{last}")


def once(path: Path, make: Callable[[], Json]) -> Json:
    """The JSON object at ``path``; made and written if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(make(), indent=1) + "\n")
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def step_times(
    folder: Path, configs: Mapping[str, Mapping[str, Any]], root: Path | None, rounds: int
) -> dict[str, float]:
    """Milliseconds of processor time of one step on one thread, data apart, by configuration.

    Forward, losses, gradients, update. All take turns in this process on the same pictures, those
    of the first configuration; so the figure is of this machine, whatever trained the networks.
    """
    import torch

    from edgemtl.data.config import load_data
    from edgemtl.nn.network import network_of
    from edgemtl.train.balance import make_balance
    from edgemtl.train.batches import BatchMaker
    from edgemtl.train.config import load_train_config
    from edgemtl.train.losses import compute_losses
    from edgemtl.train.manifest import build_manifest
    from edgemtl.train.optimiser import make_optimiser

    torch.set_num_threads(1)
    runs, maker = {}, None
    for name, config in configs.items():
        file = folder / f"step-{name}.toml"
        file.write_text(toml(config), encoding="utf-8")
        wanted = load_train_config(file)
        mix = load_data(wanted.data, "train", root)
        network = network_of(wanted.network, build_manifest(wanted, mix)).train()
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        balance = make_balance(wanted.loss, network)
        optimiser = make_optimiser(network, balance.parameters(), wanted.optimiser)
        runs[name] = wanted, network, balance, optimiser
        maker = maker or BatchMaker(mix.sets, wanted)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    assert maker is not None
    for number in range(rounds + 2):
        (batch,) = maker.batch(number)  # one input size
        for name, (wanted, network, balance, optimiser) in runs.items():
            started = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=wanted.optimiser.amp == "bf16"):
                outputs = network(batch.images)
            losses = compute_losses(network, outputs, batch, wanted.loss)
            optimiser.zero_grad(set_to_none=True)
            balance.backward(losses)
            optimiser.step()
            if number >= 2:
                taken[name].append(1e3 * (time.process_time() - started))
    return {name: round(statistics.median(ms), 1) for name, ms in taken.items()}


def at_cost(judgements: Sequence[Json], step_ms: float) -> list[Json]:
    """The same with ``time_s`` as its steps take here, at ``step_ms`` each."""
    return [{**row, "time_s": round(row["step"] * step_ms / 1e3, 1)} for row in judgements]


def seconds_to(judgements: Sequence[Json], score: str, quality: float) -> float | None:
    """Processor seconds until ``score`` was first as good as ``quality``; None if it never was.

    Between two judgements the score is taken to grow evenly; before the first, from zero.
    """
    before, at = 0.0, 0.0
    for row in judgements:
        now = row["scores"].get(score)
        if now is None:
            continue
        if now >= quality:
            part = (quality - before) / (now - before) if now > before else 1.0
            return round(at + max(part, 0.0) * (row["time_s"] - at), 1)
        before, at = now, row["time_s"]
    return None


def latency(models: Mapping[str, Path], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time per picture, by model and round: ONNX Runtime, one thread.

    The models take turns, so that all see the same machine, and are loaded anew again and again:
    where its memory lies makes the very same network some percent faster or slower.
    """
    taken: dict[str, list[float]] = {name: [] for name in models}
    loads = min(LOADS, rounds)
    for _ in range(loads):
        runs = {name: _runner(path) for name, path in models.items()}
        # with one thread the network runs on the caller's
        for name, ms in take_turns(runs, math.ceil(rounds / loads), time.thread_time).items():
            taken[name] += ms
    return taken


def _runner(path: Path) -> Callable[[], object]:
    """One picture of noise through a network."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    entry = session.get_inputs()[0]
    return partial(session.run, None, {entry.name: _picture(entry)})


def _picture(given: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    low = -128 if given.type == "tensor(int8)" else 0
    levels = rng.integers(low, low + 256, shape)
    if given.type == "tensor(float)":
        return (levels / 255).astype(np.float32)
    return levels.astype(np.int8 if low else np.uint8)


def median_ms(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def parameters(model: Path) -> int:
    """Weights that the deployed graph holds."""
    import onnx

    graph = onnx.load(model).graph
    return sum(int(np.prod(t.dims)) for t in graph.initializer if t.data_type in (1, 2, 3, 10))


def arguments(text: str | None, default: str) -> argparse.ArgumentParser:
    """The options that all studies have."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of trainings, kept")
    parser.add_argument("--quick", action="store_true", help="tiny trainings: does it run at all?")
    parser.add_argument("--out", type=Path, default=RESULTS / default)
    return parser


def finish(out: Path, result: Json, missed: Sequence[str]) -> int:
    """Write the result with the host's facts and say what was missed; the exit status."""
    whole = {"host": host_facts(), "conditions": conditions(), **result, "missed": list(missed)}
    write_text(out, json.dumps(whole, indent=1) + "\n")
    print(*(missed or ["every target met"]), sep="\n")
    return 1 if missed else 0
