"""Batches: reproducible by number, honest about what is labelled, ended cleanly."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shapes_set import Shapes

from edgemtl.data.base import UNKNOWN
from edgemtl.errors import DataError
from edgemtl.train import batches
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import TrainConfig
from edgemtl.train.prefetch import prefetch


def config(**changes: object) -> TrainConfig:
    return TrainConfig(name="t", data=Path("d"), size_hw=(64, 96), images=64, **changes)


def test_batch_n_depends_on_seed_and_n_alone() -> None:
    first, again = (BatchMaker([Shapes()], config()) for _ in range(2))
    first.batch(0)
    torch.testing.assert_close(first.batch(5)[0].images, again.batch(5)[0].images)
    other = BatchMaker([Shapes()], config(seed=1)).batch(5)[0]
    assert not torch.equal(other.images, again.batch(5)[0].images)


def test_contents() -> None:
    batch = BatchMaker([Shapes(labelled=(True, False))], config(batch=6)).batch(0)[0]
    assert batch.images.shape == (6, 3, 64, 96)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert -1 <= float(batch.images.min()) <= float(batch.images.max()) < 1
    assert batch.labelled.tolist() == [[True, False]] * 6
    assert (batch.frame >= 0).all()
    assert (batch.boxes_net[:, 2:] > batch.boxes_net[:, :2]).all()


def test_identities_of_two_sets_never_meet() -> None:
    batch = BatchMaker([Shapes(), Shapes()], config(batch=32)).batch(0)[0]
    assert len(set((batch.identities >> 32).tolist())) == 2
    assert (batch.identities >> 32).tolist() == batch.source[batch.frame].tolist()


def test_no_pictures() -> None:
    with pytest.raises(DataError, match="no pictures"):
        BatchMaker([Shapes(0)], config())


def test_the_cache_reads_a_picture_once() -> None:
    data = Shapes(4)
    maker = BatchMaker([data], config())
    for number in range(6):
        maker.batch(number)
    assert data.reads == 4


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_prefetch_gives_the_same_batches_in_order_and_ends_who_makes_them(workers: int) -> None:
    maker = BatchMaker([Shapes()], config(batch=2))
    made = prefetch(maker, 2, 40, workers)
    for number in range(2, 9):
        torch.testing.assert_close(next(made), maker.batch(number))
    made.close()
    assert "edgemtl-batches" not in {t.name for t in threading.enumerate()}
    assert not multiprocessing.active_children()


class Broken(Shapes):
    """A set with pictures that cannot be read."""

    def image(self, index: int) -> np.ndarray:
        raise DataError("picture 3 is broken", "replace it")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_making_a_batch_reaches_the_loop_as_it_is(workers: int) -> None:
    with pytest.raises(DataError, match=r"^picture 3 is broken$") as caught:
        list(prefetch(BatchMaker([Broken()], config()), 0, 3, workers))
    assert caught.value.hint == "replace it"


def test_processes_share_the_memory_for_pictures() -> None:
    maker = BatchMaker([Shapes(4)], config(cache_mb=1))
    maker.divide_memory(2**20)
    data = maker.sets[0]
    for number in range(6):
        maker.batch(number)
    assert data.reads > 4  # nothing fits


def test_mosaics_end_before_the_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = batches.mosaic
    monkeypatch.setattr(batches, "mosaic", lambda *a: made.append(number) or real(*a))
    data = Shapes()
    data.sequences = ()
    maker = BatchMaker([data], config(augment={"mosaic": 1.0, "mosaic_until": 0.5}))
    for number in range(8):  # 64 pictures in batches of 8
        maker.batch(number)
    assert set(made) == {0, 1, 2, 3}


@pytest.mark.parametrize("rule", [None, [0, 1]])
def test_mosaics_have_an_image_class_where_boxes_name_it(rule: list[int] | None) -> None:
    data = Shapes()
    data.sequences = ()
    data.scene_of_class = None if rule is None else np.array(rule, np.int32)
    maker = BatchMaker([data], config(augment={"mosaic": 1.0, "mosaic_until": 1.0}))
    named = {int(scene) for n in range(4) for scene in maker.batch(n)[0].scenes} - {UNKNOWN}
    assert named == (set() if rule is None else {1}), "the larger object is of class 1"


def test_one_batch_for_each_input_size_and_every_picture_in_one() -> None:
    faces = Shapes()
    faces.name, faces.tasks, faces.sequences = "faces", frozenset(("classify",)), ()
    wanted = config(batch=8, sizes={"faces": (32, 64)})
    maker = BatchMaker([Shapes(), faces], wanted)
    for number in range(6):
        found = maker.batch(number)
        assert sum(len(b.images) for b in found) == 8
        assert len({tuple(b.images.shape[2:]) for b in found}) == len(found)
        for batch in found:
            small = tuple(batch.images.shape[2:]) == (32, 64)
            assert (batch.source == int(small)).all()
            assert bool(batch.detect.any()) is not small
            assert bool((batch.frame < len(batch.images)).all())
    again = BatchMaker([Shapes(), faces], wanted).batch(4)
    for ours, theirs in zip(maker.batch(4), again, strict=True):
        torch.testing.assert_close(ours.images, theirs.images)


def test_all_sets_of_a_step_share_the_drawn_scale() -> None:
    maker = BatchMaker([Shapes()], config(multi_scale=(0.5, 1.5), batch=2))
    sizes = [tuple(maker.batch(n)[0].images.shape[2:]) for n in range(12)]
    assert len(set(sizes)) > 2
    assert sizes == [tuple(maker.batch(n)[0].images.shape[2:]) for n in range(12)]
