"""What the model says of a few pictures of every validation set, beside what is true.

The same pictures at every judgement. Colours say what became of a box: found or missed on the
left, right or wrong on the right; grey is what the data set does not judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgemtl import drawing as d
from edgemtl.data.base import UNKNOWN, DataSet, Truth
from edgemtl.engine.session import Session
from edgemtl.errors import OutputError
from edgemtl.evaluate.predictions import Prediction, predict
from edgemtl.files import atomic_path
from edgemtl.metrics.boxes import areas, intersections
from edgemtl.records import F32, I32, U8, Detections

_PAIRS, _SMALL = 4, 10  # pictures of a set with boxes, of one with image classes alone
_COLUMNS, _SIDE_PX, _SMALL_PX = 2, 400, 156
_IOU = 0.5
Mask = NDArray[np.bool_]


def draw_predictions(
    path: Path, session_of: Callable[[DataSet], Session], sets: Sequence[DataSet]
) -> None:
    """Write the sheet as a picture; ``session_of`` runs the model at a data set's input size."""
    parts = []
    for data in sets:
        session = session_of(data)
        said = set(session.manifest.tasks)
        # a model of embeddings alone says nothing that could be drawn, nor may it run without boxes
        if len(data) and said & set(data.tasks) and said != {"embed"}:
            parts += _part(session, data)
    if parts:
        write_picture(path, d.below(parts, 8))


def write_picture(path: Path, picture: U8) -> None:
    """Write u8 [H, W, 3] BGR in the format of the suffix, whole or not at all."""
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), picture):
            raise OutputError(f"cannot write '{path}'", "is there room on the disk?")


def judge_boxes(truth: Truth, found: Detections, labelled: Mask) -> tuple[Mask, Mask, Mask]:
    """What became of the boxes: (true ones that were found, bool [N]; of the detections, bool [M]
    each: right ones, and ones that the data do not judge).

    By score, a detection takes the free true box of its class with the largest IoU, at least 0.5.
    Not judged: classes that the set does not label (``labelled`` bool [C]), and what lies by half
    in an ignore region.
    """
    claimed = truth.ignore.copy()
    right, free = np.zeros(len(found), np.bool_), ~labelled[found.labels]
    ours, theirs = found.boxes_src.astype(np.float64), truth.boxes_src.astype(np.float64)
    overlap = intersections(ours, theirs)
    size = areas(ours)[:, None]
    iou = overlap / np.maximum(size + areas(theirs) - overlap, 1e-9)
    within = overlap / np.maximum(size, 1e-9) >= _IOU
    same = found.labels[:, None] == truth.labels
    for k in np.argsort(-found.scores, kind="stable"):
        candidate = np.where(same[k] & ~claimed, iou[k], 0.0)
        if not free[k] and len(candidate) and candidate.max() >= _IOU:
            claimed[candidate.argmax()] = right[k] = True
        else:
            free[k] |= bool((within[k] & truth.ignore).any())
    return claimed & ~truth.ignore, right, free


def _part(session: Session, data: DataSet) -> list[U8]:
    """The set's name, then its pictures."""
    boxes = "detect" in session.manifest.tasks and bool({"detect", "embed"} & data.tasks)
    count = min(len(data), _PAIRS if boxes else _SMALL)
    indices = ((np.arange(count) + 0.5) * len(data) / count).astype(int).tolist()
    said = predict(session, data, indices, session.manifest.min_score)
    make = _pair if boxes else _small
    tiles = [make(session, data, one) for one in said]
    head: list[d.Part] = [(data.name, d.WHITE)]
    if boxes:
        head += [("left: true boxes,", d.QUIET), ("found", d.RIGHT), ("missed", d.WRONG)]
        head += [("  right: the model's,", d.QUIET), ("right", d.RIGHT), ("wrong", d.WRONG)]
        head += [("not judged", d.QUIET)]
    columns = _COLUMNS if boxes else _SMALL
    sheet = d.grid(tiles, columns, 8 if boxes else 4)
    return [d.caption(head, max(sheet.shape[1], 900), 0.9), sheet]


def _pair(session: Session, data: DataSet, said: Prediction) -> U8:
    """Truth on the left, prediction on the right."""
    truth = data.truth(said.index)
    picture, scale = d.fit(data.image(said.index), (_SIDE_PX, _SIDE_PX))
    found = said.detections or Detections.empty()
    caught, right, free = judge_boxes(truth, found, data.labelled)
    left, other = picture, picture.copy()
    for box in truth.boxes_src[truth.ignore]:
        d.draw_region(left, box * scale, d.QUIET)
    real = ~truth.ignore
    ids = ["" if i == UNKNOWN else f" #{i}" for i in truth.identities[real]]
    colours = [d.RIGHT if good else d.WRONG for good in caught[real]]
    _objects(left, data, (truth.boxes_src[real] * scale, truth.labels[real]), ids, colours)
    order = np.argsort(found.scores, kind="stable")
    scores = [f" {found.scores[k]:.2f}" for k in order]
    colours = [d.RIGHT if right[k] else d.QUIET if free[k] else d.WRONG for k in order]
    _objects(other, data, (found.boxes_src[order] * scale, found.labels[order]), scores, colours)
    first, second = _scene(session, data, truth, said)
    where = (Path(data.file(said.index)).name, d.QUIET)
    width = picture.shape[1]
    sides = [
        d.below([d.caption([*first, where], width), left], 0),
        d.below([d.caption(second, width), other], 0),
    ]
    return d.beside(sides, 2)


def _objects(
    picture: U8,
    data: DataSet,
    objects: tuple[F32, I32],
    words: Sequence[str],
    colours: Sequence[d.Colour],
) -> None:
    """Outlines, then names over all of them."""
    boxes, labels = objects
    for box, colour in zip(boxes, colours, strict=True):
        d.draw_box(picture, box, colour, 2)
    for box, label, word, colour in zip(boxes, labels, words, colours, strict=True):
        text = d.name_of(data.classes, int(label)) + word
        d.draw_tag(picture, box, text, colour, 0.6)


def _small(session: Session, data: DataSet, said: Prediction) -> U8:
    """A picture that has an image class alone: one line of truth, one of the prediction."""
    picture, _ = d.fit(data.image(said.index), (_SMALL_PX, _SMALL_PX))
    first, second = _scene(session, data, data.truth(said.index), said)
    tile = np.full((_SMALL_PX, _SMALL_PX, 3), d.PAPER, np.uint8)
    tile[: picture.shape[0], : picture.shape[1]] = picture
    strips = [d.caption(parts, _SMALL_PX, 0.65) for parts in (first, second)]
    return d.below([*strips, tile], 0)


def _scene(
    session: Session, data: DataSet, truth: Truth, said: Prediction
) -> tuple[list[d.Part], list[d.Part]]:
    """The image class as it is and as the model says, where there are such."""
    known = "classify" in data.tasks and truth.scene != UNKNOWN
    first: list[d.Part] = []
    if known:
        first.append((d.name_of(data.image_classes, truth.scene), d.WHITE))
    if said.image_probs is None:
        return first, []
    best = int(said.image_probs.argmax())
    text = f"{d.name_of(session.manifest.image_classes, best)} {said.image_probs[best]:.2f}"
    colour = d.QUIET if not known else d.RIGHT if best == truth.scene else d.WRONG
    return first, [(text, colour)]
