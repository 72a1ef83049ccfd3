"""The training loop: draw, forward, losses, step, average; judge now and then; keep the best."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgemtl.data.config import DataMix, load_data
from edgemtl.nn.checkpoint import save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.progress import track
from edgemtl.train.average import WeightAverage
from edgemtl.train.balance import make_balance
from edgemtl.train.batches import Batch, BatchMaker
from edgemtl.train.before import refuse_bad_data
from edgemtl.train.config import TrainConfig
from edgemtl.train.curves import draw_curves
from edgemtl.train.distributed import (
    anywhere,
    check_alike,
    device,
    from_first,
    is_first,
    joined,
    share_of,
    share_statistics,
    spread,
)
from edgemtl.train.draw import check_sizes
from edgemtl.train.interrupt import Interrupts
from edgemtl.train.judge import judge, require_judgement, sessions
from edgemtl.train.losses import Parts, combine, measure
from edgemtl.train.manifest import build_manifest
from edgemtl.train.norms import norms_of, norms_still, too_small
from edgemtl.train.optimiser import make_optimiser, make_scaler, rate_at
from edgemtl.train.origin import Origin, begun
from edgemtl.train.prefetch import prefetch
from edgemtl.train.runlog import RunLog
from edgemtl.train.sheet import draw_predictions
from edgemtl.train.start import Start, begin, rounded
from edgemtl.train.state import (
    BEST_KEY,
    LOG_KEY,
    SCALER_KEY,
    STEP_KEY,
    config_header,
    load_state,
    prepare_folder,
    save_state,
    without_paths,
)
from edgemtl.train.summary import stops
from edgemtl.train.teach import teach


def run_training(
    config: TrainConfig,
    *,
    out: Path,
    resume: bool = False,
    data_root: Path | None = None,
    workers: int = 0,
    start: Start | None = None,
) -> Path:
    """Train and return the best checkpoint, ``out/best.safetensors``.

    ``workers``: processes that make the batches, 0: a thread; the batches are the same. ``start``:
    begin with its network, and round as it says; otherwise with the config's, and in float.

    ``out`` also gets ``last.safetensors`` (everything needed to go on), the log (see
    :mod:`edgemtl.train.runlog`), ``curves.png`` and ``predictions.png``, and before the first step
    what the checks of the data found (see :mod:`edgemtl.train.before`). Ctrl-C saves
    ``last.safetensors`` and raises KeyboardInterrupt. Under ``torchrun`` this is one of several
    processes, of which only the first one writes and judges. Raises ConfigError, DataError and
    OutputError before the first step where that is possible.
    """
    with joined():
        share_of(config.batch)
        if is_first():
            prepare_folder(out, resume)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        mix = teach(load_data(config.data, "train", data_root), config.teachers)
        check = load_data(config.data, "val", data_root) if is_first() else None
        for problem in (*mix.problems, *check.problems) if check is not None else ():
            print(f"data: {problem}", file=sys.stderr)
        config, origin = begun(config)
        check_alike("config", without_paths(config))
        check_alike("data", [(data.name, len(data)) for data in mix.sets])
        from_first(lambda: check_sizes(config, mix, check))
        from_first(lambda: refuse_bad_data(config, mix, check, out))
        run = _Run(config, mix, out, workers, start, origin)
        from_first(lambda: require_judgement(run.manifest, check))
        if resume:
            run.restore()
        else:
            run.log.begin()
        run.train(check)
    return out / "best.safetensors"


class _Run:
    def __init__(
        self, config: TrainConfig, mix: DataMix, out: Path, workers: int,
        start: Start | None, origin: Origin | None = None,
    ) -> None:  # fmt: skip
        torch.manual_seed(config.seed)
        self.config, self.out, self.workers = config, out, workers
        self.start, self.begun = start, start is not None or origin is not None
        self.device = device()
        self.scaler = make_scaler(config.optimiser, self.device)
        self.manifest = build_manifest(config, mix, origin)
        network, self.still = begin(config, self.manifest, start, origin)
        self.network: MultiTaskNetwork = network.to(self.device, memory_format=torch.channels_last)
        spread(self.network)
        self.average = WeightAverage(self.network, config.optimiser.average)
        self.balance = make_balance(config.loss, self.network)
        extra = self.balance.parameters()
        self.optimiser = make_optimiser(self.network, extra, config.optimiser)
        self.maker = BatchMaker(mix.sets, config, share_of(config.batch))
        self.steps = max(1, config.images // config.batch)
        self.step, self.best = 0, -1.0
        self.log = RunLog(
            out if is_first() else None,
            config.batch,
            losses=self.manifest.tasks,
            tensorboard=config.tensorboard and is_first(),
        )
        self.interrupts = Interrupts()

    def restore(self) -> None:
        last = self.out / "last.safetensors"
        header = load_state(last, self.network, self.average.network, self.optimiser, self.config)
        self.step, self.best = int(header[STEP_KEY]), float(header[BEST_KEY])
        if self.scaler.is_enabled() and SCALER_KEY in header:
            self.scaler.load_state_dict(json.loads(header[SCALER_KEY]))
        self.log.begin(self.step, header.get(LOG_KEY))

    def train(self, check: DataMix | None) -> None:
        """``check``: what to judge on, in the first process; None in others."""
        batches = shown = prefetch(self.maker, self.step, self.steps, self.workers)
        if is_first():
            shown = track(batches, "train", self.steps - self.step, self.log.shown)
        with self.interrupts:
            try:
                self._judge_if_due(check)  # stopped in the midst of it
                if self._stops():
                    return
                self._train_mode()
                self.log.run_clock()
                for step in shown:
                    self._step([batch.to(self.device) for batch in step])
                    if self._judge_if_due(check) and self._stops():
                        break
            except KeyboardInterrupt:
                if not self.interrupts.forced:
                    self.save()
                raise
            finally:
                shown.close()
                batches.close()
                self.log.close()

    def _judge_if_due(self, check: DataMix | None) -> bool:
        """Whether it was; raises KeyboardInterrupt, in all processes, where one was asked to."""
        every = max(1, self.config.validate_.every // self.config.batch)
        asked = self.step > 0 or self.begun
        due = asked and (self.step % every == 0 or self.step == self.steps)
        due = due and from_first(
            lambda: all(row["step"] != self.step for row in self.log.judgements())
        )
        if due:
            self.log.stop_clock()
            from_first(lambda: self._judge(check))
            self._train_mode()
            self.log.run_clock()
        if anywhere(self.interrupts.asked):
            raise KeyboardInterrupt
        return due

    def _stops(self) -> bool:
        return from_first(lambda: stops(self.log, self.step, self.config.validate_.patience))

    def _train_mode(self) -> None:
        self.network.train()
        for part in self.still:
            part.eval()
        if self.config.optimiser.batch_norm == "frozen":
            for norm in norms_of(self.network):
                norm.eval()

    def _step(self, batches: Sequence[Batch]) -> None:
        rate = self._set_rate()
        # dropout of step n depends on n alone, so that a resumed run goes on as if never stopped
        torch.manual_seed(self.config.seed + 1_000_003 * (self.step + 1))
        losses = combine([self._measure(batch) for batch in batches])
        self.optimiser.zero_grad(set_to_none=True)
        self.balance.backward(losses, self.scaler.scale)
        self.scaler.unscale_(self.optimiser)
        clip = self.config.optimiser.clip_norm
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.step += 1
        if bool(torch.isfinite(norm)):  # one bad batch must not end a night's run
            self.scaler.step(self.optimiser)
            share_statistics(self.network, sum(len(b.images) for b in batches if not b.blank))
            self.average.update(self.step)
        self.scaler.update()
        values = {name: float(value.detach()) for name, value in losses.items()}
        self.log.note(self.step, rate, float(norm), values, self.balance.weights())

    def _measure(self, batch: Batch) -> dict[str, Parts]:
        objects = batch.objects and any(head.of_objects for head in self.network.learning)
        batch, still = replace(batch, objects=objects), batch.blank or too_small(batch.images)
        with (
            self._autocast(),
            rounded(self.start, self.network, self.step),
            norms_still(self.network, still),
        ):
            outputs = self.network(batch.images, objects=objects)
        return measure(self.network, outputs, batch, self.config.loss)

    def _set_rate(self) -> float:
        factor = rate_at(self.step, self.steps, self.config.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * factor
        return self.config.optimiser.rate * factor

    def _autocast(self) -> AbstractContextManager[Any]:
        amp = self.config.optimiser.amp
        if amp == "off":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if amp == "bf16" else torch.float16)

    def _judge(self, check: DataMix | None) -> None:
        assert check is not None
        self.save()  # whatever comes of it, the training is kept
        try:
            with self.interrupts.raised(), rounded(self.start, self.average.network):
                limit, sizes = self.config.validate_.limit, self.config.sizes
                verdict = judge(self.average.network, self.manifest, check, limit, sizes)
        except KeyboardInterrupt:
            self.interrupts.asked = True  # the others must hear of it, too
            return
        parts = ", ".join(f"{k} {v:.3f}" for k, v in verdict.parts.items())
        seen = self.step * self.config.batch
        print(f"after {seen} pictures: {verdict.score:.4f} ({parts})", file=sys.stderr, flush=True)
        if verdict.score > self.best:
            save_checkpoint(self.out / "best.safetensors", self.average.network, self.manifest)
            self.best = verdict.score
        self.log.add(self.step, {"score": verdict.score, "scores": verdict.parts})
        self.save()
        draw_curves(self.out / "curves.png", self.config.name, self.log.rows)
        session_of = sessions(self.average.network, self.manifest, sizes)
        draw_predictions(self.out / "predictions.png", session_of, check.sets)

    def save(self) -> None:
        if not is_first():
            return
        header = {
            STEP_KEY: str(self.step),
            BEST_KEY: repr(self.best),
            LOG_KEY: self.log.state(),
            SCALER_KEY: json.dumps(self.scaler.state_dict()),
            **config_header(self.config),
        }
        last, average = self.out / "last.safetensors", self.average.network
        save_state(last, self.network, average, self.optimiser, self.manifest, header)
