"""``edge-mer service``: a systemd user unit that starts edge_mer at login, or at boot with lingering."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import typer

from edge_mer.cli.options import ConfigFile
from edge_mer.cli.typer_apps import command_group
from edge_mer.config import load
from edge_mer.contract.places import unwritable, user_directory

service = command_group("Manage the systemd user unit: install, remove, show.")

UNIT = "edge-mer.service"
# Only what works in a unit of a user: settings that need a mount namespace (ProtectSystem, PrivateTmp) put the service
# into a user namespace, where the groups audio and video are lost, and where systemd cannot make one do nothing.
# MemoryDenyWriteExecute is left out: ctypes and cffi make callbacks in writable, executable memory.
TEXT = """\
# Written by `edge-mer service install`; `edge-mer service remove` removes it.
[Unit]
Description=edge_mer: expressed emotion from microphone, camera and words, on this machine alone
Documentation=man:systemd.service(5)
After=pipewire-pulse.service pulseaudio.service

[Service]
Type=notify
ExecStart={command}
Restart=on-failure
RestartSec=5
# Wrong usage, configuration and consent: a restart does not cure them.
RestartPreventExitStatus=2 3 4
TimeoutStartSec=20min
WatchdogSec=30
TimeoutStopSec=10
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""


def unit_path() -> Path:
    """Where systemd looks for a user's own units."""
    return user_directory("XDG_CONFIG_HOME", ".config", "XDG_CONFIG_HOME") / "systemd/user" / UNIT


def quoted(word: str) -> str:
    """One argument of ExecStart: specifiers, variables and quotes taken literally (systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def unit_text(config: Path | None) -> str:
    """The unit for this Python and this configuration file; None is the default place."""
    chosen = [] if config is None else ["--config", str(config.absolute())]
    words = [sys.executable, "-m", "edge_mer", "run", "--masked", "--silent", *chosen]
    return TEXT.format(command=" ".join([quoted(words[0]).replace("$$", "$"), *map(quoted, words[1:])]))


def systemctl(*arguments: str) -> bool:
    """Whether the user's service manager did it; False also where there is none."""
    program = shutil.which("systemctl")
    if program is None:
        return False
    done = subprocess.run([program, "--user", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        typer.echo(f"systemctl --user {' '.join(arguments)}: {done.stderr.strip()}", err=True)
    return done.returncode == 0


@service.command()
def show(config: ConfigFile = None) -> None:
    """Print the unit that install would write."""
    typer.echo(unit_text(config), nl=False)


@service.command()
def install(config: ConfigFile = None) -> None:
    """Write the unit, start it now and at every login.

    It starts masked. Consent, once: edge-mer consent. Exit code 1 when systemd could not start it.
    """
    load(config)  # a wrong configuration is refused here, not in the journal
    path = unit_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit_text(config))
    except OSError as error:
        raise unwritable(path, error, "XDG_CONFIG_HOME") from error
    typer.echo(f"wrote {path}")
    if not (systemctl("daemon-reload") and systemctl("enable", "--now", UNIT)):
        typer.echo(f"edge-mer: not started; run: systemctl --user enable --now {UNIT}", err=True)
        raise typer.Exit(1)
    typer.echo(f"running; logs: journalctl --user -u {UNIT}; also before login: loginctl enable-linger {_user()}")
    typer.echo("it starts masked; next: edge-mer consent, edge-mer unmask all")


@service.command()
def remove() -> None:
    """Stop the unit, and remove it."""
    typer.echo("removed" if remove_unit() else f"no unit at {unit_path()}")


def remove_unit() -> bool:
    """Stop and remove the unit; False where there is none."""
    path = unit_path()
    if not path.exists():
        return False
    systemctl("disable", "--now", UNIT)
    path.unlink()
    systemctl("daemon-reload")
    return True


def _user() -> str:
    return os.environ.get("USER") or str(os.getuid())
