"""The documents: what they name exists, the README stays short, marked blocks stand where their readers look."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.documents import CHANGELOG, ROOT, cited_sections, documents, faults, marked_block, misordered

README, GATEWAY = "README.md", "edge_mer/gateway/README.md"
MOST_LINES = 160
EXPECTED = {
    README,
    GATEWAY,
    ".docker/README.md",
    ".jetson/README.md",
    "calibration/README.md",
    "edge_mer/bench/RESULTS.md",
    "edge_mer/privacy/README.md",
    "edge_mer/session/README.md",
    "pipelines/README.md",
    *(f".github/{n}.md" for n in ("ALGORITHMS", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "GLOSSARY", "SECURITY")),
}


def test_every_document_is_found() -> None:
    assert set(documents()) >= EXPECTED


@pytest.mark.parametrize("path", documents())
def test_everything_that_a_document_names_exists(path: str) -> None:
    assert faults(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](nothing.md)", "link nothing.md"),
        ("[a](README.md#no-such-heading)", "link README.md#no-such-heading"),
        ("`edge_mer/fusion/nothing.py`", "file edge_mer/fusion/nothing.py"),
        ("`fusion/nothing.py`", "file fusion/nothing.py"),
        ("`python -m pipelines.nothing`", "module pipelines.nothing"),
        ("`python -m edge_mer.config`", "module edge_mer.config"),
        ("`edge-mer nothing`", "command nothing"),
        ("`edge-mer keys nothing`", "command keys nothing"),
        ("```bash\nedge-mer mask audio --softly\n```", "option --softly of mask"),
        ("```bash\nedge-mer run --set video.colour=1\n```", "key video.colour"),
        ("`page.adress = 1`", "key page.adress"),
        ("```toml\n[hub]\npublished = 1\n```", "key hub.published"),
    ],
)
def test_what_does_not_exist_is_named(text: str, fault: str) -> None:
    assert faults(README, text) == [fault]


def test_old_names_stand_in_the_first_column_of_the_changelog_only() -> None:
    assert faults(CHANGELOG, "| `edge_mer/hub/old.py` | `edge_mer/config.py` |") == []
    assert faults(CHANGELOG, "| `a` | `edge_mer/hub/old.py` |") == ["file edge_mer/hub/old.py"]


def test_readme_is_short() -> None:
    assert len((ROOT / README).read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("path", "mark", "language", "part"),
    [
        (README, "demo", "bash", "edge-mer demo"),
        (README, "test", "bash", "pytest"),
        (GATEWAY, "client", "python", "zmq"),
        (GATEWAY, "client-js", "js", "zeromq"),
    ],
)
def test_marked_blocks_exist(path: str, mark: str, language: str, part: str) -> None:
    assert part in marked_block(path, mark, language)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    selected = "sed -n '/<!-- test -->/,/```$/p' README.md | grep '^python3 '"
    assert selected in (ROOT / ".ci" / "run").read_text()
    done = subprocess.run(["bash", "-c", selected], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == marked_block(README, "test", "bash")


def test_cited_sections_of_the_algorithms_exist() -> None:
    text = (ROOT / ".github" / "ALGORITHMS.md").read_text()
    numbers = re.findall(r"^##+ (\d(?:\.\d)?) ", text, re.M)
    assert misordered(numbers) == []
    cited = list(cited_sections())
    assert len(cited) >= 15
    assert [(file, number) for file, number in cited if number not in numbers] == []


def test_documents_name_no_private_places() -> None:
    private = [p for p in documents() if re.search(r"/work/|/home/", (ROOT / p).read_text())]
    assert private == []


def repository(place: Path, *subjects: str) -> str:
    """Commits with these subjects after a first one, whose hash is returned."""
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", "init", "-q"], cwd=place, check=True)
    for subject in ("x" * 100, *subjects):
        subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", subject], cwd=place, check=True)
    base = subprocess.run(["git", "rev-list", "HEAD"], cwd=place, capture_output=True, text=True, check=True)
    return base.stdout.split()[-1]


def check_subjects(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / ".ci" / "commit-subjects", *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_long_commit_subject_is_named(tmp_path: Path) -> None:
    base = repository(tmp_path, "a" * 72, "b" * 73, "é" * 72)
    done = check_subjects(tmp_path, base)
    assert done.returncode == 1
    assert "has 73 characters" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_subjects_of_72_characters_pass(tmp_path: Path) -> None:
    assert check_subjects(tmp_path, repository(tmp_path, "a" * 72, "é" * 72)).returncode == 0


def test_clone_without_the_base_has_nothing_to_check(tmp_path: Path) -> None:
    repository(tmp_path, "b" * 73)
    done = check_subjects(tmp_path)
    assert done.returncode == 0
    assert "nothing checked" in done.stdout


def test_ci_checks_commit_subjects() -> None:
    assert ".ci/commit-subjects\n" in (ROOT / ".ci" / "run").read_text()
