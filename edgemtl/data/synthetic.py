"""A rendered world in which every box, identity and class is known.

Clips of coloured shapes that move on smooth paths, overlap, leave and come back, under four kinds
of light, before a camera that shakes. Any frame can be drawn without the ones before it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import DataSet, SequenceInfo, Task, Truth
from edgemtl.data.scenery import (
    PATTERNS,
    SCENES,
    SHAPES,
    Stamp,
    ground,
    light_table,
    paint,
    stamp,
    texture,
)
from edgemtl.records import I32, U8

MARGIN = 16
"""Pixels of background beyond the frame, for the shake."""
MIN_VISIBLE = 0.3
"""Of an object's area; below, it is an ignore region."""
MIN_TRACE = 0.05
"""Below this part nobody could say that something is there: no annotation."""
_IDS_PER_CLIP = 64
_KEPT_CLIPS = 24
_NOISE_SIDE = 64


@dataclass(frozen=True)
class _Thing:
    shape: int
    identity: int
    half: tuple[float, float]
    centre: tuple[float, float]
    swing: tuple[float, float]
    period: tuple[float, float]
    phase: tuple[float, float, float]
    spin: float
    pattern: U8
    kind: int

    def place(self, t: float, shake: NDArray[np.float64]) -> Stamp:
        """The object at ``t`` seconds."""
        x = self.centre[0] + self.swing[0] * np.sin(2 * np.pi * t / self.period[0] + self.phase[0])
        y = self.centre[1] + self.swing[1] * np.sin(2 * np.pi * t / self.period[1] + self.phase[1])
        grow = 1 + 0.15 * np.sin(2 * np.pi * t / 7.0 + self.phase[2])
        angle = self.spin * np.sin(2 * np.pi * t / 5.0 + self.phase[2])
        half = (self.half[0] * grow, self.half[1] * grow)
        return stamp(SHAPES[self.shape], (x + shake[0], y + shake[1]), half, angle)


@dataclass(frozen=True)
class _Clip:
    scene: int
    ground: U8
    light: U8
    noise: NDArray[np.int16]
    things: tuple[_Thing, ...]
    shake: NDArray[np.float64]


class SyntheticWorld(DataSet):
    """``clips`` sequences of ``frames_per_clip`` frames each; ``seed`` fixes them all.

    Truth: boxes of the whole shapes, clipped to the frame; identity; class; scene; and, with
    ``attributes``, the kind of each object's pattern. An object of which less than MIN_VISIBLE can
    be seen, behind others or outside the frame, is an ignore region; below MIN_TRACE it is not
    annotated.
    """

    def __init__(
        self,
        seed: int,
        clips: int,
        frames_per_clip: int,
        size_hw: tuple[int, int] = (270, 480),
        fps: float = 25.0,
        *,
        name: str = "synthetic",
        weight: float = 1.0,
        attributes: bool = False,
    ) -> None:
        if clips < 1 or frames_per_clip < 1:
            raise ValueError(f"clips, frames_per_clip: expected at least 1, got {clips}, "
                             f"{frames_per_clip}")  # fmt: skip
        self.name, self.weight = name, weight
        self.classes, self.image_classes = SHAPES, SCENES
        self.labelled = np.ones(len(SHAPES), bool)
        self.tasks: frozenset[Task] = frozenset(("detect", "classify", "embed"))
        self.identity_source = f"synthetic:{seed}"
        if attributes:
            self.attributes = {"pattern": PATTERNS}
            self.tasks |= {"attributes"}
        self.size_hw, self.fps = size_hw, fps
        self._seed, self._clips, self._length = seed, clips, frames_per_clip
        self.sequences = tuple(
            SequenceInfo(f"{name}-{c}", c * frames_per_clip, (c + 1) * frames_per_clip, fps)
            for c in range(clips)
        )
        self._made: OrderedDict[int, _Clip] = OrderedDict()

    def __len__(self) -> int:
        return self._clips * self._length

    def identities(self) -> set[int]:
        """All that the clips may show: nothing is drawn to find out."""
        return set(range(self._clips * _IDS_PER_CLIP))

    def file(self, index: int) -> str:
        return f"synthetic:{self._seed}/{index // self._length}#{index % self._length}"

    def image(self, index: int) -> U8:
        clip, places, shake = self._at(index)
        dx, dy = (round(float(v)) for v in shake)
        h, w = self.size_hw
        picture = clip.ground[MARGIN - dy : MARGIN - dy + h, MARGIN - dx : MARGIN - dx + w].copy()
        for thing, place in zip(clip.things, places, strict=True):
            paint(picture, place, thing.pattern)
        picture = cv2.LUT(picture, clip.light).astype(np.uint8, copy=False)
        ny, nx = (37 * index) % _NOISE_SIDE, (61 * index) % _NOISE_SIDE
        noise = clip.noise[ny : ny + h, nx : nx + w]
        lit: U8 = np.clip(picture + noise[..., None], 0, 255).astype(np.uint8)
        return lit

    def truth(self, index: int) -> Truth:
        clip, places, _ = self._at(index)
        visible = _visible(places, self.size_hw)
        h, w = self.size_hw
        keep = visible >= MIN_TRACE
        whole = np.array([p.box for p in places], np.float64).reshape(-1, 4)
        boxes = np.clip(whole, 0, [w, h, w, h]).astype(np.float32)
        return Truth(
            boxes[keep],
            np.array([t.shape for t in clip.things], np.int32)[keep],
            np.array([t.identity for t in clip.things], np.int64)[keep],
            (visible < MIN_VISIBLE)[keep],
            clip.scene,
            attributes=self._kinds(clip)[keep] if self.attributes else None,
        )

    @staticmethod
    def _kinds(clip: _Clip) -> I32:
        return np.array([[thing.kind] for thing in clip.things], np.int32)

    def _at(self, index: int) -> tuple[_Clip, list[Stamp], NDArray[np.float64]]:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        number, frame = divmod(index, self._length)
        clip = self._clip(number)
        t = frame / self.fps
        shake = np.round(_shake(clip.shake, t))
        return clip, [thing.place(t, shake) for thing in clip.things], shake

    def _clip(self, number: int) -> _Clip:
        found = self._made.get(number)
        if found is None:
            found = self._made[number] = self._make(number)
            while len(self._made) > _KEPT_CLIPS:
                self._made.popitem(last=False)
        return found

    def _make(self, number: int) -> _Clip:
        rng = np.random.default_rng((self._seed, number))
        scene = int(rng.integers(len(SCENES)))
        h, w = self.size_hw
        count = int(rng.integers(4, 9))
        things = [_thing(rng, number * _IDS_PER_CLIP + k, self.size_hw) for k in range(count)]
        things.sort(key=lambda thing: thing.half[1])  # the large ones are near
        strength = {"day": 3.0, "dusk": 5.0, "night": 9.0, "fog": 4.0}[SCENES[scene]]
        noise = rng.normal(0, strength, (h + _NOISE_SIDE, w + _NOISE_SIDE))
        return _Clip(
            scene,
            ground(SCENES[scene], (h + 2 * MARGIN, w + 2 * MARGIN), rng),
            light_table(SCENES[scene]),
            np.round(noise).astype(np.int16),
            tuple(things),
            rng.uniform(0, 2 * np.pi, 6),
        )


def _thing(rng: np.random.Generator, identity: int, size_hw: tuple[int, int]) -> _Thing:
    """Half of the objects stay inside, the others swing beyond the frame and come back."""
    h, w = size_hw
    unit = h / 270
    size = float(np.exp(rng.uniform(np.log(9), np.log(42)))) * unit
    aspect = float(np.exp(rng.uniform(-0.35, 0.35)))
    reach = 0.22 if rng.random() < 0.5 else float(rng.uniform(0.45, 0.7))
    period = rng.uniform(6, 14, 2)
    return _Thing(
        int(rng.integers(len(SHAPES))),
        identity,
        (size * aspect, size / aspect),
        (float(rng.uniform(0.2, 0.8) * w), float(rng.uniform(0.3, 0.8) * h)),
        (reach * w, float(rng.uniform(0.03, 0.2) * h)),
        (float(period[0]), float(period[1])),
        (*(float(v) for v in rng.uniform(0, 2 * np.pi, 3)),),  # type: ignore[arg-type]
        float(rng.uniform(0, 0.5)),
        *texture(rng),
    )


def _shake(phase: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """The camera's offset in pixels, at most MARGIN - 2 a side."""
    slow = 6 * np.sin(2 * np.pi * t / np.array([4.1, 5.3]) + phase[:2])
    fast = 1.5 * np.sin(2 * np.pi * t / np.array([0.53, 0.37]) + phase[2:4])
    offset: NDArray[np.float64] = slow + fast
    return offset


def _visible(places: list[Stamp], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """The part of each object's own pixels that is inside the frame and not painted over."""
    owner = np.zeros(size_hw, np.uint8)
    whole = np.ones(len(places))
    for k, place in enumerate(places, start=1):
        solid = place.mask > 127
        whole[k - 1] = max(1, int(np.count_nonzero(solid)))
        y1, x1 = max(0, place.top), max(0, place.left)
        y2 = min(size_hw[0], place.top + solid.shape[0])
        x2 = min(size_hw[1], place.left + solid.shape[1])
        if y1 < y2 and x1 < x2:
            part = solid[y1 - place.top : y2 - place.top, x1 - place.left : x2 - place.left]
            owner[y1:y2, x1:x2][part] = k
    seen = np.bincount(owner.ravel(), minlength=len(places) + 1)[1 : len(places) + 1]
    visible: NDArray[np.float64] = seen / whole
    return visible
