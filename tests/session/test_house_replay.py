"""A house session is the rooms' sessions and the house's journal: the same voices again, or the first difference."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.cli.main import app
from edge_mer.config import Config
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import SessionError
from edge_mer.contract.house import VOICE_STEP_US, RoomInput, Voice
from edge_mer.contract.messages import Message
from edge_mer.gateway.house.journal import Journalled
from edge_mer.session.house_replay import verify_house
from edge_mer.session.recorder import opening
from edge_mer.session.writer import SessionWriter
from tests.gateway.house.test_binding import CHUNK, utterances

ROOMS = {"near": (0, 1), "far": (-20, 2)}
OFFSETS = {"near": 5_000_000_000, "far": -777_000_000}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of two rooms and of the house that heard them."""
    place, clock = tmp_path_factory.mktemp("house"), FakeClock()
    heard = {name: utterances(range(4), gain, noise) for name, (gain, noise) in ROOMS.items()}
    voices = {name: MemoryBus(MemoryBroker(), clock).publisher("voice", "voice") for name in ROOMS}
    binding = MemoryBus(MemoryBroker(), clock).publisher("binding", "house")
    live, made = Journalled(), {name: list[Message[Any]]() for name in (*ROOMS, "house")}
    begin = clock.now_us()
    for step in range(0, len(heard["near"]), CHUNK):
        clock.advance(CHUNK * VOICE_STEP_US)
        for name, levels in heard.items():
            at = begin + step * VOICE_STEP_US - OFFSETS[name]
            message = voices[name].send(Voice(levels=levels[step : step + CHUNK], mask_epoch=0), origin_us=at)
            made[name].append(message)
            live.take(RoomInput(name, message.ref, OFFSETS[name], 20_000), message)
        _, entry = live.tick(clock.now_us())
        made["house"].append(binding.send(entry, origin_us=clock.now_us()))
    return {name: written(place / f"{name}.mcap", messages) for name, messages in made.items()}


def written(path: Path, messages: Iterable[Message[Any]]) -> Path:
    writer = SessionWriter(path, opening(Config(), MemoryBus(MemoryBroker(), FakeClock())))
    for message in messages:
        writer.add(message, message.envelope.created_us)
    writer.flush()
    writer.abandon()
    return path


def rooms(sessions: dict[str, Path]) -> dict[str, Path]:
    return {name: sessions[name] for name in ROOMS}


def test_house_replays_exactly(sessions: dict[str, Path]) -> None:
    report = verify_house(sessions["house"], rooms(sessions))
    assert report.lives == 1
    assert report.entries > 50
    assert [v.room for v in report.voices] == ["near"] * 4


def test_missing_room_and_missing_message_are_named(sessions: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="far took part in the house"):
        verify_house(sessions["house"], {"near": sessions["near"]})
    with pytest.raises(SessionError, match="of near is missing"):
        verify_house(
            sessions["house"],
            {"near": sessions["far"], "far": sessions["near"]} | {"near": written(tmp_path / "x.mcap", [])},
        )
    with pytest.raises(SessionError, match="no journal of a house"):
        verify_house(sessions["near"], rooms(sessions))


def test_command_says_what_is_identical(sessions: dict[str, Path]) -> None:
    named = [f"{name}={path}" for name, path in rooms(sessions).items()]
    done = CliRunner().invoke(app, ["house", "verify", str(sessions["house"]), *named])
    assert done.exit_code == 0, done.output
    assert "4 voices" in done.output
    assert CliRunner().invoke(app, ["house", "verify", str(sessions["house"]), "near"]).exit_code == 2
