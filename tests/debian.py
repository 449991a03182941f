"""A Debian system in a folder: what a container's build steps and Home Assistant run in, without a container engine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
# Not at the usual place, which installing ca-certificates inside would replace: a proxy may have its own certificate.
CERTIFICATES, OF_HOST = "/etc/ssl/of-host.pem", "/etc/ssl/certs/ca-certificates.crt"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "SSL_CERT_FILE": CERTIFICATES,
    "PIP_CERT": CERTIFICATES,
    "UV_LINK_MODE": "copy",
}


def debootstrap(root: Path, suite: str, packages: tuple[str, ...] = ()) -> None:
    """A minimal Debian in ``root``; returns at once where it is there. Needs root and the program debootstrap."""
    if (root / "etc/debian_version").exists():
        return
    script = Path("/usr/share/debootstrap/scripts") / suite
    chosen = [] if script.exists() else [str(script.with_name("sid"))]  # it names its own suites only
    options = ["--variant=minbase", *([f"--include={','.join(packages)}"] if packages else [])]
    command = ["debootstrap", *options, suite, str(root), MIRROR, *chosen]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def let_in_network(root: Path) -> None:
    """The host's resolver and certificates, so that package indexes can be reached from inside."""
    (root / "etc/ssl").mkdir(exist_ok=True)
    for source, target in (("/etc/resolv.conf", "/etc/resolv.conf"), (OF_HOST, CERTIFICATES)):
        shutil.copy(source, root / target.lstrip("/"))


def in_root(root: Path, *command: str, environment: dict[str, str] | None = None) -> str:
    """Standard output of a command inside. Raises CalledProcessError when it fails."""
    return subprocess.run(
        ["chroot", str(root), *command],
        env=ENVIRONMENT | (environment or {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def is_namespace_allowed() -> bool:
    """Whether this process may make mount and process namespaces, which containers often refuse."""
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
