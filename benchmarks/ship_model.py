"""Make a trained checkpoint a shipped model: weights in float16, ONNX file, frozen range table.

    python benchmarks/ship_model.py street runs/street/best.safetensors --data-root DATA

The weights are rounded to float16 first, so that the ONNX file is the network of the checkpoint
that lies beside it and not a slightly better one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from edgemtl import console
from edgemtl.export import export_network
from edgemtl.files import write_text
from edgemtl.nn.checkpoint import load_network, save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.quantize.calibrate import OutputFiles
from edgemtl.quantize.recipe import calibrate_recipe

ROOT = Path(__file__).resolve().parents[1]


@torch.no_grad()
def round_weights(network: MultiTaskNetwork) -> None:
    """Every weight as float16 would keep it."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--min-score", type=float, help="the runtime's default, if not as trained")
    arguments = parser.parse_args()
    name: str = arguments.name
    folder = ROOT / "edgemtl" / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    network, manifest = load_network(arguments.checkpoint)
    if arguments.min_score is not None:
        manifest = manifest.model_copy(update={"min_score": arguments.min_score})
    round_weights(network)
    save_checkpoint(folder / f"{name}.safetensors", network, manifest, half=True)
    report = export_network(network, manifest, folder / f"{name}.onnx")
    print(report.to_dict())
    table = ROOT / "calibration" / "tables" / f"{name}.ranges.json"
    table.parent.mkdir(exist_ok=True)
    recipe = ROOT / "calibration" / "recipes" / f"{name}.toml"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / f"{name}.int8.onnx"
        made = calibrate_recipe(recipe, out, arguments.data_root, folder / f"{name}.onnx")
        print(*(console.table(rows[1:], rows[0]) for rows in made.tables()), sep="\n\n")
        write_text(table, OutputFiles.beside(out).table.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
