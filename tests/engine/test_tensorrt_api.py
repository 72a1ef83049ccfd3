"""Every attribute of TensorRT that the engine room uses exists: in TensorRT-RTX, and in the stubs
of TensorRT 10. What one of them lacks is named here, with what is done instead."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from tensorrt_use import Uses

import edgemtl

ROOM = sorted((Path(edgemtl.__file__).parent / "engine").glob("*.py"))
CLEANER = Path(__file__).resolve().parents[2] / ".ci" / "tensorrt_types.py"
DIFFERENCES = {
    # TensorRT 10: bit 1 turns strong typing on. 11 and RTX know nothing else, and may lack the
    # name: bindings.strongly_typed asks for it and does without
    ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
}
"""Asked for with a default, as TensorRT 10, TensorRT 11 and TensorRT-RTX do not agree on them."""
CERTAIN = {
    ("", "Builder"), ("", "OnnxParser"), ("", "Runtime"), ("", "nptype"), ("ILogger", "log"),
    ("Builder", "build_serialized_network"), ("IBuilderConfig", "set_memory_pool_limit"),
    ("IProgressMonitor", "step_complete"), ("OnnxParser", "parse"), ("ParserError", "desc"),
    ("Runtime", "deserialize_cuda_engine"), ("ICudaEngine", "create_execution_context"),
    ("IExecutionContext", "set_tensor_address"), ("ITensor", "shape"),
}  # fmt: skip
"""Uses that the reader must have seen, or it reads nothing."""


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


@pytest.fixture(scope="module")
def uses(rtx: ModuleType) -> Uses:
    found = Uses(rtx)
    for path in ROOM:
        found.read(path.read_text(encoding="utf-8"))
    return found


def test_tensorrt_rtx_has_all_that_is_used(uses: Uses, rtx: ModuleType) -> None:
    assert uses.found >= CERTAIN
    assert uses.missing(rtx) == set()


def test_what_is_asked_for_with_a_default_is_a_known_difference(uses: Uses) -> None:
    assert uses.asked == DIFFERENCES


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stubs of TensorRT 10, made readable."""
    try:
        metadata.files("tensorrt-stubs")
    except metadata.PackageNotFoundError:
        pytest.skip("tensorrt-stubs is not installed")
    folder = tmp_path_factory.mktemp("stubs")
    subprocess.run([sys.executable, str(CLEANER), str(folder)], check=True, capture_output=True)
    return folder


def test_tensorrt_10_has_all_that_is_used(uses: Uses, stubs: Path) -> None:
    known = _names(ast.parse((stubs / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8")))
    inner = (stubs / "tensorrt_bindings" / "tensorrt.pyi").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(inner).body if isinstance(node, ast.ClassDef)}

    def has(owner: str, name: str) -> bool:
        if not owner:
            return name in known
        bases = [ast.unparse(base) for base in classes[owner].bases]
        return name in _names(classes[owner]) or any(has(b, name) for b in bases if b in classes)

    assert {use for use in uses.found if not has(*use)} == set()


def _names(scope: ast.Module | ast.ClassDef) -> set[str]:
    names: set[str] = set()
    for node in scope.body:
        if isinstance(node, (ast.ImportFrom, ast.Import)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
    return names


@pytest.mark.slow
def test_mypy_notices_a_call_that_tensorrt_10_does_not_take(stubs: Path, tmp_path: Path) -> None:
    """That is: the check of `engine/api.py` has teeth, with the stubs as they are read."""
    pytest.importorskip("mypy")
    good = (Path(edgemtl.__file__).parent / "engine" / "api.py").read_text(encoding="utf-8")
    wrong = good.replace("def create_network(self, flags: int, /)", "def create_network(self)")
    wrong = wrong.replace("def set_tensor_address(self, name: str, ", "def set_address(self, ")
    assert good.count("\n") == wrong.count("\n") != 0
    said = []
    for name, text in (("good.py", good), ("wrong.py", wrong)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        config = tmp_path / "mypy.ini"
        config.write_text(
            f"[mypy]\nstrict = true\nmypy_path = {stubs}\ncache_dir = {tmp_path / 'cache'}\n"
            "[mypy-tensorrt.*,tensorrt_bindings.*]\nignore_errors = true\n"
        )
        command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said.append((done.returncode, done.stdout))
    assert said[0][0] == 0, said[0][1]
    assert said[1][0] == 1
    assert 'Incompatible types in assignment (expression has type Module, variable has type "Tenso'\
        in said[1][1]  # fmt: skip


MADE_UP = """
def build(bindings, logger):
    trt = bindings.module
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    image, other = network.get_input(0), None
    {line}

class Log(trt.ILogger):
    def log(self, severity, message): ...
"""


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("pass", None),
        ("builder.create_netwrk(0)", ("Builder", "create_netwrk")),
        ("x = [image.nme]", ("ITensor", "nme")),
        ("trt.Bilder(logger)", ("", "Bilder")),
        ("flag = trt.MemoryPoolType.WORK", ("MemoryPoolType", "WORK")),
        ("for n in range(network.num_layerz): pass", ("INetworkDefinition", "num_layerz")),
        ("config = None if network is None else builder.create_builder_config(); config.set_flg(1)",
         ("IBuilderConfig", "set_flg")),
        ("with open('x') as f: f.write(trt.Runtime(logger).deserialize(b''))",
         ("Runtime", "deserialize")),
        ("errors = [trt.OnnxParser(network, logger).get_error(0) for _ in (1,)]; "
         "errors.append(1); words = [e.descr() for e in errors]", ("ParserError", "descr")),
        ("def inner(context): context.execute()\n    logger.anything()",
         ("IExecutionContext", "execute")),
        ("class M(trt.IProgressMonitor):\n        def step_done(self): ...",
         ("IProgressMonitor", "step_done")),
        ("builder = object(); builder.anything()", None),
    ],
)  # fmt: skip
def test_the_reader_sees_a_wrong_name(
    rtx: ModuleType, line: str, missing: tuple[str, str] | None
) -> None:
    seen = Uses(rtx).read(MADE_UP.format(line=line))
    assert seen.missing(rtx) == ({missing} if missing else set())
    assert ("Builder", "create_network") in seen.found
