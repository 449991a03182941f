"""What the switch knows when it starts. Where its state is lost, only the local button or root on this host unmasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.contract.messages import Receipt
from edge_mer.host.files import state_path
from edge_mer.privacy.keys.host_key import PRIVATE, public_key
from edge_mer.privacy.switch.people_mask import PeopleAsked, everybody
from edge_mer.privacy.switch.receipt_log import ReceiptLog
from edge_mer.privacy.switch.receipts import ChainHead, receipt_files
from edge_mer.privacy.switch.state import (
    FILE,
    LOCAL_CURE,
    RESERVED,
    STRENGTH,
    Asked,
    Mask,
    StateFile,
    SwitchState,
    read_state,
)
from edge_mer.privacy.switch.used_counters import FILE as COUNTERS
from edge_mer.privacy.switch.used_counters import UsedCounters

CURE = f"only the local button or root on this host unmasks it: {LOCAL_CURE}"
PEOPLE_CURE = f"only the local button or root on this host unmasks them: {LOCAL_CURE} person all"
NEVER = "nobody unmasked it yet"
STARTED = "the switch has started: unmask it to let it sense"


@dataclass(frozen=True, slots=True)
class Memory:
    """``asked`` of every modality, locked where the state was lost (``fault``). ``wall_us``: when it was written, or 0.

    ``epoch``: no mask epoch up to it may be used again. ``never``: the reason of a modality that was not unmasked.
    ``newest``: the last receipt of each modality. ``people``: who is masked alone; after a restart, everybody.
    """

    asked: dict[Modality, Asked]
    epoch: int
    wall_us: int
    never: str
    fault: str
    newest: dict[Modality, Receipt]
    log: ReceiptLog
    counters: UsedCounters
    people: PeopleAsked


def has_run(directory: Path) -> bool:
    """Whether a switch has run with this directory before."""
    return any((directory / name).exists() for name in (PRIVATE, FILE, COUNTERS)) or bool(receipt_files(directory))


def may_hold_people(configured: str | None) -> bool:
    """Whether persons may be masked by the switch of this state directory, as far as its file shows. On doubt, yes."""
    directory = state_path(configured)
    try:
        key = public_key(directory)
        return has_run(directory) if key is None else read_state(directory / FILE, key).people.holds
    except FileNotFoundError:
        return has_run(directory)
    except (PrivacyError, ConfigError):
        return True


def recall(directory: Path, key: Ed25519PrivateKey, has_run: bool, wall_us: int) -> Memory:
    """Read the state, receipts and counters. A state that is missing, damaged or older than a receipt is lost."""
    state, fault = _state(directory, key, has_run)
    known = None if state is None else ChainHead(state.receipts, state.head)
    log = ReceiptLog(directory, key, known)
    newest = log.newest
    counters = UsedCounters(directory, key)
    if has_run:
        counters.load(state.grants if state is not None else 0)
    if state is not None and state.version == 1:
        counters.adopt(state.used)
    last = max((*newest.values(), *log.of_persons), key=lambda receipt: receipt.mask_epoch, default=None)
    if state is not None and last is not None and last.mask_epoch > state.mask_epoch:
        fault = f"{FILE} is older than receipt {last.number}"
    asked = dict(state.asked) if state is not None else {}
    epoch = max(state.epoch if state is not None else 0, counters.epoch, last.mask_epoch if last is not None else 0)
    if fault:
        asked = locked(asked, newest, fault)
        # Above every epoch that counting can have reached since the last one that is known.
        epoch = max(epoch + RESERVED, wall_us // SECOND)
    wall = state.wall_us if state is not None else 0
    never = STARTED if state is not None else NEVER
    people = state.people if state is not None else PeopleAsked()
    if fault:
        people = everybody(people, f"masked, because {fault}; {PEOPLE_CURE}", local=True)
    elif people.persons:
        people = everybody(people, f"{people.by}; the switch has started since, so nobody can tell who was masked")
    return Memory(asked, epoch, wall, never, fault, newest, log, counters, people)


def locked(asked: Mapping[Modality, Asked], newest: Mapping[Modality, Receipt], fault: str) -> dict[Modality, Asked]:
    """Masks that only the local button or root lifts: as strict as what is known, hard where nothing is."""
    found = {}
    for modality in MODALITIES:
        receipt = newest.get(modality)
        gates: list[Gate] = [receipt.gate if receipt is not None else "hard"]
        if (mask := asked.get(modality, Asked()).mask) is not None:
            gates.append(mask.gate)
        gate = max(gates, key=STRENGTH.__getitem__)
        found[modality] = Asked(Mask(gate, f"masked, because {fault}; {CURE} {modality}", local=True))
    return found


def _state(directory: Path, key: Ed25519PrivateKey, has_run: bool) -> tuple[SwitchState | None, str]:
    """The saved state, or why there is none; on the first start there is neither."""
    file = StateFile(directory, key)
    try:
        return file.load(), ""
    except FileNotFoundError:
        return None, f"{FILE} is missing" if has_run else ""
    except PrivacyError as error:
        return None, str(error).replace(f"{directory}/", "")  # the reason is public
