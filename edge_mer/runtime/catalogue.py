"""Lists the model files of a directory, and checks whether they are the shipped ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_mer.contract.errors import ModelError
from edge_mer.runtime.onnx import OnnxRuntime

# Format of sha256sum: hash, two spaces, name. ``pipelines.exporting.export`` writes it beside the models.
SUMS: Final = "SHA256SUMS"
SUFFIXES: Final = (".onnx", ".spm", ".vocab", ".weights")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """``licence``: of the training data; ``fault``: why the file cannot be used."""

    name: str
    kind: str
    bytes: int
    sha256: str
    licence: str
    fault: str | None = None


def catalogue(directory: Path) -> list[CatalogueEntry]:
    """Every model file of ``directory`` by name."""
    return [_entry(path) for path in sorted(directory.iterdir()) if path.suffix in SUFFIXES]


def faults(directory: Path) -> dict[str, str]:
    """Faults by file name: absent, unlisted or changed against ``SHA256SUMS``; or other encoders than a fusion graph
    was trained on."""
    listed = sums(directory)
    found = {e.name: e for e in catalogue(directory)}
    wrong = {name: f"absent; {SUMS} lists it: reinstall edge-mer" for name in listed if name not in found}
    for name, entry in found.items():
        if name not in listed:
            wrong[name] = f"not listed in {SUMS}: not a file of this release"
        elif entry.sha256 != listed[name]:
            wrong[name] = f"changed: sha256 {entry.sha256[:16]}, {SUMS} lists {listed[name][:16]}"
        elif entry.fault:
            wrong[name] = entry.fault
    encoders = {e.sha256[:16] for e in found.values()}
    for name, entry in found.items():
        if name not in wrong and entry.kind == "fusion":
            trained = OnnxRuntime().load(directory / name).metadata.get("encoders", {})
            if other := [m for m, sha in trained.items() if sha not in encoders]:
                wrong[name] = f"trained on another encoder of {', '.join(other)} than the one beside it"
    return wrong


def sums(directory: Path) -> dict[str, str]:
    """``SHA256SUMS`` by file name. Raises ModelError when it is absent or malformed."""
    path = directory / SUMS
    try:
        rows = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
        return {name.strip().lstrip("*"): digest for digest, name in rows}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is absent or damaged; python -m pipelines.export writes it") from error


def write_sums(directory: Path) -> None:
    """Write the hashes of the files in ``directory``."""
    lines = [f"{e.sha256}  {e.name}\n" for e in catalogue(directory)]
    (directory / SUMS).write_text("".join(lines))


def _entry(path: Path) -> CatalogueEntry:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix != ".onnx":
        kind = "weights" if path.suffix == ".weights" else "tokenizer"
        return CatalogueEntry(path.name, kind, len(content), digest, "as its model")
    try:
        metadata = OnnxRuntime().load(path).metadata
    except ModelError as error:
        return CatalogueEntry(path.name, "damaged", len(content), digest, "", str(error))
    return CatalogueEntry(
        path.name, str(metadata.get("kind", "")), len(content), digest, str(metadata.get("licence", ""))
    )
