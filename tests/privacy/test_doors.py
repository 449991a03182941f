"""The ways in that are not the bus: root's socket, and the local button. Only they lift a hard mask."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_mer.client import SwitchClient
from edge_mer.config import Config
from edge_mer.contract.clock import FakeClock
from edge_mer.contract.control import Answer
from edge_mer.contract.domain import MODALITIES
from edge_mer.contract.errors import ConfigError, MissingExtra, PrivacyError
from edge_mer.privacy.switch.button import KeyboardButton, Press, open_button
from edge_mer.privacy.switch.root_socket import RootSocket, peer_uid
from edge_mer.privacy.switch.switch import Switch, SwitchInputs
from tests.privacy.test_memory import requested
from tests.switch_bench import BOOT_ID, SwitchBench


class FakeButton:
    wake: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.pressed: list[Press] = []

    def presses(self) -> list[Press]:
        found, self.pressed = self.pressed, []
        return found

    def close(self) -> None:
        return None


class TestButton:
    @pytest.fixture
    def button(self) -> FakeButton:
        return FakeButton()

    @pytest.fixture
    def bench(self, tmp_path: Path, button: FakeButton) -> SwitchBench:
        return SwitchBench(tmp_path, button=button)

    def press(self, bench: SwitchBench, button: FakeButton, press: Press) -> dict[str, str]:
        button.pressed.append(press)
        bench.turn()
        return requested(bench)

    def test_a_short_press_masks_everything_and_another_lifts_it(self, bench: SwitchBench, button: FakeButton) -> None:
        assert self.press(bench, button, "short") == dict.fromkeys(MODALITIES, "masked")
        assert self.press(bench, button, "short") == dict.fromkeys(MODALITIES, "live")

    def test_one_open_sensor_is_enough_for_a_press_to_mask(self, bench: SwitchBench, button: FakeButton) -> None:
        bench.ask("mask", "video")
        bench.turn()
        assert self.press(bench, button, "short") == dict.fromkeys(MODALITIES, "masked")

    def test_a_long_press_masks_hard_which_no_bus_lifts_but_the_button_does(
        self, bench: SwitchBench, button: FakeButton
    ) -> None:
        assert self.press(bench, button, "long") == dict.fromkeys(MODALITIES, "hard")
        bench.ask("unmask", "audio")
        bench.turn()
        assert "local button" in bench.answers()[-1].text
        assert requested(bench) == dict.fromkeys(MODALITIES, "hard")
        assert self.press(bench, button, "short") == dict.fromkeys(MODALITIES, "live")

    def test_no_button_opens_what_nobody_agreed_to(self, tmp_path: Path, button: FakeButton) -> None:
        bench = SwitchBench(tmp_path, deployment=None, button=button)
        assert self.press(bench, button, "short") == dict.fromkeys(MODALITIES, "masked")


class FakeLineRequest:
    """A GPIO line without a chip: the events of a test, in gpiod's own type."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        self.events: list[object] = []
        self.is_gone = False

    def wait_edge_events(self, timeout: float) -> bool:
        assert timeout == 0, "the switch never waits for a button"
        return bool(self.events) or self.is_gone

    def read_edge_events(self, most: int) -> list[object]:
        if self.is_gone:
            raise OSError(errno.ENODEV, "no such device")
        found, self.events = self.events[:most], self.events[most:]
        return found

    def release(self) -> None:
        os.close(self.fd)
        os.close(self._write)


class TestSources:
    @pytest.fixture
    def evdev_fifo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A FIFO that answers what evdev asks of a device node by ioctl; it reads the events itself."""
        answers: dict[str, object] = {
            "ioctl_devinfo": (3, 1, 1, 1, "button", "", ""),
            "ioctl_EVIOCGVERSION": 0x10001,
            "ioctl_capabilities": {},
            "ioctl_EVIOCGEFFECTS": 0,
        }
        kernel = pytest.importorskip("evdev")._input
        for name, answer in answers.items():
            monkeypatch.setattr(kernel, name, lambda fd, answer=answer: answer)
        os.mkfifo(tmp_path / "event3")
        return tmp_path / "event3"

    def test_evdev_reads_short_and_long_presses_from_a_fifo_in_place_of_the_device(self, evdev_fifo: Path) -> None:
        button = open_button(f"evdev:{evdev_fifo}")
        assert button is not None
        write = os.open(evdev_fifo, os.O_WRONLY)
        at = lambda s, us, value, kind=1: struct.pack("llHHi", s, us, kind, 113, value)  # noqa: E731
        os.write(write, at(10, 0, 1) + at(10, 0, 0, kind=0) + at(10, 200_000, 0))
        os.write(write, at(20, 0, 1) + at(20, 500_000, 2) + at(21, 500_000, 0))
        os.write(write, at(30, 0, 1) + at(30, 5_000, 0))  # a bounce
        assert button.presses() == ["short", "long"]
        assert button.presses() == []
        assert len(button.wake) == 1
        os.close(write)
        button.close()

    def test_an_unplugged_evdev_button_gives_no_press_and_no_wake(
        self, evdev_fifo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        button = open_button(f"evdev:{evdev_fifo}")
        assert button is not None

        def gone(fd: int) -> None:
            raise OSError(errno.ENODEV, "no such device")

        monkeypatch.setattr(pytest.importorskip("evdev")._input, "device_read_many", gone)
        assert button.presses() == []
        assert button.wake == ()
        button.close()

    @pytest.fixture
    def gpio_line(self, monkeypatch: pytest.MonkeyPatch) -> FakeLineRequest:
        gpiod = pytest.importorskip("gpiod")
        line = FakeLineRequest()

        def request_lines(path: str, config: dict[int, object], consumer: str) -> FakeLineRequest:
            assert (path, consumer) == ("/dev/gpiochip0", "edge_mer")
            assert config == {
                17: gpiod.LineSettings(
                    direction=gpiod.line.Direction.INPUT,
                    edge_detection=gpiod.line.Edge.BOTH,
                    bias=gpiod.line.Bias.PULL_UP,
                    active_low=True,
                )
            }
            return line

        monkeypatch.setattr(gpiod, "request_lines", request_lines)
        return line

    def test_edges_of_a_fake_gpio_line_become_presses(self, gpio_line: FakeLineRequest) -> None:
        gpiod = pytest.importorskip("gpiod")
        button = open_button("gpio:/dev/gpiochip0:17")
        assert button is not None
        assert button.presses() == []
        for at_ns, edge in ((10**9, 1), (11 * 10**8, 2), (20 * 10**8, 1), (31 * 10**8, 2)):
            gpio_line.events.append(gpiod.EdgeEvent(edge, at_ns, 17, 0, 0))
        assert button.presses() == ["short", "long"]
        assert button.wake == (gpio_line.fd,)
        gpio_line.is_gone = True
        assert button.presses() == []
        assert button.wake == ()

    @pytest.mark.parametrize(("source", "extra"), [("evdev:/dev/input/event3", "evdev"), ("gpio:/dev/x:1", "gpio")])
    def test_an_absent_library_is_one_line_that_says_what_to_install(
        self, source: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("evdev", "gpiod"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=rf"is not installed; run: pip install 'edge-mer\[{extra}\]'$"):
            open_button(source)

    def test_a_key_of_the_hosts_own_console(self) -> None:
        master, slave = os.openpty()
        button = open_button(f"keyboard:{os.ttyname(slave)}")
        assert isinstance(button, KeyboardButton)
        os.write(master, b" x hH")
        assert button.presses() == ["short", "short", "long", "long"]
        button.close()

    @pytest.mark.parametrize(
        "source",
        [
            "evdev:/dev/input/none",
            "evdev:/dev/null",
            "gpio:/dev/gpiochip99:1",
            "gpio:/dev/null:1",
            "gpio:x",
            "bell",
            "keyboard:/",
        ],
    )
    def test_a_button_that_cannot_be_opened_is_named(self, source: str) -> None:
        pytest.importorskip({"evdev": "evdev", "gpio": "gpiod"}.get(source.partition(":")[0], "os"))
        with pytest.raises(ConfigError, match=r"button\.source"):
            open_button(source)

    def test_without_one_there_is_none(self) -> None:
        assert open_button(Config().button.source) is None


@contextmanager
def switch_with_root_door(bench: SwitchBench, door: RootSocket) -> Iterator[Switch]:
    """A switch that takes turns in a thread while somebody talks to it."""
    bench.kill_switch()
    bus = bench.bus()
    switch = Switch(bench.config, bus, BOOT_ID, SwitchInputs(root=door))
    stop = threading.Event()

    def turns() -> None:
        while not stop.wait(0.001):
            assert isinstance(bench.clock, FakeClock)
            bench.clock.advance(1000)
            switch.turn()

    thread = threading.Thread(target=turns)
    thread.start()
    try:
        yield switch
    finally:
        stop.set()
        thread.join()
        switch.close()


class TestRoot:
    def unmask(self, directory: Path) -> Answer:
        with SwitchClient.root(directory) as client:
            return client.unmask("audio")

    def hard(self, bench: SwitchBench) -> None:
        bench.ask("mask", "audio", hard=True)
        bench.turn()

    def test_root_lifts_a_hard_mask(self, tmp_path: Path) -> None:
        bench = SwitchBench(tmp_path)
        self.hard(bench)
        with switch_with_root_door(bench, RootSocket(tmp_path / RootSocket.NAME, lambda _: 0)) as switch:
            assert self.unmask(tmp_path).ok
            assert switch.states()["audio"].requested == "live"
        assert not (tmp_path / RootSocket.NAME).exists()

    def test_nobody_else_does(self, tmp_path: Path) -> None:
        bench = SwitchBench(tmp_path)
        self.hard(bench)
        with switch_with_root_door(bench, RootSocket(tmp_path / RootSocket.NAME, lambda _: 1000)) as switch:
            answer = self.unmask(tmp_path)
            assert (answer.ok, answer.text) == (False, "only root may ask here, not user 1000")
            assert switch.states()["audio"].requested == "hard"

    def test_the_kernel_says_who_it_is(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        assert peer_uid(here) == os.getuid()
        here.close(), there.close()

    @pytest.mark.parametrize("garbage", [b"{}", b"\x00", b'{"kind":"exited","name":"camera","boot":"x"}'])
    def test_garbage_is_dropped_and_the_switch_lives(self, tmp_path: Path, garbage: bytes) -> None:
        bench = SwitchBench(tmp_path)
        with switch_with_root_door(bench, RootSocket(tmp_path / RootSocket.NAME, lambda _: 0)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(str(tmp_path / RootSocket.NAME))
                stranger.send(garbage)
                assert stranger.recv(100) == b""
            assert self.unmask(tmp_path).ok

    def test_without_a_switch_it_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(PrivacyError, match="does not answer root"):
            self.unmask(tmp_path)
