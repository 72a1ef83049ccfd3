"""Detectors of other projects: their ONNX files with edgemtl's manifest."""

from edgemtl.adopt.names import read_names
from edgemtl.adopt.write import AdoptOptions, AdoptReport, adopt

__all__ = ["AdoptOptions", "AdoptReport", "adopt", "read_names"]
