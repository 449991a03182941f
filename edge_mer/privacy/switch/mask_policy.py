"""What is requested of each modality: consent, masks, grants, and which modalities a mask reaches. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, Clock
from edge_mer.contract.domain import MODALITIES, Gate, Modality
from edge_mer.contract.services import masked_with
from edge_mer.privacy.consent.consent_file import Deployment
from edge_mer.privacy.switch.state import STRENGTH, Asked, Deadline, Holding, Mask

# Time servers move a clock by less than this; more is a step.
STEP_US = 2 * SECOND
# Why a modality is live again that nobody unmasked.
LAPSED = "its timed mask has ended"

# What a mask changed: the gate, the end of the mask that holds, or neither; ``refused``: its end would have changed.
MaskChange = Literal["gate", "longer", "nothing", "refused"]


@dataclass(frozen=True, slots=True)
class Instant:
    """Wall time, and CLOCK_BOOTTIME of which boot."""

    wall_us: int
    boottime_us: int
    boot_id: str

    @classmethod
    def of(cls, clock: Clock, boot_id: str) -> Instant:
        return cls(clock.wall_us(), clock.boottime_us(), boot_id)

    def after(self, seconds: int) -> Deadline:
        return Deadline(self.wall_us + seconds * SECOND, self.boottime_us + seconds * SECOND, self.boot_id)

    def is_past(self, deadline: Deadline) -> bool:
        """By both clocks, so that setting the wall clock forward ends no mask."""
        elapsed = deadline.boot_id != self.boot_id or self.boottime_us >= deadline.boottime_us
        return elapsed and self.wall_us >= deadline.wall_us


class MaskPolicy:
    """Masks are kept by the modality that they were requested for: lifting that of audio leaves that of text in place.

    ``deployment`` None: the file is missing or damaged, ``no_consent`` says what to do, and everything is masked.
    """

    def __init__(self, config: Config, asked: Mapping[Modality, Asked], never: str) -> None:
        """``never``: the reason of a modality that has not been unmasked yet."""
        self._recogniser = config.text.recogniser
        self._transcribed = self._recogniser is not None and self._recogniser.from_microphone
        self.asked: dict[Modality, Asked] = {m: asked.get(m, Asked()) for m in MODALITIES}
        self.deployment: Deployment | None = None
        self.no_consent = "no deployment file"
        self.never = never
        self._lapsed: set[Modality] = set()

    def mask(
        self, modality: Modality, gate: Gate, by: str, until: Deadline | None = None, prolong: bool = True
    ) -> MaskChange:
        """A weaker or shorter mask than the one that holds changes nothing; a longer one of the same gate changes its
        end only, and only if ``prolong`` allows it."""
        mask, holding = self.asked[modality].mask, self.asked[modality].holding
        if mask is not None and STRENGTH[mask.gate] > STRENGTH[gate]:
            return "nothing"
        is_longer = mask is not None and mask.gate == gate
        if mask is not None and is_longer:
            if mask.until is None or (until and until.wall_us <= mask.until.wall_us):
                return "nothing"
            if not prolong:
                return "refused"
        new = msgspec.structs.replace(mask, until=until) if mask is not None and is_longer else Mask(gate, by, until)
        self.asked[modality] = Asked(new, holding if until else None)
        self._lapsed.discard(modality)
        return "longer" if is_longer else "gate"

    def unmask(self, modality: Modality, holding: Holding) -> None:
        self.asked[modality] = Asked(None, holding)
        self._lapsed.discard(modality)

    def withdraw(self, reason: str, key: str | None = None) -> bool:
        """Void the grants of one key, or all, and let no timed mask end by itself; whether there was any."""
        changed = False
        for m, asked in self.asked.items():
            if asked.holding is not None and (key is None or asked.holding.key == key):
                self.asked[m] = Asked(Mask("masked", reason) if asked.mask is None else _untimed(asked.mask))
                changed = True
        return changed

    def expire(self, now: Instant) -> list[Modality]:
        """End timed masks whose time is over; what they masked is then as before them, never more open."""
        over = [m for m, a in self.asked.items() if a.mask and a.mask.until and now.is_past(a.mask.until)]
        for m in over:
            self.asked[m] = _lapsed(self.asked[m])
        self._lapsed.update(over)
        return over

    def opens_us(self, modality: Modality) -> int | None:
        """Wall time at which it opens by itself, when the last timed mask that reaches it ends; None if it does not."""
        sources = [m for m in MODALITIES if modality in self.reached_by(m)]
        ends = [mask.until.wall_us for m in sources if (mask := self.asked[m].mask) is not None and mask.until]
        if not ends or any(self._own(m, _lapsed(self.asked[m]), max(ends))[0] != "live" for m in sources):
            return None
        return max(ends)

    def uses_wall_time(self) -> bool:
        timed = any(a.mask is not None and a.mask.until is not None for a in self.asked.values())
        return timed or (self.deployment is not None and self.deployment.has_deadline())

    def refusal(self, modalities: tuple[Modality, ...], wall_us: int, may_lift_hard: bool) -> str:
        """Why these may not be unmasked, naming what would help; empty when they may."""
        for m in modalities:
            if (why := self._no_consent_to(m, wall_us)) is not None:
                return why
        if may_lift_hard:
            return ""
        masks = {m: mask for m in modalities if (mask := self.asked[m].mask) is not None}
        if hard := [m for m, mask in masks.items() if mask.gate == "hard" and not mask.local]:
            return (
                f"{', '.join(hard)} is masked hard: nothing on a bus can undo that; press the local button, or run "
                "edge-mer unmask as root on this host"
            )
        return "; ".join(f"{m} is {mask.by}" for m, mask in masks.items() if mask.local)

    def reached_by(self, modality: Modality) -> frozenset[Modality]:
        """What a mask of ``modality`` masks: itself, and text that was transcribed from it."""
        return masked_with(modality, self._transcribed)

    def of(self, modality: Modality, wall_us: int) -> tuple[Gate, str | None]:
        """The strongest mask that reaches ``modality``, and why; why it is live, where nobody unmasked it."""
        sources = [m for m in MODALITIES if modality in self.reached_by(m)]
        found = [(self._own(m, self.asked[m], wall_us), m) for m in sources]
        (gate, reason), source = max(found, key=lambda x: (STRENGTH[x[0][0]], x[1] == modality))
        if gate == "live":
            return "live", None if self._lapsed.isdisjoint(sources) else LAPSED
        return gate, reason if source == modality else f"{reason}, with the {source} that it is made from"

    def _own(self, modality: Modality, asked: Asked, wall_us: int) -> tuple[Gate, str]:
        if asked.mask is not None and asked.mask.gate == "hard":
            return "hard", asked.mask.by
        if (why := self._no_consent_to(modality, wall_us)) is not None:
            return "masked", why
        if asked.mask is not None:
            return asked.mask.gate, asked.mask.by
        return ("live", "") if asked.holding is not None else ("masked", self.never)

    def _no_consent_to(self, modality: Modality, wall_us: int) -> str | None:
        if self.deployment is None:
            return self.no_consent
        why = self.deployment.refusal(modality, wall_us)
        if why is None and modality == "text" and self._recogniser is not None and self._recogniser.scope is not None:
            why = self.deployment.refusal(self._recogniser.scope, wall_us)
        return f"no consent: {why}" if why else None


def _lapsed(asked: Asked) -> Asked:
    """What is left of it once a timed mask has ended."""
    return Asked(None, asked.holding) if asked.mask is not None and asked.mask.until is not None else asked


def _untimed(mask: Mask) -> Mask:
    return msgspec.structs.replace(mask, until=None)
