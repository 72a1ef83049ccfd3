"""Run the commands of the README's tour and keep what they print: results/tour.json.

    python benchmarks/tour.py --data-root DATA

The commands run in a scratch folder, one after another, as a user would type them; DATA is put in
for the folder of the data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "tour.json"
VIDEO = "DATA/mot/PETS09-S2L1/vtest.avi"
COMMANDS = (
    "info street",
    f"run street --source {VIDEO} --jsonl out.jsonl --mot out.txt --video out.webm",
    f"calibrate street --images {VIDEO} --out street.int8.onnx",
    f"bench street.int8.onnx --source {VIDEO} --threads 1 --plot latency.svg",
    "build street.int8.onnx --precision int8 --out street.engine",
    "track DATA/mot/TUD-Campus/det/det.txt --fps 25 --out tracks.txt",
    "doctor",
)
"""In the order in which one makes what the next one needs."""


def run(command: str, data: Path, folder: Path) -> dict[str, object]:
    """The command and its standard output, without the paths of this machine."""
    arguments = [part.replace("DATA", str(data)) for part in command.split()]
    done = subprocess.run(
        [sys.executable, "-m", "edgemtl", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"edgemtl {command}\n{done.stderr}")
    package = subprocess.run(
        [sys.executable, "-c", "import edgemtl; print(*edgemtl.__path__)"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    output = done.stdout.replace(str(data), "DATA").replace(package.stdout.strip(), "edgemtl")
    return {"command": f"edgemtl {command}", "stdout": output.rstrip()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    data = parser.parse_args().data_root.resolve()
    with tempfile.TemporaryDirectory() as folder:
        done = [run(command, data, Path(folder)) for command in COMMANDS]
    RESULT.write_text(json.dumps({"commands": done}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
