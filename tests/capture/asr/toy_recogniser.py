"""Two toy recognisers: a local one that counts bytes, and a remote one. ``EDGE_MER_RECOGNISERS`` names this module.

``python -m tests.capture.asr.toy_recogniser STATE`` chooses and runs them, and prints the results as JSON.
"""

from __future__ import annotations

import datetime
import json
import select
import sys
from typing import Any

from edge_mer.contract.messages import WordTime
from edge_mer.contract.recognisers import RecogniserRow

ROWS = (
    RecogniserRow(name="counter", module="tests.capture.asr.toy_recogniser", languages=("en", "de")),
    RecogniserRow(
        name="cloud",
        module="tests.capture.asr.toy_recogniser",
        source="cloud",
        argument="wyoming",
        server="cloud",
        leaves_host=True,
        scope="cloud",
        question="May audio be sent to {server}?",
        consent="audio sent to a cloud",
    ),
)


class Counter:
    def begin(self) -> None:
        self.bytes = 0

    def feed(self, pcm: bytes) -> None:
        self.bytes += len(pcm)

    def partial(self) -> tuple[WordTime, ...] | None:
        return None

    def end(self) -> tuple[WordTime, ...]:
        return (WordTime(f"{self.bytes}", 0, 1),)


def load(argument: str | None) -> Counter:
    return Counter()


def words_of(choice: Any) -> list[str]:
    """The words that the real child recognises in three blocks of audio."""
    from edge_mer.capture.asr.child import BEGIN, END, PIECE
    from edge_mer.capture.asr.process import AsrProcess

    child = AsrProcess(choice)
    try:
        child.send(BEGIN, 1)
        for _ in range(3):
            child.send(PIECE, 1, bytes(1024))
        child.send(END, 1)
        while True:
            select.select([child.wake], [], [], 30)
            found = child.receive()
            if found or not child.alive:
                return [w.text for hypothesis in found for w in hypothesis.words]
    finally:
        child.kill()


def main(state: str) -> dict[str, Any]:
    from edge_mer.capture.asr.recogniser import choose
    from edge_mer.cli.consent import _questions
    from edge_mer.config import Config
    from edge_mer.contract.clock import SystemClock
    from edge_mer.contract.errors import ConfigError
    from edge_mer.contract.recognisers import is_from_microphone
    from edge_mer.privacy.consent.consent_file import deployment_path, in_words, read_deployment
    from edge_mer.privacy.consent_setup import agree
    from edge_mer.privacy.switch.mask_policy import MaskPolicy

    def config(**text: str) -> Config:
        return Config.model_validate({"text": text, "privacy": {"state": state}})

    here, away = config(engine="counter"), config(source="cloud", wyoming="nas:1")
    try:
        refused = str(choose(away))
    except ConfigError as error:
        refused = str(error)
    agree(state, ("audio", "text"), "Anna", datetime.date(2026, 11, 21))
    policy = MaskPolicy(away, {}, "never")
    policy.deployment = read_deployment(deployment_path(away))
    without = policy.refusal(("text",), 0, False)
    agree(state, ("audio", "text", "cloud"), "Anna", datetime.date(2026, 11, 21))  # type: ignore[arg-type]
    policy.deployment = read_deployment(deployment_path(away))
    return {
        "words": words_of(choose(here)),
        "refused": refused,
        "without": without,
        "with": policy.refusal(("text",), 0, False),
        "reached": sorted(policy.reached_by("audio")),
        "choice": choose(away).argument,
        "questions": [question for _, question in _questions(away)],
        "status": in_words(policy.deployment, SystemClock().wall_us())[-1],
        "erased_with_audio": is_from_microphone("cloud", "pocketsphinx"),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
