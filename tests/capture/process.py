"""One capture worker as a real process, with a real switch and real readers in the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edge_mer.bus import ZmqBus
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Answer, Command, Exited
from edge_mer.contract.domain import Modality
from edge_mer.contract.messages import Message, SensorState
from edge_mer.privacy.consent.consent_file import CONSENT_SCOPES
from edge_mer.privacy.consent_setup import agree, pair_console
from edge_mer.privacy.switch.switch import Switch
from tests.devices import child
from tests.switch_bench import TODAY

PATIENCE_US = 120 * SECOND


class Capture:
    """``raw`` and ``states`` are the messages that the worker published so far."""

    def __init__(
        self, directory: Path, modality: Modality, start: Callable[[], subprocess.Popen[bytes]], config: Config
    ) -> None:
        self.start = start
        self.process = start()
        self.modality = modality
        self.raw: list[Message[Any]] = []
        self.states: list[SensorState] = []
        self.bus = ZmqBus(directory)
        self.clock = self.bus.clock
        state = agree(config.privacy.state, CONSENT_SCOPES, "Anna", TODAY)
        self._console = pair_console(state, TODAY)
        self._switch = Switch(config, self.bus)
        self._reader = self.bus.reader(f"raw/{modality}", f"state/{modality}")
        self._person = self.bus.client("switch")
        self._commands = 0
        self.command("unmask")

    def turn(self) -> None:
        wait = self._switch.turn()
        for message in self._reader.drain():
            if isinstance(message.body, SensorState):
                self.states.append(message.body)
            else:
                self.raw.append(message)
        self.bus.wait(min(wait, SECOND // 50))

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = self.clock.now_us() + PATIENCE_US
        while not (found := condition()):
            assert self.clock.now_us() < deadline, f"condition not met; last state: {self.states[-1:]}"
            self.turn()
        return found

    def until_health(self, health: str) -> SensorState:
        """Under a lease: before the first one every device is absent."""
        self.until(lambda: self.states and (self.states[-1].gate, self.states[-1].health) == ("live", health))
        return self.states[-1]

    def until_frames(self, count: int) -> list[Message[Any]]:
        """``count`` more raw messages."""
        start = len(self.raw)
        self.until(lambda: len(self.raw) >= start + count)
        return self.raw[start:]

    def command(self, action: str) -> tuple[Answer, int]:
        """The answer, and how long (us) it took; the end of the process is reported as by the supervisor."""
        self._commands += 1
        epoch = max(self._switch.epochs().values())
        grant = self._console.grant(self._switch.host, (self.modality,), epoch, self.clock.wall_us())
        began = self.clock.now_us()
        self._person.send(
            Command(
                id=str(self._commands),
                action=action,
                modalities=(self.modality,),
                grant=grant if action == "unmask" else None,
            )
        )

        def answer() -> Answer | None:
            self.report_exit()
            message = self._person.receive()
            return message if isinstance(message, Answer) else None

        found: Answer = self.until(answer)
        return found, self.clock.now_us() - began

    def report_exit(self) -> None:
        if self.process.poll() is not None and self.raw:
            last = self.raw[-1].envelope
            self._person.send(Exited(name=last.source, boot=last.boot))

    def supervise(self) -> None:
        """A worker whose device is lost ends; the supervisor says so and starts it anew."""
        if self.process.poll() is not None:
            self.report_exit()
            self.process = self.start()

    def cpu_us(self) -> int:
        """Processor time that the worker has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * SECOND // os.sysconf("SC_CLK_TCK")

    def network_handles(self) -> int:
        """TCP sockets that the worker holds; 0 once it has ended."""
        try:
            inodes = {os.readlink(fd) for fd in _descriptors(self.process.pid)}
            table = Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            assert self.process.poll() is not None
            return 0
        return sum(f"socket:[{line.split()[9]}]" in inodes for line in table)


def _descriptors(pid: int) -> Iterator[str]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if os.path.islink(path):
            yield path


@contextmanager
def capture_process(
    directory: Path,
    name: str,
    modality: Modality,
    env: Mapping[str, str] | None = None,
    module: str = "",
    **sections: Any,
) -> Iterator[Capture]:
    directory.chmod(0o700)
    run = directory / "run"
    run.mkdir(mode=0o700)
    config = Config.model_validate({"privacy": {"state": str(directory / "state")}, **sections})
    command = (sys.executable, "-m", "edge_mer.host.worker", name, module or f"edge_mer.capture.{name}", str(run))
    with ExitStack() as started:

        def start() -> subprocess.Popen[bytes]:
            process = started.enter_context(child(*command, stdin=subprocess.PIPE, env=env))
            assert process.stdin is not None
            process.stdin.write(config.model_dump_json().encode())
            process.stdin.close()
            return process

        capture = Capture(run, modality, start, config)
        started.callback(capture.bus.close)
        yield capture
