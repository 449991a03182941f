"""The indicator is on before the device opens and off after it closed; without it the device stays closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.indicator import IndicatorLight, Led, NoIndicator, Program, choose_indicator
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.errors import ConfigError
from tests.switch_bench import BOOT_ID, FakeDevice, SwitchBench


class Lamp:
    """Records calls of the indicator and of the device, in order."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.calls: list[str] = []
        self.works, self.is_slow = True, False

    def turn_on(self) -> bool:
        if self.works and self.calls[-1:] != ["on"]:
            self.calls.append("on")
        return self.works and not self.is_slow

    def turn_off(self) -> None:
        self.calls.append("off")


class RecordedDevice(FakeDevice):
    def __init__(self, clock: FakeClock, lamp: Lamp) -> None:
        super().__init__(clock)
        self._lamp = lamp

    def open(self) -> None:
        super().open()
        self._lamp.calls.append("open")

    def abort(self) -> None:
        super().abort()
        self._lamp.calls.append("close")


class Room:
    def __init__(self, directory: Path, lamp: Lamp) -> None:
        self.bench, self.lamp = SwitchBench(directory), lamp
        self.device = RecordedDevice(self.bench.clock, lamp)
        self.state = self.bench.bus().reader("state/video")
        source = GatedSource(
            self.bench.config, self.bench.bus("life"), "camera", "video", self.device, boot_id=BOOT_ID, indicator=lamp
        )
        self.worker = CaptureWorker(source)
        self.bench.turn(self.worker)


@pytest.fixture
def lamp() -> Lamp:
    return Lamp()


def test_on_before_it_opens_and_off_after_it_closed(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.bench.ask("mask", "video")
    room.bench.turn(room.worker)
    assert lamp.calls[-4:] == ["on", "open", "close", "off"]


def test_a_mask_while_the_indicator_turns_on_turns_it_off(tmp_path: Path, lamp: Lamp) -> None:
    lamp.is_slow = True
    room = Room(tmp_path, lamp)
    room.bench.ask("mask", "video")
    room.bench.turn(room.worker)
    assert "open" not in lamp.calls
    assert lamp.calls[-2:] == ["on", "off"]


def test_it_stays_on_until_the_device_is_released(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.device.stuck = True
    room.bench.ask("mask", "video")
    room.bench.turn(room.worker)
    assert lamp.calls[-1] == "close"


def test_a_handle_in_proc_counts_as_open(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.device.held = ("/dev/video0",)
    room.bench.ask("mask", "video")
    room.bench.turn(room.worker)
    assert room.bench.answers() == []
    assert lamp.calls[-1] == "close"
    room.device.held = ()
    room.bench.turn(room.worker)
    assert room.bench.answers()[0].ok
    assert lamp.calls[-1] == "off"


def test_a_failed_indicator_keeps_the_device_closed_with_a_reason(tmp_path: Path, lamp: Lamp) -> None:
    lamp.works, lamp.fault = False, "the LED is gone"
    room = Room(tmp_path, lamp)
    room.bench.run(2 * SECOND, room.worker)
    assert room.device.opened == 0
    newest = room.state.read_latest("state/video", SECOND).body
    assert (newest.health, newest.reason) == ("absent", "the LED is gone")
    lamp.works = True
    room.bench.run(SECOND, room.worker)
    assert room.device.opened == 1


def test_closing_the_worker_turns_the_indicator_off(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.worker.close()
    assert lamp.calls[-2:] == ["close", "off"]


class TestLed:
    @pytest.fixture
    def led(self, tmp_path: Path) -> Path:
        (tmp_path / "red").mkdir()
        (tmp_path / "red" / "max_brightness").write_text("255\n")
        (tmp_path / "red" / "brightness").write_text("0\n")
        return tmp_path / "red"

    def test_brightness_is_written_and_read_back(self, led: Path) -> None:
        lamp = Led(led)
        assert lamp.turn_on()
        assert (led / "brightness").read_text() == "255"
        lamp.turn_off()
        assert (led / "brightness").read_text() == "0"

    def test_a_missing_led_is_a_fault(self, led: Path) -> None:
        lamp = Led(led)
        (led / "max_brightness").unlink()
        assert not lamp.turn_on()
        assert "red cannot be switched on" in (lamp.fault or "")


class TestProgram:
    def program(self, tmp_path: Path, body: str) -> Program:
        script = tmp_path / "lamp"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o700)
        return Program(str(script), "video", FakeClock())

    def until_ended(self, program: Program) -> bool:
        if program.turn_on():
            return True
        if program._running is None:  # it ended at once
            return False
        program._running.wait()
        return program.turn_on()

    def test_it_is_called_with_the_modality_and_on_or_off(self, tmp_path: Path) -> None:
        program = self.program(tmp_path, f'echo "$@" >> {tmp_path}/calls')
        assert self.until_ended(program)
        assert program.turn_on(), "a second call does not start the program again"
        program.turn_off()
        assert program._running is not None
        program._running.wait()
        assert (tmp_path / "calls").read_text() == "video on\nvideo off\n"

    def test_a_program_that_fails_is_a_fault(self, tmp_path: Path) -> None:
        program = self.program(tmp_path, "exit 3")
        assert not self.until_ended(program)
        assert "ended with 3" in (program.fault or "")
        assert program._running is None

    def test_a_missing_program_is_a_fault(self, tmp_path: Path) -> None:
        program = Program(str(tmp_path / "none"), "video", FakeClock())
        assert not program.turn_on()
        assert "cannot be started" in (program.fault or "")


@pytest.mark.parametrize(
    ("setting", "kind"), [(None, NoIndicator), ("led:red", Led), ("command:/usr/bin/lamp", Program)]
)
def test_the_setting_selects_the_kind(setting: str | None, kind: type[IndicatorLight]) -> None:
    config = Config.model_validate({"indicator": {"video": setting}})
    assert isinstance(choose_indicator(config, "video", FakeClock()), kind)
    assert isinstance(choose_indicator(config, "audio", FakeClock()), NoIndicator)


@pytest.mark.parametrize("setting", ["lamp", "led:", "bell:x"])
def test_a_setting_of_unknown_kind_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"indicator\.video"):
        choose_indicator(Config.model_validate({"indicator": {"video": setting}}), "video", FakeClock())
