"""A data set and a session that need no files: every picture's grey level is its index."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from edgemtl.data.base import UNKNOWN, DataSet, SequenceInfo, Truth
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.records import NetOutputs

SIZE_HW = (64, 96)
TOP_K = 6
CLASSES = ("person", "car", "bus")
IMAGE_CLASSES = ("person", "car", "none")


def truth_of(boxes, labels=None, ids=None, ignore=None, scene=UNKNOWN):
    """A Truth from plain lists; labels 0, identities 1, 2, ... unless said otherwise."""
    n = len(boxes)
    return Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([0] * n if labels is None else labels, np.int32),
        np.array(range(1, n + 1) if ids is None else ids, np.int64),
        np.array([False] * n if ignore is None else ignore, np.bool_),
        scene,
    )


class FakeSet(DataSet):
    """Truths in memory; ``base`` is the grey level of the first picture."""

    def __init__(self, truths, base=0, labelled=(True, True, True), fps=None, **attributes):
        self.name = attributes.get("name", "fake")
        self.classes = attributes.get("classes", CLASSES)
        self.image_classes = attributes.get("image_classes", IMAGE_CLASSES)
        self.labelled = np.array(labelled)
        self.tasks = frozenset(attributes.get("tasks", ("detect", "classify", "embed")))
        self.base, self.truths = base, truths
        self.sequences = attributes.get(
            "sequences", () if fps is None else (SequenceInfo(self.name, 0, len(truths), fps),)
        )

    def __len__(self):
        return len(self.truths)

    def image(self, index):
        return np.full((*SIZE_HW, 3), self.base + index, np.uint8)

    def truth(self, index):
        return self.truths[index]

    def file(self, index):
        return f"{self.name}#{index}"


@dataclass
class FakeMix:
    sets: tuple
    classes: tuple = CLASSES
    image_classes: tuple = IMAGE_CLASSES
    problems: tuple = ()
    attributes: dict = field(default_factory=dict)


@dataclass
class FakeSession:
    """Answers by the grey level of the input: ``answers[level]`` is (boxes, scores, labels, ...).

    An answer is a dict of boxes, scores, labels, embeddings and probs; what is missing is zero.
    """

    answers: dict
    classes: tuple = CLASSES
    image_classes: tuple = IMAGE_CLASSES
    embedding_dim: int | None = 2
    batch: int = 1
    backend: str = "fake"
    seen: list = field(default_factory=list)

    def __post_init__(self):
        self.manifest = Manifest(
            name="fake",
            input=InputSpec(size_hw=SIZE_HW),
            classes=self.classes,
            image_classes=self.image_classes,
            embedding_dim=self.embedding_dim,
            top_k=TOP_K,
        )
        self._buffer = np.zeros((self.batch, 3, *SIZE_HW), np.int8)

    def acquire(self):
        return 0

    def input(self, slot):
        return self._buffer

    def submit(self, slot, n_valid):
        return n_valid

    def collect(self, ticket):
        return self.infer(self._buffer[:ticket])

    def infer(self, images):
        levels = [int(image.astype(int).mean()) + 128 for image in images]
        self.seen += levels
        n, dim = len(levels), self.embedding_dim
        boxes = np.zeros((n, TOP_K, 4), np.float32)
        scores = np.zeros((n, TOP_K), np.float32)
        labels = np.zeros((n, TOP_K), np.int32)
        emb = None if dim is None else np.zeros((n, TOP_K, dim), np.float32)
        probs = np.zeros((n, len(self.image_classes)), np.float32) if self.image_classes else None
        for i, level in enumerate(levels):
            answer = self.answers.get(level, {})
            count = len(answer.get("boxes", ()))
            if count:
                boxes[i, :count] = answer["boxes"]
                scores[i, :count] = answer.get("scores", [0.9] * count)
                labels[i, :count] = answer.get("labels", [0] * count)
                if emb is not None and "embeddings" in answer:
                    emb[i, :count] = answer["embeddings"]
            if probs is not None and "probs" in answer:
                probs[i] = answer["probs"]
        return NetOutputs(boxes, scores, labels, emb, probs)

    def close(self):
        pass


@pytest.fixture
def fakes():
    """The module's makers, as one name space."""

    class Fakes:
        truth = staticmethod(truth_of)
        data = FakeSet
        mix = FakeMix
        session = FakeSession

    return Fakes
