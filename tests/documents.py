"""The Markdown documents of the repository, and what in them names something that does not exist."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from typer.main import get_command

from edge_mer.cli.main import app
from edge_mer.config import Config
from edge_mer.privacy.consent.consent_file import HubConsent

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CHANGELOG = ".github/CHANGELOG.md"
FOLDERS = (".", ".docker", ".github", ".jetson", "edge_mer", "pipelines", "calibration")
PACKAGES = ("edge_mer", "pipelines", "calibration", "tests")
# How documents write the topics at a broker.
MQTT_TOPIC = "edge_mer/NODE/"
TOP = (*PACKAGES, ".ci", ".docker", ".github", ".jetson", ".readme")
# A file of the user, and files of models, which look like configuration keys.
NOT_KEYS = re.compile(r"hub\.keys|\w+\.(onnx|weights|spm|vocab|pt|json|confidence\.json|\w*onnx)")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_MODULE = re.compile(r"python3? -m ([\w.]+)")
_COMMAND = re.compile(r"edge-mer ((?!edge-mer)[a-z][^;|#&\n]*)")
_KEY = re.compile(r"\b([a-z]+)\.([a-z_]+)\b")
_SET = re.compile(r"--set ([a-z]+)\.([a-z_]+)=")


def documents() -> list[str]:
    """Paths from the root, of every document that the repository holds."""
    found = {p for f in FOLDERS for p in (ROOT / f).glob("*.md" if f == "." else "**/*.md")}
    return sorted(str(p.relative_to(ROOT)) for p in found)


def marked_block(path: str, mark: str, language: str) -> str:
    """The code block below ``<!-- mark -->``."""
    found = re.findall(rf"<!-- {mark} -->\n```{language}\n(.*?)```", (ROOT / path).read_text(), re.S)
    assert len(found) == 1, f"{path} has {len(found)} blocks {mark!r}"
    return str(found[0])


def faults(path: str, text: str) -> list[str]:
    """Everything that ``text``, standing at ``path``, names and that does not exist."""
    if path == CHANGELOG:  # the first column holds old names
        text = re.sub(r"^\| [^|]+ \|", "|", text, flags=re.M)
    blocks = [(m[1], m[2]) for m in _FENCE.finditer(text)]
    prose = _FENCE.sub("", text)
    spans = _SPAN.findall(prose)
    code = [*spans, *(body for _, body in blocks)]
    found = [
        *_broken_links(path, prose),
        *(f"file {p}" for p in _absent_paths(path, text)),
        *(f"module {m}" for c in code for m in _MODULE.findall(c) if not _runs(m)),
        *(fault for c in code for line in _COMMAND.findall(c) if (fault := _wrong_command(line))),
        *(f"key {s}.{k}" for s, k in _keys(spans, blocks) if not _is_key(s, k)),
    ]
    return sorted(set(found))


def _broken_links(path: str, prose: str) -> Iterator[str]:
    for target in _LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (ROOT / path).parent / name if name else ROOT / path
        if not place.exists() or (anchor and anchor not in _anchors(place.read_text())):
            yield f"link {target}"


def _anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def _absent_paths(path: str, text: str) -> Iterator[str]:
    for word in re.findall(r"[\w.*/<>-]+", text):
        names_file = word.split("/")[0] in TOP and "/" in word
        if not names_file and not re.fullmatch(r"[\w./-]+\.py", word):
            continue
        word = word.rstrip(".")
        if word.startswith(MQTT_TOPIC):
            continue
        places = (ROOT, ROOT / "edge_mer", (ROOT / path).parent)
        if not any(list(p.glob(word.rstrip("/"))) for p in places):
            yield word


def _runs(module: str) -> bool:
    """Whether ``python -m module`` would run a file of ours; true for modules of others."""
    if module.split(".")[0] not in PACKAGES:
        return True
    file = ROOT / (module.replace(".", "/") + ".py")
    package = ROOT / module.replace(".", "/") / "__main__.py"
    return package.is_file() or (file.is_file() and '__name__ == "__main__"' in file.read_text())


@cache
def _cli() -> Any:
    """The command line's root group; of click or of typer's own copy of it."""
    return get_command(app)


def _wrong_command(line: str) -> str | None:
    """What of ``edge-mer LINE`` does not exist: command, sub-command or option."""
    command, words, named = _cli(), line.split(), list[str]()
    while hasattr(command, "list_commands"):
        if not words or not re.fullmatch(r"[a-z][\w-]*", words[0]):
            return None  # the group as such
        named.append(words.pop(0))
        command = command.get_command(None, named[-1])
        if command is None:
            return f"command {' '.join(named)}"
    known = {"--help"}.union(*(set(p.opts) | set(p.secondary_opts) for p in command.params))
    wrong = [w for w in (word.split("=")[0] for word in words) if w.startswith("--") and w not in known]
    return f"option {wrong[0]} of {' '.join(named)}" if wrong else None


def _is_key(section: str, key: str) -> bool:
    if section == "hub" and key in HubConsent.__struct_fields__:  # of the deployment file
        return True
    annotation: Any = Config.model_fields[section].annotation if section in Config.model_fields else None
    return annotation is not None and key in annotation.model_fields


def _keys(spans: list[str], blocks: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Section and key of each configuration value that is named."""
    for span in spans:
        yield from _leading_key(span)
    for code in (*spans, *(body for _, body in blocks)):
        yield from _SET.findall(code)
    for language, body in blocks:
        if language == "toml":
            yield from ((section, key) for section, values in tomllib.loads(body).items() for key in values)


def _leading_key(span: str) -> Iterator[tuple[str, str]]:
    """``section.key`` at the beginning of a code span, where the section is one of the configuration."""
    found = _KEY.match(span)
    if found and found[1] in Config.model_fields and not NOT_KEYS.match(span) and "(" not in span:
        yield found[1], found[2]


def cited_sections() -> Iterator[tuple[str, str]]:
    """Each citation of ALGORITHMS.md in the code: the file, and the number of the section."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for numbers in re.findall(r"ALGORITHMS\.md ((?:\d(?:\.\d)?)(?: and \d\.\d)*)", file.read_text()):
                yield from ((str(file.relative_to(ROOT)), number) for number in numbers.split(" and "))


def misordered(numbers: list[str]) -> list[str]:
    """Section numbers that do not follow the one before."""
    parsed = [tuple(int(n) for n in number.split(".")) for number in numbers]
    return [numbers[i + 1] for i, (a, b) in enumerate(pairwise(parsed)) if not a < b]
