"""``edge-mer service`` under a real systemd manager of a user: start, readiness, watchdog, consent, removal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.debian import is_namespace_allowed

ROOT = Path(__file__).parents[2]
UID = 10001
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
SCENARIO = """
set -eu
unit() { systemctl --user show edge-mer -P "$1"; }
edge_mer() { "$PYTHON" -m edge_mer "$@"; }
cd
drop_in=.config/systemd/user/edge-mer.service.d
mkdir -p $drop_in
printf '[Service]\\nEnvironment=PYTHONPATH=%s\\nWatchdogSec=10\\n' "$PYTHONPATH" > $drop_in/test.conf
printf '[audio]\\nsource = "off"\\n[video]\\nsource = "off"\\n[text]\\nsource = "typed"\\n' > .config/edge_mer.toml
edge_mer service install
echo "is $(unit ActiveState), $(unit StatusText)"
edge_mer status >/dev/null && echo "healthy without consent"
edge_mer consent text --who Anna
edge_mer unmask text && echo "unmasked after consent"
edge_mer consent text --withdraw
edge_mer status | grep -q "text *masked" && echo "masked after withdrawal"
kill -STOP "$(unit MainPID)"
until [ "$(unit NRestarts)" = 1 ] && [ "$(unit ActiveState)" = active ]; do read -rt 0.2 <> <(:) || true; done
echo "restarted by the watchdog"
edge_mer uninstall --purge --yes
ls -d .config/systemd/user/*.service .config/edge_mer.toml .local/state/edge_mer 2>/dev/null || echo "nothing is left"
"""

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.getuid() != 0, reason="a manager of another user needs root"),
    pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="needs systemd"),
    pytest.mark.skipif(shutil.which("unshare") is None or not is_namespace_allowed(), reason="needs namespaces"),
]


def test_the_unit_starts_masked_is_watched_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = Path(shutil.copytree(tmp_path, f"/tmp/edge_mer_home.{os.getpid()}"))
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    manager = [*NAMESPACES, str(ROOT / "tests/end_to_end/user_manager"), str(UID), str(home)]
    try:
        done = subprocess.run(
            [*manager, "bash", "-c", SCENARIO], env=environment, cwd="/", capture_output=True, text=True, check=False
        )
    finally:
        shutil.rmtree(home)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "is active, runs",
        "healthy without consent",
        "unmasked after consent",
        "masked after withdrawal",
        "restarted by the watchdog",
        "nothing is left",
    ):
        assert line in done.stdout.splitlines(), done.stdout + done.stderr
