"""What is asked of each modality: consent, masks, and the lineage along which a mask spreads. No I/O."""

from __future__ import annotations

from edge_mer.config import Config
from edge_mer.domain import MODALITIES, Gate, Modality
from edge_mer.services import masked_with

STRENGTH: dict[Gate, int] = {"live": 0, "masked": 1, "hard": 2}


class Demand:
    """Masks stay apart by the modality they were asked for: lifting the microphone's leaves the transcript's own."""

    def __init__(self, config: Config) -> None:
        consent, source = config.privacy.consent, config.text.source
        # A Wyoming server gets the household's speech, so text through it needs the consent row of its own.
        sent_away = source == "wyoming" and "wyoming" not in consent
        self._consent = frozenset(m for m in MODALITIES if m in consent and not (m == "text" and sent_away))
        self._transcribed = source in ("asr", "wyoming")
        self._asked: dict[Modality, tuple[Gate, str]] = dict.fromkeys(MODALITIES, ("live", ""))

    def mask(self, modality: Modality, requester: str, hard: bool) -> None:
        gate: Gate = "hard" if hard else "masked"
        if STRENGTH[self._asked[modality][0]] < STRENGTH[gate]:
            self._asked[modality] = (gate, f"masked by {requester}")

    def unmask(self, modality: Modality) -> None:
        self._asked[modality] = ("live", "")

    def refusal(self, modalities: tuple[Modality, ...]) -> str:
        """Why these may not be unmasked, naming what would help; empty when they may."""
        if missing := [m for m in modalities if m not in self._consent]:
            return f"no consent for {', '.join(missing)}: the householder names it in privacy.consent"
        if hard := [m for m in modalities if self._asked[m][0] == "hard"]:
            return f"{', '.join(hard)} is masked hard: nothing on the bus can undo that; restart on this host"
        return ""

    def reached_by(self, modality: Modality) -> frozenset[Modality]:
        """What a mask of ``modality`` masks: itself, and the words that were made from it."""
        return masked_with(modality, self._transcribed)

    def of(self, modality: Modality) -> tuple[Gate, str | None]:
        """The strongest mask that reaches ``modality``, and why."""
        if modality not in self._consent:
            return "masked", "no consent: privacy.consent does not name it"
        reaching = [m for m in MODALITIES if modality in self.reached_by(m)]
        source = max(reaching, key=lambda m: (STRENGTH[self._asked[m][0]], m == modality))
        gate, reason = self._asked[source]
        if gate == "live":
            return "live", None
        return gate, reason if source == modality else f"{reason}, with the {source} that it is made from"
