"""The alert rules, run by Prometheus's own promtool on three rooms, of which one is well."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_mer.gateway import metrics

RULES = Path(metrics.__file__).with_name("alerts.yml")
CASES = Path(__file__).with_name("alerts_test.yml")


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


def test_alerts_fire_for_the_room_at_fault_and_no_other(promtool: str, tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.read_text().replace("ALERTS", str(RULES)))
    run = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert {f"alertname: {name}" for name in re.findall(r"alert: (\w+)", RULES.read_text())} == {
        line.strip("- ").strip() for line in CASES.read_text().splitlines() if "alertname" in line
    }


def test_alerts_use_metrics_that_exist() -> None:
    source = Path(metrics.__file__).read_text()
    for name in set(re.findall(r"edge_mer_\w+", RULES.read_text())) - {"edge_mer"}:
        assert f'"{re.sub("_(total|bucket)$", "", name)}"' in source, name
