"""The container for x86-64 and arm64, its compose file, the Home Assistant add-on: checked without building them."""

from __future__ import annotations

import datetime
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_mer
from edge_mer.config import load
from edge_mer.contract.domain import MODALITIES
from edge_mer.privacy.consent.consent_file import FILE, Deployment, read_deployment
from tests.dockerfile import ROOT, Steps, missing_sources, problems, state_directories, steps_of, values
from tests.switch_bench import TODAY

FOLDER = ROOT / ".docker"
ADDON = FOLDER / "addon"
yaml = pytest.importorskip("yaml", reason="needs PyYAML")


@pytest.fixture(scope="module")
def parsed() -> Steps:
    return steps_of(FOLDER / "Dockerfile")


@pytest.fixture(scope="module")
def start() -> ModuleType:
    """The add-on's entry point as a module."""
    spec = importlib.util.spec_from_file_location("addon_start", ADDON / "start.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def test_hadolint_reports_no_problem() -> None:
    assert problems(FOLDER / "Dockerfile") == ""


def test_it_runs_unprivileged_masked_and_silent(parsed: Steps) -> None:
    assert values(parsed, "USER") == ["10001"]
    assert values(parsed, "CMD") == ['["run", "--masked", "--silent"]']
    assert values(parsed, "HEALTHCHECK")[0].endswith('CMD ["edge-mer", "status"]')


def test_copied_files_exist_and_docker_may_read_them(parsed: Steps) -> None:
    assert missing_sources(parsed) == []
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {w for v in values(parsed, "COPY") if "--from" not in v for w in v.split()[:-1]}
    assert copied <= allowed


def test_both_images_write_to_the_same_places(parsed: Steps) -> None:
    assert values(parsed, "VOLUME") == ['["/var/lib/edge_mer"]']
    assert state_directories(parsed) == state_directories(steps_of(ROOT / "Dockerfile.jetson"))


def test_the_compose_file_gives_what_the_image_needs_and_no_more(parsed: Steps) -> None:
    service = read("compose.yaml")["services"]["edge-mer"]
    assert (service["read_only"], service["cap_drop"], service["network_mode"]) == (True, ["ALL"], "none")
    assert "/run/edge_mer:uid=10001,mode=0700" in service["tmpfs"]
    assert "devices" not in service, "a missing device would stop the container"
    assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"


def test_the_addon_has_our_version_and_a_text_for_every_option() -> None:
    config = read("addon/config.yaml")
    assert config["version"] == edge_mer.__version__
    assert set(config["options"]) == set(config["schema"])
    for path in (ADDON / "translations").glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text())["configuration"]) == set(config["schema"]), path


def test_the_addon_folder_holds_all_that_its_dockerfile_copies(tmp_path: Path) -> None:
    target = tmp_path / "edge_mer"
    subprocess.run([ADDON / "assemble", target], check=True)
    steps = steps_of(target / "Dockerfile")
    assert missing_sources(steps, target) == []
    assert values(steps, "USER") == ["10001", "root"]
    assert (target / "edge_mer/models/fusion.onnx").exists() or list((target / "edge_mer/models").glob("*.onnx"))


def test_the_default_options_are_a_valid_configuration(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons", "password": "x"}
    options = read("addon/config.yaml")["options"] | {"room": "Küche"}
    for name, value in start.settings(options, broker, Path("/data")).items():
        if name != "HOME":
            monkeypatch.setenv(name, value)
    config, _ = load()
    assert config.mqtt.address == "mqtt://core-mosquitto:1883"
    assert config.run.room == "Küche"
    assert config.text.source == "off"


Matters = st.lists(st.sampled_from(MODALITIES), unique=True)


@given(first=Matters, second=Matters, may=Matters)
def test_the_deployment_follows_the_options(
    start: ModuleType, tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str], may: list[str]
) -> None:
    state = tmp_path_factory.mktemp("state", numbered=True)
    start.deploy({"consent": first, "consent_by": "Anna"}, state, TODAY)
    later = TODAY + datetime.timedelta(days=1)
    start.deploy({"consent": second, "consent_by": "Anna", "may_unmask": may}, state, later)
    found = read_deployment(state / FILE) if (state / FILE).exists() else Deployment("home")
    assert {c.matter: c.given for c in found.consent} == {m: TODAY if m in first else later for m in second}
    assert set(found.hub.may_unmask) == (set(may) if first or second else set())
