"""The real pycuda on a driver in small (small_driver.c), with a TensorRT in small on its memory.

As a program it does a whole life of an engine: build, two slots at once, every batch, close; and
says what came out as one JSON object. Pycuda's own calls and their arguments are what is tried
here: the lifecycle, not speed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import sysconfig
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

HERE = Path(__file__).resolve().parent


def pycuda_library() -> Path | None:
    """pycuda's own shared library, None where it is not built; importing it needs a driver."""
    spec = find_spec("pycuda")
    if spec is None or spec.origin is None:
        return None
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    library = Path(spec.origin).with_name(f"_driver{suffix}")
    return library if library.is_file() else None


def make_driver(folder: Path, library: Path) -> Path:
    """``folder`` with a libcuda.so.1 that has all symbols that pycuda asks for."""
    asked = _symbols(library, "--undefined-only")
    own = folder / "small_driver.o"
    command = ["cc", "-Wall", "-Wextra", "-fPIC", "-c", str(HERE / "small_driver.c")]
    subprocess.run([*command, "-o", str(own)], check=True)
    missing = sorted(asked - _symbols(own))
    rest = folder / "rest.c"  # 801: not supported
    rest.write_text("".join(f"int {name}(void) {{ return 801; }}\n" for name in missing))
    made = folder / "libcuda.so.1"
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(made)]
    subprocess.run([*command, str(own), str(rest)], check=True)
    return folder


def _symbols(file: Path, *options: str) -> set[str]:
    table = "-D" if file.suffix == ".so" else "-g"
    told = subprocess.run(["nm", table, *options, str(file)], capture_output=True, check=True)
    names = (line.split()[-1].split("@")[0] for line in told.stdout.decode().splitlines())
    return {name for name in names if name.startswith("cu")}


def make_tensorrt(name: str, version: str) -> ModuleType:
    """A module whose engines are .onnx files that ONNX Runtime runs on memory given by address."""
    trt = ModuleType(name)
    trt.__version__ = version
    trt.ILogger = type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3})
    trt.TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    trt.nptype = lambda dtype: np.dtype(dtype).type
    trt.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=Engine)
    return trt


class Engine:
    def __init__(self, plan: bytes) -> None:
        graph = onnx.ModelProto.FromString(plan).graph
        self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.infos: dict[str, tuple[str, Any, list[int]]] = {}
        for mode, values in (("in", graph.input), ("out", graph.output)):
            for value in values:
                kind = value.type.tensor_type
                dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
                self.infos[value.name] = mode, dtype, [d.dim_value or -1 for d in kind.shape.dim]
        self.num_io_tensors = len(self.infos)
        self.get_tensor_name = list(self.infos).__getitem__

    def get_tensor_mode(self, name: str) -> str:
        return self.infos[name][0]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.infos[name][1]

    def get_tensor_shape(self, name: str) -> list[int]:
        return self.infos[name][2]

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses, self.shape = engine, {}, ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """At once: the driver's streams have nothing to wait for."""
        session = self.engine.session
        ((entry, image),) = ((n, i) for n, i in self.engine.infos.items() if i[0] == "in")
        pictures = _view(self.addresses[entry], self.shape, image[1])
        names = [output.name for output in session.get_outputs()]
        for name, value in zip(names, session.run(names, {entry: pictures}), strict=True):
            _view(self.addresses[name], value.shape, value.dtype)[...] = value
        return True


def _view(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = (ctypes.c_uint8 * count).from_address(address)
    return np.frombuffer(raw, dtype).reshape(shape)


def whole_life(model: Path, engine: Path) -> dict[str, Any]:
    """What :func:`main` prints; raises EdgeMTLError where the driver fails."""
    from fake_builder import add_builder
    from graph_tools import manifest_of, pictures, run

    from edgemtl.engine import open_session
    from edgemtl.engine.build import BuildOptions, build_engine

    trt = sys.modules["tensorrt"] = make_tensorrt("tensorrt", "10.3.0")
    add_builder(trt)
    report = build_engine(model, engine, BuildOptions("fp32"))
    graph = onnx.load(str(model))
    images = pictures(manifest_of(graph), 4)
    want, apart = run(graph, images), []
    with closing(open_session(report.out, batch=4)) as session:
        for rows in (1, 3, 4, 2):
            outputs = session.infer(images[:rows])
            apart.append(float(np.abs(outputs.scores - want["scores"][:rows]).max()))
        slots = [session.acquire(), session.acquire()]
        for number, slot in enumerate(slots):
            session.input(slot)[0] = images[number]
        tickets = [session.submit(slot, 1) for slot in slots]
        for number, ticket in enumerate(tickets):
            outputs = session.collect(ticket)
            apart.append(float(np.abs(outputs.scores[0] - want["scores"][number]).max()))
        backend = session.backend
        del outputs
    del session
    gc.collect()
    driver = ctypes.CDLL("libcuda.so.1")
    return {
        "checked": report.checked, "apart": apart, "backend": backend,
        "live": [driver.small_driver_live(what) for what in range(4)],
        "depth": driver.small_driver_depth(),
    }  # fmt: skip


def main() -> int:
    from edgemtl.errors import EdgeMTLError

    try:
        print(json.dumps(whole_life(Path(sys.argv[1]), Path(sys.argv[2]))))
    except EdgeMTLError as error:
        print(json.dumps({"error": type(error).__name__, "says": error.message,
                          "hint": error.hint}))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
