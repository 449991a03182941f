"""``edge-mer receipts``: the signed proofs of masks, for people and for auditors."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.typer_apps import command_group
from edge_mer.config import load
from edge_mer.contract.errors import UNPROVEN, EdgeMerError, PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.history import erasures
from edge_mer.history.store import FOLDER as HISTORY_FOLDER
from edge_mer.host.files import state_directory
from edge_mer.privacy.keys.host_key import read_public
from edge_mer.privacy.switch.receipts import FILE, ChainHead, lines_of, receipt_files, verify_all
from edge_mer.privacy.switch.receipts import verify as verify_file
from edge_mer.privacy.switch.state import FILE as STATE
from edge_mer.privacy.switch.state import read_state

receipts = command_group("Show the signed receipts of masks, or verify them offline.")

File = Annotated[Path | None, typer.Argument(help="file of receipts; default: that of this host")]
Key = Annotated[Path | None, typer.Option("--key", help="the host's public key (host.pub); default: beside the file")]


class NoReceipts(EdgeMerError):
    """There is nothing to verify."""


class WrongReceipt(EdgeMerError):
    """A receipt is missing, damaged or forged."""

    exit_code = UNPROVEN


@receipts.command()
def verify(file: File = None, key: Key = None, config: ConfigFile = None) -> None:
    """Check format, order, hash chain and signature of every receipt. Exit code 6 names the first bad line."""
    path = file or state_directory(load(config)[0].privacy.state) / FILE
    if file is None and key is None and not any((path.parent / name).exists() for name in (FILE, STATE, "host.pub")):
        raise NoReceipts("no receipts yet: this host has never masked anything")
    public = read_public(key or path.parent / "host.pub")
    head: ChainHead | None = None
    if file is None:
        try:
            state = read_state(path.parent / STATE, public)
            head = ChainHead(state.receipts, state.head)
        except (PrivacyError, FileNotFoundError) as error:
            typer.echo(f"missing receipts at the end cannot be detected: {error}", err=True)
    count = first = 0
    try:
        for receipt in verify_all(path.parent, public, head) if file is None else verify_file(path, public).receipts:
            first = first if count else receipt.number
            count += 1
    except PrivacyError as error:
        raise WrongReceipt(str(error)) from error
    end = "none missing at the end" if head is not None else "missing ones at the end cannot be detected"
    typer.echo(f"{path}: {count} receipts from {first} on, all signed and in one chain; {end}")
    if file is None and (found := erasures.verify(path.parent / HISTORY_FOLDER)):
        typer.echo(f"{len(found)} receipts of erasures from the history, all signed and in one chain")


@receipts.command()
def show(file: File = None, config: ConfigFile = None) -> None:
    """Print receipts as text, without checking them; newest last."""
    files = [file] if file is not None else receipt_files(state_directory(load(config)[0].privacy.state))
    if not any(path.exists() for path in files):
        typer.echo("no receipts yet")
    for path in files:
        for where, line in lines_of(path):
            try:
                typer.echo(in_words(msgspec.json.decode(line, type=Receipt)))
            except msgspec.DecodeError:
                typer.echo(f"{where} is not a receipt; run: edge-mer receipts verify", err=True)


def in_words(receipt: Receipt) -> str:
    """``12  2026-11-21 18:30:05  video masked by anna: closed after 41 ms, purged after 44 ms, last message 1203``."""
    wall = datetime.datetime.fromtimestamp((receipt.requested_us + receipt.wall_offset_us) / 1e6)
    closed, purged = ((t - receipt.requested_us) / 1000 for t in (receipt.closed_us, receipt.purged_us))
    if receipt.persons:
        return (
            f"{receipt.number:>5}  {wall:%Y-%m-%d %H:%M:%S}  person {', '.join(receipt.persons)} masked by "
            f"{receipt.requester}: confirmed after {purged:.0f} ms ({'; '.join(receipt.checks)})"
        )
    last = "no message before" if receipt.last_seq is None else f"last message {receipt.last_seq}"
    return (
        f"{receipt.number:>5}  {wall:%Y-%m-%d %H:%M:%S}  {receipt.modality} {receipt.gate} by {receipt.requester}: "
        f"closed after {closed:.0f} ms ({'; '.join(receipt.checks)}), purged after {purged:.0f} ms "
        f"({', '.join(receipt.purged) or 'no data was held'}), {last}"
    )
