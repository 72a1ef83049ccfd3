"""The base package stands alone: optional packages are blocked, and start-up stays light."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec

import pytest

OPTIONAL = ("torch", "torchvision", "torchjd", "safetensors", "matplotlib")
BACKENDS = ("tensorrt", "tensorrt_rtx", "pycuda", "openvino")
HEAVY = ("numpy", "cv2", "onnx", "onnxruntime", "rich.console", *OPTIONAL, *BACKENDS)
COMMANDS = ["train", "eval", "export", "calibrate", "build", "run", "track", "bench"]
COMMANDS += ["demo", "info", "doctor"]

_WALK = """
import importlib, json, pkgutil, sys
for name in {blocked!r}:
    sys.modules[name] = None
import edgemtl
allowed = ("edgemtl.nn", "edgemtl.train", "edgemtl.export", "edgemtl.finetune", "edgemtl.__main__")
done = []
for module in pkgutil.walk_packages(edgemtl.__path__, "edgemtl.", onerror=lambda name: None):
    if not module.name.startswith(allowed):
        importlib.import_module(module.name)
        done.append(module.name)
print(json.dumps(done))
"""


def _python(code: str) -> str:
    # elsewhere than in the sources, which hold no compiled extension
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_room_outside_training_imports_without_optional_packages() -> None:
    imported = json.loads(_python(_WALK.format(blocked=(*OPTIONAL, *BACKENDS))))
    for room in ("data", "engine", "evaluate", "graph", "metrics", "quantize", "runtime", "track"):
        assert f"edgemtl.{room}" in imported
    assert {"edgemtl.cli", "edgemtl.demo", "edgemtl.doctor", "edgemtl.ops"} <= set(imported)


@pytest.mark.skipif(find_spec("torch") is None, reason="the training rooms need torch")
def test_training_imports_without_accelerator_packages() -> None:
    code = _WALK.format(blocked=BACKENDS).replace(
        '("edgemtl.nn", "edgemtl.train", "edgemtl.export", "edgemtl.finetune", "edgemtl.__main__")',
        '("edgemtl.__main__",)',
    )
    imported = json.loads(
        _python(code.replace("import edgemtl\n", "import torch\nimport edgemtl\n"))
    )
    assert {"edgemtl.nn.network", "edgemtl.train.loop", "edgemtl.export"} <= set(imported)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = f"""
import json, sys
from edgemtl.cli import invoke
code = invoke([{command!r}, "--help"] if {command!r} else ["--help"])
print(json.dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))
"""
    out = _python(code)
    assert json.loads(out.splitlines()[-1]) == [0, []]
    assert not command or "Example:" in out
