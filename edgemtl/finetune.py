"""``edgemtl train --quantize``: a trained network goes on, rounded as its INT8 graphs will be.

What comes of it is a float checkpoint like any other: export and calibrate do the rest, with the
same placement of Q/DQ, and find that rounding costs less.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgemtl.data.config import load_data
from edgemtl.errors import ConfigError
from edgemtl.export import export_network
from edgemtl.graph.dialect import TRT, host_dialect
from edgemtl.graph.file import load_model
from edgemtl.graph.ranges import load_ranges, save_ranges
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.config import NetworkConfig
from edgemtl.nn.network import folded
from edgemtl.quantize.calibrate import CalibrateOptions, measure_ranges
from edgemtl.quantize.images import ImageBatches
from edgemtl.quantize.recipe import MixedPictures
from edgemtl.train.config import TrainConfig
from edgemtl.train.loop import run_training
from edgemtl.train.rounding import Rounder
from edgemtl.train.start import Start
from edgemtl.train.state import prepare_folder

TABLE_FILE = "quantize.ranges.json"


def finetune(
    config: TrainConfig,
    checkpoint: Path,
    *,
    out: Path,
    resume: bool = False,
    data_root: Path | None = None,
    workers: int = 0,
) -> Path:
    """Train ``checkpoint`` on, as config.quantize says; the best checkpoint in ``out``.

    The ranges are measured on training pictures first, kept in ``out`` and not changed any more.
    Best is what is judged best when rounded, the beginning included. Raises what
    :func:`edgemtl.train.loop.run_training` does, and ModelError for a file that is no checkpoint.
    Not for several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "quantize: expected one process, got several", "start it without torchrun"
        )
    network, manifest = load_network(checkpoint)
    prepare_folder(out, resume)  # before the table of a run that is there is written over
    folded(network)
    with tempfile.TemporaryDirectory() as scratch:
        export_network(network, manifest, Path(scratch) / "float.onnx")
        source = load_model(Path(scratch) / "float.onnx")
    kept = out / TABLE_FILE
    if resume and kept.is_file():
        ranges = load_ranges(kept)
    else:
        mix = load_data(config.data, "train", data_root)
        pictures = MixedPictures(mix, config.quantize.limit)
        batches = ImageBatches(pictures, range(len(pictures)), source[1].input)
        ranges = measure_ranges(*source, batches, CalibrateOptions())
        save_ranges(ranges, kept)
    rounder = Rounder(source[0], ranges, (host_dialect(), TRT))
    return run_training(
        shortened(config, network.config), out=out, resume=resume, data_root=data_root,
        workers=workers, start=Start(network, manifest, rounder),
    )  # fmt: skip


def shortened(config: TrainConfig, shape: NetworkConfig) -> TrainConfig:
    """The run that goes on from a network of ``shape``: fewer pictures at a lower rate, at the size
    that is deployed, and in float32: bfloat16 is as coarse as INT8."""
    wanted = config.quantize
    slower = {"rate": config.optimiser.rate * wanted.rate, "amp": "off"}
    frozen = {"frozen_stages": config.network.frozen_stages}
    return config.model_copy(
        update={
            "images": max(config.batch, round(config.images * wanted.part)),
            "multi_scale": (1.0, 1.0),
            "network": shape.model_copy(update=frozen),
            "optimiser": config.optimiser.model_copy(update=slower),
        }
    )
