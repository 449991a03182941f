"""Entry point of the Home Assistant add-on: options become settings and consent, then edge-mer runs unprivileged."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edge_mer.host.files import state_directory
from edge_mer.privacy.consent.consent_file import FILE, HubConsent, home_consent, read_deployment, write_deployment
from edge_mer.privacy.keys.identity import read_identity

DATA = Path("/data")
USER = 10001
SERVICE = "http://supervisor/services/mqtt"
MODEL = "whisper-tiny.en"


def settings(options: Mapping[str, Any], mqtt: Mapping[str, Any] | None, data: Path) -> dict[str, str]:
    """Environment variables for edge-mer. ``mqtt``: what the supervisor answers; None without a broker."""
    found = {
        "HOME": str(data),
        "XDG_CACHE_HOME": str(data / "cache"),
        "XDG_CONFIG_HOME": str(data / "config"),
        "EDGE_MER__PRIVACY__STATE": str(data / "privacy"),
        "EDGE_MER__VIDEO__DEVICE": str(options.get("camera", "0")),
        "EDGE_MER__TEXT__SOURCE": "asr" if options.get("words") else "off",
    }
    if options.get("camera") == "off":
        found["EDGE_MER__VIDEO__SOURCE"] = "off"
    if room := options.get("room"):
        found["EDGE_MER__RUN__ROOM"] = str(room)
    if mqtt is not None:
        scheme = "mqtts" if mqtt.get("ssl") else "mqtt"
        found["EDGE_MER__MQTT__ADDRESS"] = f"{scheme}://{mqtt['host']}:{mqtt['port']}"
        if mqtt.get("username"):
            found["EDGE_MER__MQTT__USERNAME"] = str(mqtt["username"])
            found["EDGE_MER__MQTT__PASSWORD_FILE"] = str(data / "mqtt.password")
    return found


def deploy(options: Mapping[str, Any], state: Path, today: datetime.date) -> None:
    """The deployment file follows the options: consent that is not among them any more is withdrawn."""
    wanted, who = tuple(options.get("consent", ())), str(options.get("consent_by") or "householder")
    path = state / FILE
    if not wanted and not path.exists():
        return
    old = read_deployment(path) if path.exists() else home_consent(who, (), today)
    given = {c.matter: c for c in home_consent(who, wanted, today).consent}
    kept = {c.matter: c for c in old.consent if c.matter in given and c.who == who}
    fresh = replace(old, consent=tuple((given | kept).values()), hub=HubConsent(tuple(options.get("may_unmask", ()))))
    if fresh != old or not path.exists():
        write_deployment(path, fresh)


def broker() -> dict[str, Any] | None:
    """The MQTT service of this Home Assistant; None where there is none."""
    request = urllib.request.Request(SERVICE, headers={"Authorization": f"Bearer {os.environ['SUPERVISOR_TOKEN']}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer)["data"])
    except (urllib.error.URLError, KeyError, ValueError):
        return None


def become_user(data: Path) -> None:
    """Leave root for the user of the image, in the groups of the devices that are here."""
    devices = [*Path("/dev").glob("video*"), *Path("/dev/snd").glob("*")]
    for place in (data, Path("/run/edge_mer")):
        os.chown(place, USER, USER)
    os.setgroups(sorted({d.stat().st_gid for d in devices} - {0}))
    os.setgid(USER)
    os.setuid(USER)


def main() -> None:
    options, mqtt = json.loads((DATA / "options.json").read_text()), broker()
    become_user(DATA)
    os.environ.pop("SUPERVISOR_TOKEN", None)
    os.environ.update(settings(options, mqtt, DATA))
    if mqtt is not None and mqtt.get("username"):
        password = DATA / "mqtt.password"
        password.touch(mode=0o600)
        password.write_text(f"{mqtt.get('password', '')}\n")
    state = state_directory(str(DATA / "privacy"))
    deploy(options, state, datetime.date.today())
    if mqtt is not None and read_identity(state, "mqtt") is None:
        subprocess.run(["edge-mer", "keys", "new", "mqtt", "--hub"], check=False)
    if options.get("words"):
        subprocess.run(["edge-mer", "models", "pull", MODEL], check=False)
    sys.stdout.flush()
    os.execvp("edge-mer", ["edge-mer", "run", "--masked", "--silent"])


if __name__ == "__main__":
    main()
