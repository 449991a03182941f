"""Reads metadata, opset and hashes of an ONNX file without a session. Used by every backend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_mer.contract.errors import ModelError
from edge_mer.contract.protobuf import fields_of

METADATA_KEY: Final = "edge_mer"
OLDEST_OPSET: Final = 18
# Field numbers of ModelProto, OperatorSetIdProto and StringStringEntryProto in onnx.proto.
_GRAPH, _OPSET_IMPORT, _METADATA_PROPS = 7, 8, 14
_DOMAIN, _VERSION = 1, 2
_KEY, _VALUE = 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """One model: ``content`` is the whole file, ``sha256`` its hash.

    ``metadata`` is the JSON object under the key ``edge_mer``. Its ``graph_sha256`` and the ``sha256`` of its shared
    ``weights`` were checked, so that the hash of the file covers the weights too.
    """

    path: Path
    content: bytes
    sha256: str
    opset: int
    metadata: Mapping[str, Any]

    @property
    def precision(self) -> str:
        return str(self.metadata.get("precision", "fp32"))


def read_model(path: Path) -> ModelFile:
    """Raises ModelError for a missing, truncated or changed file, one of another exporter, or with an old opset."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); run: edge-mer doctor") from error
    try:
        fields = list(fields_of(content))
        metadata = _metadata(fields)
        opset = _opset(fields)
        graph = next(value for number, value in fields if number == _GRAPH and isinstance(value, bytes))
    except (ValueError, StopIteration) as error:
        raise ModelError(f"{path}: not a usable ONNX file ({error or 'it holds no graph'})") from error
    if metadata is None:
        raise ModelError(
            f"{path}: not an edge_mer model, it has no {METADATA_KEY!r} metadata; see pipelines.exporting.export"
        )
    if opset < OLDEST_OPSET:
        raise ModelError(f"{path}: opset {opset}, expected {OLDEST_OPSET} or newer; export it again")
    model = ModelFile(path, content, hashlib.sha256(content).hexdigest(), opset, _object(metadata, path))
    _check_hash(path, "its graph", graph, model.metadata.get("graph_sha256"))
    if shared := model.metadata.get("weights"):
        _check_weights(path.parent / shared["file"], shared["sha256"], path)
    return model


def graph_sha256(content: bytes) -> str:
    """sha256 of the graph in a serialized model, independent of its metadata: the expected ``graph_sha256``."""
    return hashlib.sha256(next(v for n, v in fields_of(content) if n == _GRAPH and isinstance(v, bytes))).hexdigest()


def _check_hash(path: Path, what: str, content: bytes, expected: str | None) -> None:
    if expected is not None and (found := hashlib.sha256(content).hexdigest()) != expected:
        raise ModelError(
            f"{path}: {what} was changed after the export (sha256 {found[:16]}, expected "
            f"{expected[:16]}); restore the file"
        )


def _check_weights(path: Path, expected: str, model: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the weights of {model.name} cannot be read ({error.strerror})") from error
    _check_hash(path, "the file", content, expected)


def _object(text: bytes, path: Path) -> Mapping[str, Any]:
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: its {METADATA_KEY!r} metadata is not JSON") from error
    if not isinstance(metadata, dict):
        raise ModelError(f"{path}: its {METADATA_KEY!r} metadata is not a JSON object")
    return metadata


def _metadata(fields: list[tuple[int, int | bytes]]) -> bytes | None:
    for number, value in fields:
        if number == _METADATA_PROPS and isinstance(value, bytes):
            entry = dict(fields_of(value))
            text = entry.get(_VALUE, b"")
            if entry.get(_KEY) == METADATA_KEY.encode() and isinstance(text, bytes):
                return text
    return None


def _opset(fields: list[tuple[int, int | bytes]]) -> int:
    """The version of the default domain; 0 when there is none."""
    for number, value in fields:
        if number == _OPSET_IMPORT and isinstance(value, bytes):
            entry = dict(fields_of(value))
            version = entry.get(_VERSION, 0)
            if entry.get(_DOMAIN, b"") in (b"", b"ai.onnx") and isinstance(version, int):
                return version
    return 0
