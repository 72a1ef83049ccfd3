"""Before the first step: the data are checked, and what the network will see is drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from edgemtl import drawing as d
from edgemtl.data.base import UNKNOWN
from edgemtl.data.checks import CheckOptions, DataReport, check_data, print_report, read_report
from edgemtl.data.config import DataMix, load_data
from edgemtl.files import make_folder
from edgemtl.nn.network import PIXEL_ZERO
from edgemtl.records import U8
from edgemtl.train.batches import Batch, BatchMaker
from edgemtl.train.config import TrainConfig
from edgemtl.train.draw import check_sizes
from edgemtl.train.judge import require_judgement
from edgemtl.train.manifest import build_manifest
from edgemtl.train.origin import begun
from edgemtl.train.sheet import write_picture
from edgemtl.train.start import begin
from edgemtl.train.teach import TaughtSet, teach

REPORT_FILE, MIX_FILE = "data.json", "mix.jpg"
_SAMPLES, _COLUMNS, _SIDE_PX = 24, 6, 320


def check_before(
    config: TrainConfig, train: DataMix, val: DataMix, out: Path, *, again: bool = False
) -> DataReport:
    """Check the data, print what was found, write ``data.json`` and ``mix.jpg`` into ``out``.

    Data that are as they were when ``out``'s report was written are checked once more only with
    ``again``. What is counted is people's: a teacher would have to look at every picture first.
    Errors are in the report: see :meth:`DataReport.refuse_errors`.
    """
    kept = None if again else read_report(out / REPORT_FILE)
    taught = [data for data in train.sets if isinstance(data, TaughtSet)]
    sets = tuple(data.people if isinstance(data, TaughtSet) else data for data in train.sets)
    options = replace(
        options_of(config),
        taught_sets=tuple(data.name for data in taught),
        taught_classes=tuple(
            name
            for k, name in enumerate(train.classes)
            if any(data.labelled[k] and not data.people.labelled[k] for data in taught)
        ),
    )
    report = check_data(replace(train, sets=sets), val, options, kept)
    if report is kept:
        said = f"data: as checked before ({report.counts()}, see '{out / REPORT_FILE}')"
        print(said, file=sys.stderr, flush=True)
    else:
        print_report(report)
        report.write(out / REPORT_FILE)
    draw_mix(out / MIX_FILE, BatchMaker(train.sets, config), train)
    return report


def refuse_bad_data(config: TrainConfig, train: DataMix, val: DataMix | None, out: Path) -> None:
    """:func:`check_before`; raises DataError if it finds an error. ``val`` is there."""
    assert val is not None
    check_before(config, train, val, out).refuse_errors()


def check_run(config: TrainConfig, out: Path, data_root: Path | None) -> DataReport:
    """The checks alone, of the data of a run; ``out`` is made."""
    make_folder(out)
    config, origin = begun(config)
    mix = teach(load_data(config.data, "train", data_root), config.teachers)
    val = load_data(config.data, "val", data_root)
    check_sizes(config, mix, val)
    manifest = build_manifest(config, mix, origin)
    require_judgement(manifest, val)
    if origin is not None:
        begin(config, manifest, None, origin)  # refuses what does not fit
    return check_before(config, mix, val, out, again=True)


def options_of(config: TrainConfig) -> CheckOptions:
    """What the run's config means for the checks."""
    own = config.data_checks
    return CheckOptions(
        size_hw=config.size_hw,
        sizes=config.sizes,
        zoom=config.augment.scale[1],
        tasks=config.tasks,
        min_boxes=own.min_boxes,
        near_bits=own.near_bits,
        seconds=own.seconds,
        allow_overlap=own.allow_overlap,
    )


def draw_mix(path: Path, maker: BatchMaker, mix: DataMix) -> None:
    """Write the pictures of the first steps as the network sees them, labels drawn in."""
    tiles = list(islice(_tiles(maker, mix), _SAMPLES))
    sheet = d.grid(tiles, _COLUMNS, 6)
    head: list[d.Part] = [
        ("as the network sees them in the first steps", d.WHITE),
        ("data set, its image class; hatched: does not count", d.QUIET),
    ]
    write_picture(path, d.below([d.caption(head, max(sheet.shape[1], 900), 0.9), sheet]))


def _tiles(maker: BatchMaker, mix: DataMix) -> Iterator[U8]:
    number = 0
    while True:
        for batch in maker.batch(number):
            for place in range(len(batch.images)):
                yield _tile(batch, place, maker, mix)
        number += 1


def _tile(batch: Batch, place: int, maker: BatchMaker, mix: DataMix) -> U8:
    """One picture of a batch with its boxes and a caption."""
    planar = batch.images[place].numpy() * PIXEL_ZERO + PIXEL_ZERO
    pixels = np.ascontiguousarray(planar.transpose(1, 2, 0)[..., ::-1]).round().astype(np.uint8)
    picture, scale = d.fit(pixels, (_SIDE_PX, _SIDE_PX))
    mine = (batch.frame == place).numpy()
    boxes = batch.boxes_net.numpy()[mine] * np.float32(scale)
    labels, identities = batch.labels.numpy()[mine], batch.identities.numpy()[mine]
    ignore = batch.ignore.numpy()[mine]
    for box in boxes[ignore]:
        d.draw_region(picture, box, d.QUIET)
    real = np.flatnonzero(~ignore)
    for k in real:
        d.draw_box(picture, boxes[k], d.colour_of(int(labels[k])), 2)
    for k in real:
        person = "" if identities[k] == UNKNOWN else f" #{identities[k] & 0xFFFFFFFF}"
        text = d.name_of(mix.classes, int(labels[k])) + person
        d.draw_tag(picture, boxes[k], text, d.colour_of(int(labels[k])), 0.55)
    scene = int(batch.scenes[place])
    words: list[d.Part] = [(maker.sets[int(batch.source[place])].name, d.WHITE)]
    if scene != UNKNOWN:
        words.append((d.name_of(mix.image_classes, scene), d.QUIET))
    return d.below([d.caption(words, picture.shape[1]), picture], 0)
