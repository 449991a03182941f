"""The ways in that are not the bus: root's socket, and the local button. Only they lift a hard mask."""

from __future__ import annotations

import os
import socket
import struct
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
from edge_mer.contract.errors import ConfigError, PrivacyError
from edge_mer.privacy.switch.button import EvdevButton, GpioButton, KeyboardButton, Press, open_button
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
    def house(self, tmp_path: Path, button: FakeButton) -> SwitchBench:
        return SwitchBench(tmp_path, button=button)

    def press(self, house: SwitchBench, button: FakeButton, press: Press) -> dict[str, str]:
        button.pressed.append(press)
        house.turn()
        return requested(house)

    def test_a_short_press_masks_everything_and_another_lifts_it(self, house: SwitchBench, button: FakeButton) -> None:
        assert self.press(house, button, "short") == dict.fromkeys(MODALITIES, "masked")
        assert self.press(house, button, "short") == dict.fromkeys(MODALITIES, "live")

    def test_one_open_sensor_is_enough_for_a_press_to_mask(self, house: SwitchBench, button: FakeButton) -> None:
        house.ask("mask", "video")
        house.turn()
        assert self.press(house, button, "short") == dict.fromkeys(MODALITIES, "masked")

    def test_a_long_press_masks_hard_which_no_bus_lifts_but_the_button_does(
        self, house: SwitchBench, button: FakeButton
    ) -> None:
        assert self.press(house, button, "long") == dict.fromkeys(MODALITIES, "hard")
        house.ask("unmask", "audio")
        house.turn()
        assert "local button" in house.answers()[-1].text
        assert requested(house) == dict.fromkeys(MODALITIES, "hard")
        assert self.press(house, button, "short") == dict.fromkeys(MODALITIES, "live")

    def test_no_button_opens_what_nobody_agreed_to(self, tmp_path: Path, button: FakeButton) -> None:
        house = SwitchBench(tmp_path, deployment=None, button=button)
        assert self.press(house, button, "short") == dict.fromkeys(MODALITIES, "masked")


def pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    return read, write


class TestSources:
    def test_an_evdev_key_pressed_short_and_long(self) -> None:
        read, write = pipe()
        button = EvdevButton(read)
        at = lambda s, us, value, kind=1: struct.pack("llHHi", s, us, kind, 113, value)  # noqa: E731
        os.write(write, at(10, 0, 1) + at(10, 0, 0, kind=0) + at(10, 200_000, 0))
        os.write(write, at(20, 0, 1) + at(20, 500_000, 2) + at(21, 500_000, 0))
        os.write(write, at(30, 0, 1) + at(30, 5_000, 0))  # a bounce
        assert button.presses() == ["short", "long"]
        assert button.presses() == []
        assert button.wake == (read,)

    def test_a_button_that_is_unplugged_gives_none_and_wakes_nobody(self) -> None:
        read, write = pipe()
        button = EvdevButton(read)
        os.close(write)
        assert button.presses() == []
        assert button.wake == ()

    def test_a_gpio_line_is_asked_for_as_the_kernel_wants_it(self) -> None:
        asked: list[tuple[int, int, bytes]] = []

        def ioctl(fd: int, number: int, data: bytearray) -> None:
            asked.append((fd, number, bytes(data)))
            data[-4:] = struct.pack("i", 42)

        assert GpioButton.request(7, 17, ioctl) == 42
        ((fd, number, data),) = asked
        assert (fd, number, len(data)) == (7, 0xC250B407, 592)  # _IOWR(0xB4, 7, struct gpio_v2_line_request)
        assert struct.unpack_from("I", data, 0) == (17,)
        assert data[256:264] == b"edge_mer"
        assert struct.unpack_from("Q", data, 288) == (0b1_0011_0110,)
        assert struct.unpack_from("I", data, 560) == (1,)

    def test_edges_of_a_gpio_line(self) -> None:
        read, write = pipe()
        button = GpioButton(read)
        for at_ns, edge in ((10**9, 1), (11 * 10**8, 2), (20 * 10**8, 1), (31 * 10**8, 2)):
            os.write(write, struct.pack("QIIIIIIIIII", at_ns, edge, 17, 0, 0, *[0] * 6))
        assert button.presses() == ["short", "long"]

    def test_a_key_of_the_hosts_own_console(self) -> None:
        master, slave = os.openpty()
        button = open_button(f"keyboard:{os.ttyname(slave)}")
        assert isinstance(button, KeyboardButton)
        os.write(master, b" x hH")
        assert button.presses() == ["short", "short", "long", "long"]
        button.close()

    @pytest.mark.parametrize(
        "source", ["evdev:/dev/input/none", "gpio:/dev/gpiochip99:1", "gpio:x", "bell", "keyboard:/"]
    )
    def test_a_button_that_cannot_be_opened_is_named(self, source: str) -> None:
        with pytest.raises(ConfigError, match=r"button\.source"):
            open_button(source)

    def test_without_one_there_is_none(self) -> None:
        assert open_button(Config().button.source) is None


@contextmanager
def switch_with_root_door(house: SwitchBench, door: RootSocket) -> Iterator[Switch]:
    """A switch that takes turns in a thread while somebody talks to it."""
    house.kill_switch()
    bus = house.bus()
    switch = Switch(house.config, bus, BOOT_ID, SwitchInputs(root=door))
    stop = threading.Event()

    def turns() -> None:
        while not stop.wait(0.001):
            assert isinstance(house.clock, FakeClock)
            house.clock.advance(1000)
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

    def hard(self, house: SwitchBench) -> None:
        house.ask("mask", "audio", hard=True)
        house.turn()

    def test_root_lifts_a_hard_mask(self, tmp_path: Path) -> None:
        house = SwitchBench(tmp_path)
        self.hard(house)
        with switch_with_root_door(house, RootSocket(tmp_path / RootSocket.NAME, lambda _: 0)) as switch:
            assert self.unmask(tmp_path).ok
            assert switch.states()["audio"].requested == "live"
        assert not (tmp_path / RootSocket.NAME).exists()

    def test_nobody_else_does(self, tmp_path: Path) -> None:
        house = SwitchBench(tmp_path)
        self.hard(house)
        with switch_with_root_door(house, RootSocket(tmp_path / RootSocket.NAME, lambda _: 1000)) as switch:
            answer = self.unmask(tmp_path)
            assert (answer.ok, answer.text) == (False, "only root may ask here, not user 1000")
            assert switch.states()["audio"].requested == "hard"

    def test_the_kernel_says_who_it_is(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        assert peer_uid(here) == os.getuid()
        here.close(), there.close()

    @pytest.mark.parametrize("garbage", [b"{}", b"\x00", b'{"kind":"exited","name":"camera","boot":"x"}'])
    def test_garbage_is_dropped_and_the_switch_lives(self, tmp_path: Path, garbage: bytes) -> None:
        house = SwitchBench(tmp_path)
        with switch_with_root_door(house, RootSocket(tmp_path / RootSocket.NAME, lambda _: 0)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(str(tmp_path / RootSocket.NAME))
                stranger.send(garbage)
                assert stranger.recv(100) == b""
            assert self.unmask(tmp_path).ok

    def test_without_a_switch_it_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(PrivacyError, match="does not answer root"):
            self.unmask(tmp_path)
