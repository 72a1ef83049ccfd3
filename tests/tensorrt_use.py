"""Which attributes of TensorRT a source file uses, read off its syntax: (class, attribute).

Types come from where objects are made: the module's classes, and what the bindings of a method say
that it returns. A parameter without a type is told by its name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

NAMES = {
    "trt": "", "module": "", "builder": "Builder", "config": "IBuilderConfig",
    "network": "INetworkDefinition", "parser": "OnnxParser", "runtime": "Runtime",
    "engine": "ICudaEngine", "context": "IExecutionContext", "profile": "IOptimizationProfile",
    "inspector": "EngineInspector", "layer": "ILayer", "tensor": "ITensor",
}  # fmt: skip
"""Parameters of type Any by name; "": the module itself."""
OWN = {
    "module": "", "_context": "IExecutionContext", "_cuda_engine": "ICudaEngine",
    "_runtime": "Runtime",
}  # fmt: skip
"""Attributes of our own objects."""
TYPES = {
    "TensorRT": "", "Builder": "Builder", "BuilderConfig": "IBuilderConfig",
    "Network": "INetworkDefinition", "Parser": "OnnxParser", "Runtime": "Runtime",
    "Engine": "ICudaEngine", "Context": "IExecutionContext", "Profile": "IOptimizationProfile",
    "TimingCache": "ITimingCache", "Layer": "ILayer", "Tensor": "ITensor",
}  # fmt: skip
"""The types of ``edgemtl.engine.api``."""
MAKERS = {"open_builder": "Builder"}
RENAMED = {"IParserError": "ParserError"}
"""What a docstring calls by its name in C++."""


@dataclass
class Uses:
    """``found``: what must be there; ``asked``: what ``getattr`` looks for, with a default."""

    trt: ModuleType
    found: set[tuple[str, str]] = field(default_factory=set)
    asked: set[tuple[str, str]] = field(default_factory=set)

    def read(self, source: str) -> Uses:
        _Scope(self, {}).body(ast.parse(source).body)
        return self

    def missing(self, module: ModuleType) -> set[tuple[str, str]]:
        return {use for use in self.found if not has(module, *use)}


def has(module: ModuleType, owner: str, name: str) -> bool:
    """Whether a class of the module (or the module, ``""``) has an attribute."""
    holder = getattr(module, owner, None) if owner else module
    return holder is not None and hasattr(holder, name)


@dataclass
class _Scope:
    """``known``: variable -> class of the object that it holds, "" for the module; ":X" is the
    class X itself, "*X" a list of its objects."""

    uses: Uses
    known: dict[str, str]

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            inner = _Scope(self.uses, {**self.known, **dict(_parameters(node))})
            inner.body(node.body)
            return
        if isinstance(node, ast.ClassDef):
            bases = [self.kind(base) for base in node.bases]
            for base in (b[1:] for b in bases if b is not None and b.startswith(":")):
                overrides = [f.name for f in node.body if isinstance(f, ast.FunctionDef)]
                self.uses.found |= {(base, n) for n in overrides if not n.startswith("_")}
            _Scope(self.uses, dict(self.known)).body(node.body)
            return
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(target, node.value)
            return
        if isinstance(node, ast.For):
            self.each(node.target, node.iter)
        for child in ast.iter_child_nodes(node):
            self.child(child)

    def each(self, target: ast.expr, values: ast.expr) -> None:
        """A variable takes the values of a list in turn."""
        kind = self.kind(values)
        if isinstance(target, ast.Name) and kind is not None and kind.startswith("*"):
            self.known[target.id] = kind[1:]

    def child(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self.statement(node)
        elif isinstance(node, ast.expr):
            self.kind(node)
        else:  # a handler, an item of a with, a case, a keyword
            for inner in ast.iter_child_nodes(node):
                self.child(inner)

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self.assign(one, other)
            return
        kind = self.kind(value)
        if isinstance(target, ast.Name):
            self.known.pop(target.id, None)
            if kind is not None:
                self.known[target.id] = kind
        else:
            self.kind(target)

    def kind(self, node: ast.AST) -> str | None:
        """The class of what an expression gives, and note what it uses on the way."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            return self.attribute(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            for part in node.generators:
                self.each(part.target, part.iter)
        kinds = [self.kind(n) for n in ast.iter_child_nodes(node) if isinstance(n, ast.AST)]
        if isinstance(node, ast.ListComp):
            return None if kinds[0] is None else f"*{kinds[0]}"
        if isinstance(node, ast.IfExp):
            return kinds[1] if kinds[1] is not None else kinds[2]
        return None

    def attribute(self, node: ast.Attribute) -> str | None:
        owner = self.kind(node.value)
        if owner is None:
            return OWN.get(node.attr)
        if owner.startswith("*"):
            return None
        if owner == "" and node.attr == "__version__":
            return None
        owner = owner.removeprefix(":")
        self.uses.found.add((owner, node.attr))
        value = getattr(self.uses.trt, node.attr, None) if owner == "" else None
        return f":{node.attr}" if isinstance(value, type) else None

    def call(self, node: ast.Call) -> str | None:
        for part in (*node.args, *(k.value for k in node.keywords)):
            self.kind(part)
        function = node.func
        if isinstance(function, ast.Name):
            if function.id == "getattr" and len(node.args) == 3:
                owner, name = self.kind(node.args[0]), node.args[1]
                if owner is not None and isinstance(name, ast.Constant):
                    self.uses.asked.add((owner.removeprefix(":"), str(name.value)))
            return MAKERS.get(function.id)
        kind = self.kind(function)
        if kind is not None and kind.startswith(":"):
            return kind[1:]
        if isinstance(function, ast.Attribute):
            owner = self.kind(function.value)
            known = owner is not None and not owner.startswith("*")
            return None if not known else _returned(self.uses.trt, owner, function.attr)
        return None


def _parameters(node: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        said = "Any" if argument.annotation is None else ast.unparse(argument.annotation)
        kind = NAMES.get(argument.arg) if said == "Any" else TYPES.get(said)
        if kind is not None:
            yield argument.arg, kind


def _returned(trt: Any, owner: str, method: str) -> str | None:
    """The class that a method of a class gives, as its docstring says."""
    holder = getattr(trt, owner.removeprefix(":"), None) if owner else trt
    told = re.search(r"-> [\w.:]*?(\w+)(?:\s|$)", getattr(holder, method, None).__doc__ or "")
    name = None if told is None else RENAMED.get(told.group(1), told.group(1))
    return name if name is not None and isinstance(getattr(trt, name, None), type) else None
