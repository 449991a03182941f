"""The light is on before the device opens and off after it closed; without the light the device stays closed."""

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
    """Notes what it is told, and what the device did, in order."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.told: list[str] = []
        self.works, self.is_slow = True, False

    def light(self) -> bool:
        if self.works and self.told[-1:] != ["on"]:
            self.told.append("on")
        return self.works and not self.is_slow

    def dark(self) -> None:
        self.told.append("off")


class NotedDevice(FakeDevice):
    def __init__(self, clock: FakeClock, lamp: Lamp) -> None:
        super().__init__(clock)
        self._lamp = lamp

    def open(self) -> None:
        super().open()
        self._lamp.told.append("open")

    def abort(self) -> None:
        super().abort()
        self._lamp.told.append("close")


class Room:
    def __init__(self, directory: Path, lamp: Lamp) -> None:
        self.house, self.lamp = SwitchBench(directory), lamp
        self.device = NotedDevice(self.house.clock, lamp)
        self.state = self.house.bus().reader("state/video")
        source = GatedSource(
            self.house.config, self.house.bus("life"), "camera", "video", self.device, boot_id=BOOT_ID, indicator=lamp
        )
        self.worker = CaptureWorker(source)
        self.house.turn(self.worker)


@pytest.fixture
def lamp() -> Lamp:
    return Lamp()


def test_on_before_it_opens_and_off_after_it_closed(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.house.ask("mask", "video")
    room.house.turn(room.worker)
    assert lamp.told[-4:] == ["on", "open", "close", "off"]


def test_a_light_that_is_on_its_way_when_a_mask_comes_goes_out(tmp_path: Path, lamp: Lamp) -> None:
    lamp.is_slow = True
    room = Room(tmp_path, lamp)
    room.house.ask("mask", "video")
    room.house.turn(room.worker)
    assert "open" not in lamp.told
    assert lamp.told[-2:] == ["on", "off"]


def test_it_stays_on_while_a_device_does_not_release(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.device.stuck = True
    room.house.ask("mask", "video")
    room.house.turn(room.worker)
    assert lamp.told[-1] == "close"


def test_a_handle_that_the_kernel_still_shows_is_not_closed(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.device.held = ("/dev/video0",)
    room.house.ask("mask", "video")
    room.house.turn(room.worker)
    assert room.house.answers() == []
    assert lamp.told[-1] == "close"
    room.device.held = ()
    room.house.turn(room.worker)
    assert room.house.answers()[0].ok
    assert lamp.told[-1] == "off"


def test_without_the_light_the_device_stays_closed_and_says_why(tmp_path: Path, lamp: Lamp) -> None:
    lamp.works, lamp.fault = False, "the LED is gone"
    room = Room(tmp_path, lamp)
    room.house.run(2 * SECOND, room.worker)
    assert room.device.opened == 0
    newest = room.state.read_latest("state/video", SECOND).body
    assert (newest.health, newest.reason) == ("absent", "the LED is gone")
    lamp.works = True
    room.house.run(SECOND, room.worker)
    assert room.device.opened == 1


def test_the_light_goes_out_at_the_end_of_the_process(tmp_path: Path, lamp: Lamp) -> None:
    room = Room(tmp_path, lamp)
    room.worker.close()
    assert lamp.told[-2:] == ["close", "off"]


class TestLed:
    @pytest.fixture
    def led(self, tmp_path: Path) -> Path:
        (tmp_path / "red").mkdir()
        (tmp_path / "red" / "max_brightness").write_text("255\n")
        (tmp_path / "red" / "brightness").write_text("0\n")
        return tmp_path / "red"

    def test_it_is_written_and_read_back(self, led: Path) -> None:
        lamp = Led(led)
        assert lamp.light()
        assert (led / "brightness").read_text() == "255"
        lamp.dark()
        assert (led / "brightness").read_text() == "0"

    def test_one_that_is_gone_is_a_fault(self, led: Path) -> None:
        lamp = Led(led)
        (led / "max_brightness").unlink()
        assert not lamp.light()
        assert "red cannot be switched on" in (lamp.fault or "")


class TestProgram:
    def program(self, tmp_path: Path, body: str) -> Program:
        script = tmp_path / "lamp"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o700)
        return Program(str(script), "video", FakeClock())

    def until_ended(self, program: Program) -> bool:
        if program.light():
            return True
        if program._running is None:  # it ended at once
            return False
        program._running.wait()
        return program.light()

    def test_it_is_called_with_the_modality_and_on_or_off(self, tmp_path: Path) -> None:
        program = self.program(tmp_path, f'echo "$@" >> {tmp_path}/said')
        assert self.until_ended(program)
        assert program.light(), "asked again it is still on, without another call"
        program.dark()
        assert program._running is not None
        program._running.wait()
        assert (tmp_path / "said").read_text() == "video on\nvideo off\n"

    def test_one_that_fails_is_a_fault_and_tried_again_later(self, tmp_path: Path) -> None:
        program = self.program(tmp_path, "exit 3")
        assert not self.until_ended(program)
        assert "ended with 3" in (program.fault or "")
        assert program._running is None

    def test_one_that_does_not_exist_is_a_fault(self, tmp_path: Path) -> None:
        program = Program(str(tmp_path / "none"), "video", FakeClock())
        assert not program.light()
        assert "cannot be started" in (program.fault or "")


@pytest.mark.parametrize(
    ("setting", "kind"), [(None, NoIndicator), ("led:red", Led), ("command:/usr/bin/lamp", Program)]
)
def test_the_setting_chooses(setting: str | None, kind: type[IndicatorLight]) -> None:
    config = Config.model_validate({"indicator": {"video": setting}})
    assert isinstance(choose_indicator(config, "video", FakeClock()), kind)
    assert isinstance(choose_indicator(config, "audio", FakeClock()), NoIndicator)


@pytest.mark.parametrize("setting", ["lamp", "led:", "bell:x"])
def test_a_setting_of_no_kind_is_named(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"indicator\.video"):
        choose_indicator(Config.model_validate({"indicator": {"video": setting}}), "video", FakeClock())
