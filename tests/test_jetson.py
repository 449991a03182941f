"""Dockerfile.jetson, checked without building it: lint, structure, and wheels for the boards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dockerfile import ROOT, Steps, missing_sources, problems, state_directories, steps_of, values

DOCKERFILE = ROOT / "Dockerfile.jetson"


@pytest.fixture(scope="module")
def parsed() -> Steps:
    return steps_of(DOCKERFILE)


def test_hadolint_reports_no_problem() -> None:
    assert problems(DOCKERFILE) == ""


def test_both_stages_use_the_same_jetpack(parsed: Steps) -> None:
    assert values(parsed, "FROM") == ["${BASE_IMAGE} AS build", "${BASE_IMAGE} AS run"]
    assert parsed[0] == ("ARG", "BASE_IMAGE=nvcr.io/nvidia/l4t-jetpack:r36.4.0")


def test_it_runs_as_unprivileged_user_in_groups_audio_and_video(parsed: Steps) -> None:
    assert values(parsed, "USER") == ["10001"]
    created = next(v for v in values(parsed, "RUN") if "useradd" in v)
    assert "--groups audio,video" in created
    assert "--uid 10001" in created


def test_all_writable_paths_are_in_one_volume_or_in_run(parsed: Steps) -> None:
    assert values(parsed, "VOLUME") == ['["/var/lib/edge_mer"]']
    assert state_directories(parsed) == {
        "HOME": "/var/lib/edge_mer",
        "XDG_CACHE_HOME": "/var/lib/edge_mer/cache",
        "XDG_CONFIG_HOME": "/var/lib/edge_mer/config",
        "EDGE_MER__RUN__DIRECTORY": "/run/edge_mer",
        "EDGE_MER__PRIVACY__STATE": "/var/lib/edge_mer/privacy",
    }


def test_the_health_check_is_edge_mer_status(parsed: Steps) -> None:
    assert values(parsed, "HEALTHCHECK")[0].endswith('CMD ["edge-mer", "status"]')


def test_torch_tensorrt_and_opencv_are_not_installed_by_pip(parsed: Steps) -> None:
    installed = " ".join(v for v in values(parsed, "RUN") if "pip install" in v)
    assert "torch" not in installed
    assert "tensorrt" not in installed
    assert "[" not in installed.split("-r runtime.txt")[1], "an extra"
    assert (ROOT / ".jetson" / "without.txt").read_text().split() == ["opencv-python-headless"]
    assert "--system-site-packages" in " ".join(values(parsed, "RUN"))


def test_copied_files_exist(parsed: Steps) -> None:
    assert missing_sources(parsed) == []


def test_the_entrypoint_compiles_first_and_continues_without_a_gpu(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    (tmp_path / "edge-mer").write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" != engine ]\n')
    (tmp_path / "edge-mer").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    entry = ROOT / ".jetson" / "entrypoint"
    done = subprocess.run([entry, "run", "--json"], env=environment, capture_output=True, text=True, check=True)
    assert calls.read_text().splitlines() == ["engine build", "run --json"]
    assert "going on without" in done.stderr
    calls.unlink()
    subprocess.run([entry, "status"], env=environment, check=True)
    assert calls.read_text().splitlines() == ["status"]


@pytest.mark.parametrize(("version", "bindings"), [("3.10", "12.9"), ("3.12", "13.0")])
def test_every_run_time_package_has_a_wheel_for_the_board(version: str, bindings: str) -> None:
    script = ROOT / ".ci" / "wheels-aarch64"
    done = subprocess.run([script, sys.executable, version, bindings], capture_output=True, text=True, check=False)
    if done.returncode and "connection" in done.stderr.lower():
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"numpy", "onnxruntime", "pyzmq", "cuda-bindings", "msgspec", "faster-whisper", "ctranslate2"} <= set(found)
    assert not {"torch", "opencv-python-headless", "tensorrt"} & set(found)
    assert found["numpy"].startswith("1.26"), "JetPack's OpenCV is built against it"


def test_the_unit_has_the_options_that_the_image_needs() -> None:
    unit = (ROOT / ".jetson" / "edge-mer.service").read_text()
    for needed in (
        "--runtime nvidia",
        "--read-only",
        "--tmpfs /run/edge_mer:uid=10001,mode=0700",
        "--network none",
        "-v edge-mer-state:/var/lib/edge_mer",
        '--device-cgroup-rule "c 81:* rmw"',
        '--device-cgroup-rule "c 116:* rmw"',
        "[ -S /tmp/argus_socket ] && echo -v /tmp/argus_socket",
        "Restart=on-failure",
    ):
        assert needed in unit, needed
    assert "--device /dev" not in unit, "a missing device would stop the unit"


def test_the_recogniser_of_the_image_is_one_that_its_pip_steps_install(parsed: Steps) -> None:
    from edge_mer.contract.recognisers import RECOGNISERS

    environment = " ".join(values(parsed, "ENV"))
    row = RECOGNISERS["faster-whisper"]
    assert f"EDGE_MER__TEXT__ENGINE={row.name}" in environment.replace('"', "")
    assert row.extra is not None
    assert row.extra in next(v for v in values(parsed, "RUN") if "m.requires" in v)


def test_it_starts_masked_without_consent(parsed: Steps) -> None:
    assert values(parsed, "CMD") == ['["run", "--masked", "--silent"]']
