"""The training loop: draw, forward, losses, step, average; judge now and then; keep the best."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgemtl import __version__
from edgemtl.data.config import DataMix, load_data
from edgemtl.errors import ConfigError, OutputError
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.nn.checkpoint import save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork, network_of
from edgemtl.nn.session import TorchSession
from edgemtl.progress import track
from edgemtl.train.average import WeightAverage
from edgemtl.train.balance import make_balance
from edgemtl.train.batches import Batch, BatchMaker, prefetch
from edgemtl.train.config import OptimiserConfig, TrainConfig
from edgemtl.train.curves import draw_curves
from edgemtl.train.judge import judge
from edgemtl.train.losses import compute_losses
from edgemtl.train.runlog import RunLog
from edgemtl.train.sheet import draw_predictions
from edgemtl.train.state import (
    BEST_KEY,
    CONFIG_KEY,
    LOG_KEY,
    STEP_KEY,
    load_state,
    save_state,
)
from edgemtl.train.summary import stops

_FINAL_RATE = 0.01


def run_training(
    config: TrainConfig, *, out: Path, resume: bool = False, data_root: Path | None = None
) -> Path:
    """Train and return the best checkpoint, ``out/best.safetensors``.

    ``out`` also gets ``last.safetensors`` (everything needed to go on), the log (see
    :mod:`edgemtl.train.runlog`), ``curves.png`` and ``predictions.png``. Ctrl-C saves
    ``last.safetensors`` and raises KeyboardInterrupt. Raises ConfigError, DataError and OutputError
    before the first step where that is possible.
    """
    if (out / "last.safetensors").exists() and not resume:
        raise OutputError(
            f"out: '{out}' holds a run already", "go on with --resume, or name another folder"
        )
    if resume and not (out / "last.safetensors").exists():
        raise ConfigError(f"resume: no '{out / 'last.safetensors'}'", "start without --resume")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"out: cannot make '{out}': {error.strerror}") from error
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    mix = load_data(config.data, "train", data_root)
    check = load_data(config.data, "val", data_root)
    for problem in (*mix.problems, *check.problems):
        print(f"data: {problem}", file=sys.stderr)
    run = _Run(config, mix, out)
    if resume:
        run.restore()
    else:
        run.log.begin()
    run.train(check)
    return out / "best.safetensors"


def build_manifest(config: TrainConfig, mix: DataMix) -> Manifest:
    """The contract of the network to be: only tasks that some data set labels."""
    tasks = {task for data in mix.sets for task in data.tasks}
    width = config.network.embedding_dim if "embed" in tasks else None
    return Manifest(
        name=config.name,
        input=InputSpec(size_hw=config.size_hw),
        classes=mix.classes,
        image_classes=mix.image_classes if "classify" in tasks else (),
        embedding_dim=width,
        top_k=config.network.top_k,
        min_score=config.min_score,
        data=config.sources,
        weights_licence=config.weights_licence,
        edgemtl_version=__version__,
    )


def rate_at(step: int, steps: int, config: OptimiserConfig) -> float:
    """Learning rate, as a part of the full one: linear warm-up, then a cosine."""
    warmup = max(1, int(config.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def make_optimiser(
    network: MultiTaskNetwork, extra: list[nn.Parameter], config: OptimiserConfig
) -> torch.optim.Optimizer:
    """AdamW; the backbone learns slower, and vectors (biases, norms) are not decayed."""
    backbone = {id(p) for p in network.backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups[id(parameter) in backbone, parameter.ndim > 1].append(parameter)
    if extra:
        groups[False, False] += extra
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "rate": config.rate * (config.backbone_rate if slow else 1.0),
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (slow, decayed), parameters in groups.items()
        ],
        lr=config.rate,
    )


class _Run:
    def __init__(self, config: TrainConfig, mix: DataMix, out: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.out = config, out
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.manifest = build_manifest(config, mix)
        width = self.manifest.embedding_dim
        shape = config.network.model_copy(update={"embedding_dim": width})
        network: Any = network_of(shape, self.manifest)
        self.network: MultiTaskNetwork = network.to(self.device, memory_format=torch.channels_last)
        self.average = WeightAverage(self.network, config.optimiser.average)
        self.balance = make_balance(config.loss, self.network)
        extra = self.balance.parameters()
        self.optimiser = make_optimiser(self.network, extra, config.optimiser)
        self.maker = BatchMaker(mix.sets, config)
        self.steps = max(1, config.images // config.batch)
        self.step, self.best = 0, -1.0
        self.log = RunLog(
            out, config.batch, losses=self.manifest.tasks, tensorboard=config.tensorboard
        )

    def restore(self) -> None:
        header = load_state(
            self.out / "last.safetensors", self.network, self.average.network, self.optimiser
        )
        self.step, self.best = int(header[STEP_KEY]), float(header[BEST_KEY])
        self.log.begin(self.step, header.get(LOG_KEY))

    def train(self, check: DataMix) -> None:
        batches = prefetch(self.maker, self.step, self.steps)
        shown = track(batches, "train", self.steps - self.step, self.log.shown)
        try:
            if self._judgement_due():  # stopped in the midst of it
                self._judge(check)
            if stops(self.log, self.step, self.config.validate_.patience):
                return
            self.network.train()
            self.log.run_clock()
            for batch in shown:
                self._step(batch.to(self.device))
                if self._judgement_due():
                    self._judge(check)
                    if stops(self.log, self.step, self.config.validate_.patience):
                        break
        except KeyboardInterrupt:
            self.save()
            raise
        finally:
            shown.close()  # type: ignore[attr-defined]
            batches.close()  # type: ignore[attr-defined]
            self.log.close()

    def _judgement_due(self) -> bool:
        every = max(1, self.config.validate_.every // self.config.batch)
        now = self.step > 0 and (self.step % every == 0 or self.step == self.steps)
        return now and not any(row["step"] == self.step for row in self.log.judgements())

    def _step(self, batch: Batch) -> None:
        rate = self._set_rate()
        # dropout of step n depends on n alone, so that a resumed run goes on as if never stopped
        torch.manual_seed(self.config.seed + 1_000_003 * (self.step + 1))
        with self._autocast():
            outputs = self.network(batch.images)
        losses = compute_losses(self.network, outputs, batch, self.config.loss)
        self.optimiser.zero_grad(set_to_none=True)
        self.balance.backward(losses)
        clip = self.config.optimiser.clip_norm
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.step += 1
        if bool(torch.isfinite(norm)):  # one bad batch must not end a night's run
            self.optimiser.step()
            self.average.update(self.step)
        values = {name: float(value.detach()) for name, value in losses.items()}
        self.log.note(self.step, rate, float(norm), values, self.balance.weights())

    def _set_rate(self) -> float:
        factor = rate_at(self.step, self.steps, self.config.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * factor
        return self.config.optimiser.rate * factor

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.optimiser.amp == "off":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _judge(self, check: DataMix) -> None:
        self.log.stop_clock()
        verdict = judge(self.average.network, self.manifest, check, self.config.validate_.limit)
        parts = ", ".join(f"{k} {v:.3f}" for k, v in verdict.parts.items())
        seen = self.step * self.config.batch
        print(f"after {seen} pictures: {verdict.score:.4f} ({parts})", file=sys.stderr, flush=True)
        if verdict.score > self.best:
            save_checkpoint(self.out / "best.safetensors", self.average.network, self.manifest)
            self.best = verdict.score
        self.log.add(self.step, {"score": verdict.score, "scores": verdict.parts})
        self.save()
        draw_curves(self.out / "curves.png", self.config.name, self.log.rows)
        session = TorchSession(self.average.network, self.manifest)
        draw_predictions(self.out / "predictions.png", lambda _: session, check.sets)
        self.network.train()
        self.log.run_clock()

    def save(self) -> None:
        header = {
            STEP_KEY: str(self.step),
            BEST_KEY: repr(self.best),
            LOG_KEY: self.log.state(),
            CONFIG_KEY: self.config.model_dump_json(by_alias=True),
        }
        save_state(
            self.out / "last.safetensors",
            self.network,
            self.average.network,
            self.optimiser,
            self.manifest,
            header,
        )
