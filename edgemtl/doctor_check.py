"""One line of the doctor's report, and how packages are found without loading them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One ability: what it is for, whether it is there, what was found, how to get it."""

    what: str
    ok: bool
    found: str
    install: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def present(package: str) -> bool:
    """Whether ``package`` has code: type stubs alone leave a folder without a loader."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.loader is not None


def version(package: str) -> str:
    """What the package's metadata say, or the loaded module: the system's packages and builds
    under another name (onnxruntime-gpu, JetPack's OpenCV) have no metadata of this name."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        module = sys.modules.get(package)
        return str(getattr(module, "__version__", "(version unknown)"))
