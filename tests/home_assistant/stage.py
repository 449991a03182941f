"""The three programs of the check as processes: a broker, Home Assistant, edge_mer. All are below one folder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edge_mer.demo.scenes import MEDIA, WORDS

BROKER_PORT, HTTP_PORT = 18830, 18123
ROOM = "Kitchen"
CONFIGURATION = (
    f"""\
http:
  server_host: 127.0.0.1
  server_port: {HTTP_PORT}
"""
    + """\
homeassistant:
  name: test
  time_zone: Europe/Berlin
config:
recorder:
  commit_interval: 1
history:
logbook:
automation: !include automations.yaml
input_boolean:
  lamp:
  called:
template:
  - light:
      - name: Lamp
        default_entity_id: light.lamp
        state: "{{ is_state('input_boolean.lamp', 'on') }}"
        turn_on:
          action: input_boolean.turn_on
          target: {entity_id: input_boolean.lamp}
        turn_off:
          action: input_boolean.turn_off
          target: {entity_id: input_boolean.lamp}
"""
)


SETTINGS = """\
run.room = "{room}"
file = {{path = "{media}", loop = true}}
audio.source = "file"
video.source = "file"
text = {{source = "recorded", path = "{words}"}}
mqtt.address = "mqtt://127.0.0.1:{port}"
"""


@dataclass
class Stage:
    """``root``: chroot of Home Assistant, None for a ``hass`` of this host. ``folder``: files, by the path inside."""

    folder: Path
    hass: str
    root: Path | None = None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """``folder`` as seen by this host."""
        return self.folder if self.root is None else self.root / str(self.folder).lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        own = {f"XDG_{kind}_HOME": str(self.place / kind.lower()) for kind in ("STATE", "CONFIG", "CACHE")}
        return {
            **os.environ,
            **own,
            "XDG_RUNTIME_DIR": str(self.place / "r"),
            "USER": "anna",
            "EDGE_MER_LOG": "WARNING",
        }

    def prepare(self) -> None:
        for name in ("ha", "r", "config"):
            (self.place / name).mkdir(parents=True, mode=0o700)
        (self.place / "ha/configuration.yaml").write_text(CONFIGURATION)
        (self.place / "ha/automations.yaml").write_text("[]\n")
        (self.place / "mosquitto.conf").write_text(
            f"listener {BROKER_PORT} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.place}/\nuser root\n"
        )
        (self.place / "config/edge_mer.toml").write_text(
            SETTINGS.format(room=ROOM, media=MEDIA, words=WORDS, port=BROKER_PORT)
        )

    def start_broker(self) -> None:
        self._start("broker", ["mosquitto", "-c", str(self.place / "mosquitto.conf")])

    def start_home_assistant(self) -> None:
        inside = [] if self.root is None else ["chroot", str(self.root)]
        variables = ["env", "-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", f"HOME={self.folder}"]
        command = [*inside, *variables, self.hass, "-c", str(self.folder / "ha"), "--skip-pip"]
        self._start("home_assistant", command)

    def start_edge_mer(self) -> None:
        command = [sys.executable, "-m", "edge_mer", "run", "--silent", "--consent", "audio,video,text"]
        self._start("edge_mer", command)

    def edge_mer(self, *arguments: str) -> str:
        """A command of edge-mer, and what it prints."""
        command = [sys.executable, "-m", "edge_mer", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"edge-mer {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(60)

    def cut_off(self, name: str) -> None:
        """Kill it with all its children at once, as when the host loses power."""
        process = self.processes.pop(name)
        family = psutil.Process(process.pid)
        for member in (family, *family.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(60)

    def log(self, name: str) -> str:
        return (self.place / f"{name}.log").read_text(errors="replace")

    def rows(self, entities: set[str]) -> Counter[tuple[str, str]]:
        """How many times the recorder has stored each state of each entity."""
        database = sqlite3.connect(f"file:{self.place}/ha/home-assistant_v2.db?mode=ro", uri=True)
        query = (
            "select m.entity_id, s.state, count(*) from states s join states_meta m using (metadata_id) group by 1, 2"
        )
        try:
            return Counter({(e, state): count for e, state, count in database.execute(query) if e in entities})
        finally:
            database.close()

    def close(self) -> None:
        for name in list(self.processes):
            self.stop(name)

    def _start(self, name: str, command: list[str]) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
