"""Personal neutral: learnt by command, never from masked data, erasable, and in the journal for the replay."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.cli.main import app
from edge_mer.config import Config
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.errors import ModelError
from edge_mer.fusion.baseline import Learning, Neutral, learn, learnt, moved, personal, shifts
from edge_mer.fusion.baseline_file import FILE, erase, read, write
from edge_mer.fusion.journal import opening_of
from edge_mer.fusion.node import own_neutral
from edge_mer.fusion.replay import replay
from edge_mer.fusion.window import TokenWindow
from tests.fusion.scene import HashModel, Scene, result, sensor, tokens
from tests.fusion.test_calibration import ConstantBackend
from tests.fusion.test_node import RUNTIME, FusionStage

DATE = "2026-11-21"


def learnt_from(*messages: Any) -> dict[Any, Learning]:
    state: dict[Any, Learning] = {}
    for message in messages:
        state = learn(state, message)
    return state


def speech(n: int = 100, epoch: int = 3, **more: Any) -> Any:
    return tokens("audio", [125_000 * (i + 1) for i in range(n)], epoch=epoch, **more)


def test_mean_of_valid_tokens_is_learnt() -> None:
    message, silence = speech(), speech(50, valid=False)
    found, lacking = learnt(learnt_from(message, silence), DATE)
    assert found["audio"].tokens == 100
    assert found["audio"].level == pytest.approx(message.payload[0].astype(np.float64).mean(0))
    assert lacking == ["video: 0 usable tokens, expected at least 50 (10 s)"]


@pytest.mark.parametrize(
    "mask",
    [
        sensor("audio", "masked", "absent", 4),
        sensor("audio", "hard", "absent", 4),
        sensor("audio", "live", "ok", 5),  # masked and live again between two messages
        speech(1, epoch=5),
        speech(1, model="another encoder"),
    ],
)
def test_mask_during_learning_discards_the_modality(mask: Any) -> None:
    state = learnt_from(speech(), mask, speech(), speech(epoch=5))
    left = state["audio"]
    assert (left.spoiled, left.total, left.tokens) == (True, None, 0), "not one number of it is left"
    found, lacking = learnt(state, DATE)
    assert found == {}
    assert lacking[0].startswith("audio: it was masked")


def test_too_few_tokens_are_not_learnt() -> None:
    found, lacking = learnt(learnt_from(speech(19)), DATE)
    assert found == {}
    assert lacking[0] == "audio: 19 usable tokens, expected at least 20 (10 s)"


def test_audio_moves_half_of_the_way_to_the_neutral_of_the_calibration() -> None:
    own = {"audio": Neutral((2.0, 4.0), 100, "ea", DATE)}
    way = shifts(own, {"audio": (0.0, 0.0)}, HashModel.encoders)  # type: ignore[arg-type]
    assert moved("audio", np.array([[2.0, 4.0]], np.float32), way["audio"]).tolist() == [[1.0, 2.0]]


def test_baseline_of_other_encoders_is_not_used() -> None:
    own = {"audio": Neutral((2.0,), 100, "old", DATE), "video": Neutral((1.0,) * 7, 60, "ev", DATE)}
    neutral = {"audio": (0.0,), "video": (0.0,) * 6}
    assert shifts(own, neutral, HashModel.encoders) == {}  # type: ignore[arg-type]


@given(st.integers(0, 99), st.lists(st.floats(0.1, 10), min_size=7, max_size=7))
def test_a_moved_face_is_still_a_posterior(seed: int, shift: list[float]) -> None:
    faces = np.random.default_rng(seed).dirichlet(np.ones(7), 5).astype(np.float32)
    after = moved("video", faces, tuple(shift))
    assert after.sum(1) == pytest.approx(np.ones(5), abs=1e-5)
    assert (after > 0).all()


def test_empty_slots_of_a_window_stay_zero() -> None:
    values, mask = np.zeros((4, 2), np.float32), np.array([0, 0, 1, 1], np.float32)
    window = TokenWindow(values, mask, np.zeros(4, np.float32), 2, 0, True, None)
    assert personal("audio", window, (1.0, 2.0)).values.tolist() == [[0, 0], [0, 0], [1, 2], [1, 2]]
    assert personal("audio", window, None) is window
    assert window.values.max() == 0, "the fold's own tokens are not touched"


def test_file_is_private_and_erasing_removes_it(tmp_path: Path) -> None:
    made = {"audio": Neutral((0.5, -1.0), 100, "ea", DATE)}
    path = write(tmp_path, made)  # type: ignore[arg-type]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(tmp_path) == made
    assert erase(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert read(tmp_path) == {}
    assert not erase(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"audio": 1}', b'{"smell": {}}'])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ModelError, match="edge-mer baseline erase"):
        read(tmp_path)


def test_baseline_is_used_only_if_configured_and_a_damaged_one_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    model: Any = ConstantBackend()
    model.neutral, model.encoders = {"audio": (0.0, 0.0, 0.0, 0.0)}, HashModel.encoders
    write(tmp_path, {"audio": Neutral((1.0, 1.0, 1.0, 1.0), 100, "ea", DATE)})

    def shifts_with(**fusion: Any) -> Any:
        return own_neutral(Config.model_validate({"privacy": {"state": str(tmp_path)}, "fusion": fusion}), model)

    assert shifts_with() == ({}, ())
    assert shifts_with(baseline=True) == ({"audio": (-0.5,) * 4}, ())
    write(tmp_path, {"audio": Neutral((1.0,) * 4, 100, "old", DATE)})
    assert shifts_with(baseline=True) == (
        {},
        ("fusion.baseline: audio was learnt with other models; run: edge-mer baseline learn",),
    )
    (tmp_path / FILE).write_bytes(b"{")
    used, messages = shifts_with(baseline=True)
    assert used == {}
    assert "damaged" in messages[0]
    erase(tmp_path)
    assert "nothing was learnt" in shifts_with(baseline=True)[1][0]


def test_baseline_changes_estimates_of_its_modality_only() -> None:
    plain, own = Scene(), Scene(msgspec.structs.replace(Scene().settings, baseline={"audio": (1.0,) * 4}))
    assert result(plain.settle("audio")) != result(own.settle("audio"))
    plain, own = Scene(), Scene(msgspec.structs.replace(Scene().settings, baseline={"audio": (1.0,) * 4}))
    assert result(plain.settle("video")) == result(own.settle("video"))


def test_replay_takes_the_baseline_from_the_journal() -> None:
    class Personal(FusionStage):
        def start(self) -> None:
            from edge_mer.fusion.node import FusionNode

            self.node_bus = MemoryBus(self.broker, self.clock)
            own = {"audio": (0.1, -0.2, 0.3, 1 / 3)}
            self.node = FusionNode(self.node_bus, Config(), HashModel(), RUNTIME, baseline=own)  # type: ignore[arg-type]

    clock = FakeClock()
    stage = Personal(clock, MemoryBroker())
    for hop in range(8):
        ends = [clock.now_us() - 400_000 + 125_000 * i for i in range(4)]
        stage.send(tokens("audio", ends, hop))
        clock.advance(500_000)
        stage.turn()
    opening = opening_of(stage.entries[0].body)
    assert opening is not None
    assert opening.settings.baseline == {"audio": (0.1, -0.2, 0.3, 1 / 3)}
    again = [d for r in replay(stage.entries, stage.recorded.get, lambda name: HashModel()) for d in r.digests]
    assert again == [d for e in stage.entries for d in e.body.results]
    assert any(m.body.combination == "a" for m in stage.results)


def test_the_commands_show_and_erase(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    write(tmp_path, {"audio": Neutral((1.0,), 100, "ea", DATE)})
    config = tmp_path / "c.toml"
    config.write_text(f'[privacy]\nstate = "{tmp_path}"\n')
    shown = CliRunner().invoke(app, ["baseline", "show", "--config", str(config)])
    assert f"audio: 100 tokens on {DATE}" in shown.output
    assert "fusion.baseline = false" in shown.output
    gone = CliRunner().invoke(app, ["baseline", "erase", "--config", str(config)])
    assert gone.exit_code == 0
    assert "journal" in gone.output, "remaining copies are named"
    assert not (tmp_path / FILE).exists()
    assert "no baseline is stored" in CliRunner().invoke(app, ["baseline", "show", "--config", str(config)]).output
