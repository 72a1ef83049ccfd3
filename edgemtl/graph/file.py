"""Model files: one ONNX file with its manifest inside, proven before it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgemtl.errors import ModelError
from edgemtl.files import atomic_path
from edgemtl.graph.check import IR_VERSION, OPSET, prove_contract, prove_emitted
from edgemtl.manifest import METADATA_KEY, Manifest, manifest_from_metadata
from edgemtl.onnx_file import model_bytes, parse_model

__all__ = ["IR_VERSION", "OPSET", "canonical_hash", "load_model", "read_graph", "save_model"]


def load_model(path: Path) -> tuple[onnx.ModelProto, Manifest]:
    """The graph and the manifest of a .onnx file.

    Raises ModelError for a missing, empty or truncated file, one that is not ONNX, one without
    a manifest, an invalid graph, and a manifest that disagrees with the graph.
    """
    path = Path(path)
    model = read_graph(path)
    manifest = manifest_from_metadata({p.key: p.value for p in model.metadata_props}, str(path))
    prove_contract(model, manifest, str(path))
    return model, manifest


def save_model(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Embed the manifest, prove the graph (see graph.check) and write it, whole or not at all.

    ``model`` itself is left as it was. Raises ModelError if the graph is not fit for every
    backend, OutputError if nothing can be written.
    """
    path = Path(path)
    emitted = with_manifest(model, manifest)
    prove_emitted(emitted, manifest, str(path))
    with atomic_path(path) as temporary:
        temporary.write_bytes(emitted.SerializeToString(deterministic=True))


def with_manifest(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """A copy as :func:`save_model` writes it."""
    emitted = onnx.ModelProto()
    emitted.CopyFrom(model)
    kept = {p.key: p.value for p in emitted.metadata_props if p.key != METADATA_KEY}
    del emitted.metadata_props[:]
    helper.set_model_props(emitted, {**kept, METADATA_KEY: manifest.to_json()})
    return emitted


def canonical_hash(model: onnx.ModelProto) -> str:
    """SHA-256 over what a graph computes: nodes, attributes, initialisers, metadata, inputs.

    Names of nodes, doc strings, value_info and the way numbers are stored do not count, so a
    graph that is rebuilt from the same table has the same hash.
    """
    digest = hashlib.sha256()
    for part in _canonical_parts(model):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def read_graph(path: Path) -> onnx.ModelProto:
    """Any ONNX file. Raises ModelError if it is missing, empty, truncated, or without a graph."""
    model = parse_model(model_bytes(path), str(path))
    if not model.graph.node or not model.graph.input:
        raise ModelError(f"{path}: an ONNX file without a graph", "export the model again")
    if any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ModelError(
            f"{path}: its weights are in another file", "save it as one file (below 2 GB)"
        )
    return model


def _canonical_parts(model: onnx.ModelProto) -> Iterable[bytes]:
    for opset in sorted(model.opset_import, key=lambda o: o.domain):
        yield f"opset {opset.domain} {opset.version}".encode()
    for value in (*model.graph.input, *model.graph.output):
        bare = onnx.ValueInfoProto(name=value.name, type=value.type)
        yield bare.SerializeToString(deterministic=True)
    for node in model.graph.node:
        yield from _node_parts(node)
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        yield f"initializer {tensor.name}".encode()
        yield from _tensor_parts(tensor)
    for entry in sorted(model.metadata_props, key=lambda p: p.key):
        yield f"metadata {entry.key}={entry.value}".encode()


def _node_parts(node: NodeProto) -> Iterable[bytes]:
    yield f"node {node.domain} {node.op_type} {list(node.input)} {list(node.output)}".encode()
    for attribute in sorted(node.attribute, key=lambda a: a.name):
        if attribute.type == onnx.AttributeProto.TENSOR:
            yield f"attribute {attribute.name}".encode()
            yield from _tensor_parts(attribute.t)
        else:
            bare = onnx.AttributeProto()
            bare.CopyFrom(attribute)
            bare.doc_string = ""
            yield bare.SerializeToString(deterministic=True)


def _tensor_parts(tensor: TensorProto) -> Iterable[bytes]:
    yield f"{tensor.data_type} {list(tensor.dims)}".encode()
    yield numpy_helper.to_array(tensor).tobytes()
