"""Every error that edgemtl raises on purpose.

    EdgeMTLError            message + hint; the CLI prints both and exits 1
    ├── ConfigError         a configuration file or option that cannot be meant
    ├── DataError           a data set, image or annotation that cannot be used
    ├── SourceError         a video, camera or folder that cannot be read
    ├── ModelError          a file that is not an edgemtl model, or contradicts itself
    ├── EngineError         a session or an engine that cannot be made or run
    │   ├── StaleEngineError    an engine that must be built again; the hint is the command
    │   └── NoDeviceError       there is no GPU, or no driver, on this machine
    ├── CalibrationError    ranges that cannot be measured or applied
    ├── OutputError         a result that cannot be written
    ├── ProcessError        one of several processes of a run is gone
    └── MissingExtraError   an optional package is absent; the hint is its install line

Wrong arguments from Python code raise the built-in ``TypeError`` and ``ValueError``.
"""

from __future__ import annotations

from edgemtl.jetson import is_jetson


class EdgeMTLError(Exception):
    """A failure that the user can act on.

    ``message`` says what was expected and what came; ``hint`` says what to do next.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EdgeMTLError):
    """A configuration file or option that cannot be meant."""


class DataError(EdgeMTLError):
    """A data set, image or annotation that cannot be used."""


class SourceError(EdgeMTLError):
    """A video, camera or folder that cannot be read."""


class ModelError(EdgeMTLError):
    """A file that is not an edgemtl model, or one that contradicts itself."""


class EngineError(EdgeMTLError):
    """A session or an engine that cannot be made or run."""


class StaleEngineError(EngineError):
    """An engine that must be built again, for this machine or from a model that has changed."""


class NoDeviceError(EngineError):
    """This machine has no GPU, or no driver for it."""


class CalibrationError(EdgeMTLError):
    """Ranges that cannot be measured or applied."""


class OutputError(EdgeMTLError):
    """A result that cannot be written."""


class ProcessError(EdgeMTLError):
    """One of several processes of a run is gone, so the others cannot go on."""


class MissingExtraError(EdgeMTLError):
    """An optional package is absent; the hint is the line that installs it.

    ``extra`` None: no extra of edgemtl brings the package, it is installed by its own name.
    """

    def __init__(self, package: str, extra: str | None, purpose: str) -> None:
        hint = f"pip install {package}" if extra is None else f'pip install "edgemtl[{extra}]"'
        if extra == "tensorrt" and is_jetson():  # pip's TensorRT is not JetPack's
            hint = "'edgemtl doctor' names the lines for this Jetson"
        super().__init__(f"{purpose} needs the package '{package}', which is not installed", hint)
