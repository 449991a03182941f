"""The names of TensorRT and CUDA that our code uses, from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

RUNTIME: Final = Path(__file__).parents[2] / "edge_mer" / "runtime"
FILES: Final = ("tensorrt_build.py", "tensorrt_graph.py", "tensorrt.py")
# The class of TensorRT behind each variable or attribute of that code.
CLASSES: Final[Mapping[str, str]] = {
    "builder": "Builder",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "error": "ParserError",
}
_OVERRIDDEN: Final[Mapping[str, str]] = {"Logger": "ILogger", "Monitor": "IProgressMonitor"}
_OWN: Final = {"__init__", "__name__", "__version__"}


def tensorrt_names(files: Mapping[str, str] | None = None) -> set[str]:
    """Dotted names below the module: ``BuilderFlag.TF32``, ``IBuilderConfig.clear_flag``, ``ILogger.log``."""
    sources = files if files is not None else {name: (RUNTIME / name).read_text() for name in FILES}
    found: set[str] = set()
    for source in sources.values():
        found |= set(_names(ast.parse(source)))
    return found


def cuda_names() -> set[str]:
    """Names of ``cuda.bindings.runtime``."""
    tree = ast.parse((RUNTIME / "cuda.py").read_text())
    chains = [chain for node in ast.walk(tree) if isinstance(node, ast.Attribute) if (chain := _chain(node))]
    below = [c[1:] if c[0] == "rt" else c[2:] for c in chains if c[0] == "rt" or c[:2] == ["self", "_rt"]]
    return {".".join(names) for names in below if names}


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (chain := _chain(node)) is not None:
            yield from _resolved(chain)
        if isinstance(node, ast.ClassDef) and node.name in _OVERRIDDEN:
            methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            yield from (f"{_OVERRIDDEN[node.name]}.{m}" for m in methods if m not in _OWN)


def _resolved(chain: list[str]) -> Iterator[str]:
    if chain[0] == "self":
        chain = chain[1:]
    if chain[0] == "trt" and chain[-1] not in _OWN:
        yield ".".join(chain[1:])
    elif chain[0] in CLASSES and len(chain) > 1:
        yield f"{CLASSES[chain[0]]}.{chain[1]}"


def _chain(node: ast.Attribute) -> list[str] | None:
    names: list[str] = []
    current: ast.expr = node
    while isinstance(current, ast.Attribute):
        names.append(current.attr)
        current = current.value
    return [current.id, *reversed(names)] if isinstance(current, ast.Name) else None
