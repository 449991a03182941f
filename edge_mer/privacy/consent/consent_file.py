"""The deployment file: whose home this is, and who agreed to what until when. Without consent nothing opens."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
from msgspec import Struct, field

from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.errors import ConsentError
from edge_mer.contract.recognisers import SCOPES, Scope
from edge_mer.host.files import state_path, write_atomic

FILE = "deployment.toml"
# What one can agree to: each modality, that sound is sent to a recogniser elsewhere, that a history is kept, and that
# the level of voice is shared with a house of rooms.
HISTORY: Literal["history"] = "history"
HOUSE: Literal["house"] = "house"
_SCOPES = (*MODALITIES, HISTORY, HOUSE, *SCOPES)
if TYPE_CHECKING:
    ConsentScope = Modality | Scope | Literal["history", "house"]
else:
    ConsentScope = Literal[_SCOPES]
CONSENT_SCOPES: tuple[ConsentScope, ...] = get_args(ConsentScope)
HOW = f"run edge-mer consent in a terminal, or edge-mer consent {','.join(MODALITIES)}"
NAMES: dict[str, str] = {HISTORY: "history of hourly shares", HOUSE: "level of voice, shared with the house"}
PROHIBITED = ("workplace", "education")
LAW = (
    "inferring emotions at work or in education is prohibited in the European Union: Regulation (EU) 2024/1689 "
    "(AI Act), Article 5(1)(f), https://eur-lex.europa.eu/eli/reg/2024/1689/oj. edge_mer is for homes and does not "
    "run there; a home where somebody is employed is that person's workplace too, so mask it while they work"
)


TEMPLATE = """\
# Who in this home agreed to what, until when. Edit it, or run edge-mer consent.
place = "home"
resume = false  # true: after a restart, what was live is live again

[hub]
may_unmask = []  # masking needs no permission
"""


class Consent(Struct, frozen=True, forbid_unknown_fields=True):
    """One person's consent to one matter. It ends at the end of the day ``until`` (local time), if that is set."""

    matter: ConsentScope
    who: str
    given: datetime.date
    until: datetime.date | None = None

    def end_us(self) -> int | None:
        """Wall time at which it is over."""
        if self.until is None:
            return None
        midnight = datetime.datetime.combine(self.until + datetime.timedelta(days=1), datetime.time())
        return round(midnight.timestamp() * SECOND)


class HubConsent(Struct, frozen=True, forbid_unknown_fields=True):
    """What a paired hub may unmask; masking needs no leave."""

    may_unmask: tuple[Modality, ...] = ()


class Deployment(Struct, frozen=True, forbid_unknown_fields=True):
    """``resume``: after a restart of the switch or of the host, what was live is live again."""

    place: str
    resume: bool = False
    hub: HubConsent = field(default_factory=HubConsent)
    consent: tuple[Consent, ...] = ()

    def refusal(self, matter: ConsentScope, wall_us: int) -> str | None:
        """Why there is no consent now; None when there is. Everybody who is named must still agree."""
        rows = [c for c in self.consent if c.matter == matter]
        if not rows:
            return f"nobody in this home agreed to {matter}"
        for row in rows:
            end = row.end_us()
            if end is not None and wall_us >= end:
                return f"{row.who}'s consent to {matter} ended on {row.until}"
        return None

    def has_deadline(self) -> bool:
        return any(c.until is not None for c in self.consent)


def deployment_path(config: Config) -> Path:
    return state_path(config.privacy.state) / FILE


def read_deployment(path: Path) -> Deployment:
    """Raises ConsentError when it is missing, damaged, or about a place where edge_mer does not run."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Deployment)
    except FileNotFoundError:
        raise ConsentError(f"nobody has agreed to anything yet ({path} does not exist); {HOW}") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise ConsentError(f"{path}: {error}; mend it, or erase it and {HOW}") from error
    check_place(found.place)
    return found


def check_place(place: str) -> None:
    """Raises ConsentError for any place but a home."""
    if place in PROHIBITED:
        raise ConsentError(f"place = {place!r}: {LAW}")
    if place != "home":
        raise ConsentError(f"place = {place!r}: edge_mer runs in homes only (place = 'home'); {LAW}")


def write_deployment(path: Path, deployment: Deployment) -> None:
    check_place(deployment.place)
    write_atomic(path, in_toml(deployment).encode())


def in_toml(deployment: Deployment) -> str:
    import tomlkit  # the workers only read the file

    document = tomlkit.parse(TEMPLATE)
    document["place"], document["resume"] = deployment.place, deployment.resume
    hub: Any = document["hub"]
    hub["may_unmask"] = list(deployment.hub.may_unmask)
    rows = tomlkit.aot()
    for consent in deployment.consent:
        values = {"matter": consent.matter, "who": consent.who, "given": consent.given, "until": consent.until}
        rows.append(tomlkit.item({key: value for key, value in values.items() if value is not None}))
    if deployment.consent:
        document["consent"] = rows
    return tomlkit.dumps(document)


def in_words(deployment: Deployment, wall_us: int) -> list[str]:
    """One line per matter, for people."""
    lines = []
    for matter in CONSENT_SCOPES:
        what = SCOPES[matter].consent if matter in SCOPES else NAMES.get(matter, matter)
        rows = [c for c in deployment.consent if c.matter == matter]
        said = "; ".join(f"{c.who} agreed on {c.given}{f', until {c.until}' if c.until else ''}" for c in rows)
        refusal = deployment.refusal(matter, wall_us)
        over = f" (over: {refusal})" if rows and refusal else ""
        lines.append(f"{what}: {said or 'nobody agreed'}{over}")
    return lines


def agreed(config: Config, wall_us: int) -> frozenset[ConsentScope]:
    """What there is consent to now; nothing when the deployment file is missing or damaged."""
    try:
        deployment = read_deployment(deployment_path(config))
    except ConsentError:
        return frozenset()
    return frozenset(m for m in CONSENT_SCOPES if deployment.refusal(m, wall_us) is None)


def home_consent(
    who: str | None, matters: tuple[ConsentScope, ...], today: datetime.date, until: datetime.date | None = None
) -> Deployment:
    """A home where one person agreed to ``matters``; ``who`` None is the user of this account."""
    name = who or os.environ.get("USER") or f"user {os.getuid()}"
    return Deployment("home", consent=tuple(Consent(m, name, today, until) for m in matters))
