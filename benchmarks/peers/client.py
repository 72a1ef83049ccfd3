"""From our side: hand streams of detections to trackers in their own environments."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from peers.adapters import DISTRIBUTIONS
from peers.install import native_libraries

HERE = Path(__file__).resolve().parent
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
              "NUMBA_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "RAYON_NUM_THREADS")  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """Detections of F frames, one after another: N boxes in all, ``counts`` [F] of each frame."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    size_hw: tuple[int, int]
    fps: float

    def only(self, kept: npt.NDArray[np.bool_]) -> Stream:
        """The frames that ``kept`` [F] marks, at their own times."""
        rows = np.repeat(kept, self.counts)
        return Stream(
            self.boxes[rows], self.scores[rows], self.labels[rows],
            self.counts[kept], self.times_s[kept], self.size_hw, self.fps,
        )  # fmt: skip


@dataclass(frozen=True)
class Followed:
    """What a tracker made of a stream; fewer frames than it had if the budget ran out."""

    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]

    def frames(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        """Ids [T] and boxes [T, 4] by frame."""
        ends = np.cumsum(self.counts)
        return [
            (self.ids[end - n : end], self.boxes[end - n : end])
            for end, n in zip(ends, self.counts, strict=True)
        ]


class PeerError(RuntimeError):
    """A peer raised, or its process died."""


class Worker:
    """One process of one environment, one thread; any tracker of its distribution."""

    def __init__(self, python: Path | str, libraries: str = "") -> None:
        environ = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "YOLO_OFFLINE": "1"}
        # a kernel forced on OpenBLAS would slow the peers' numpy
        for key in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environ.pop(key, None)
        if libraries:
            environ["LD_LIBRARY_PATH"] = libraries
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name, "log")
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(python), "-W", "ignore", str(HERE / "worker.py")], env=environ, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def run(
        self, peer: str, stream: Stream, budget_s: float | None = None, least: int = 0
    ) -> Followed:
        """``stream`` through a fresh tracker. Raises :class:`PeerError`.

        It ends early when the updates took ``budget_s``, but not before ``least`` frames.
        """
        source, out = (Path(self._folder.name, name) for name in ("in.npz", "out.npz"))
        np.savez(
            source, boxes=stream.boxes, scores=stream.scores, labels=stream.labels,
            counts=stream.counts, times_s=stream.times_s, size_hw=stream.size_hw, fps=stream.fps,
        )  # fmt: skip
        job = {
            "peer": peer,
            "stream": str(source),
            "out": str(out),
            "budget_s": budget_s,
            "least": least,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if "frames" not in answer:
            last = self._log.read_text(encoding="utf-8", errors="replace")[-400:]
            raise PeerError(answer.get("error") or last or "process ended")
        with np.load(out) as made:
            return Followed(made["ids"], made["boxes"], made["counts"], made["seconds"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._folder.cleanup()


def known(env: Path) -> dict[str, dict[str, Any]]:
    """What ``install.py`` wrote into ``env``; empty where it has not run."""
    path = env / "peers.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def worker_for(env: Path, distribution: str) -> Worker:
    """A process of the environment of one distribution (``boxmot-cpp`` lives in ``boxmot``)."""
    python = env / distribution.removesuffix("-cpp") / "bin" / "python"
    return Worker(python, native_libraries(env))


def installed(env: Path) -> dict[str, list[str]]:
    """Trackers by distribution, of those that are installed."""
    versions = known(env)
    return {
        name: trackers
        for name, trackers in DISTRIBUTIONS.items()
        if "version" in versions.get(name, {})
    }
