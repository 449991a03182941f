"""Blueprints: what Home Assistant needs of them, as far as it shows without it (tests.home_assistant runs them)."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import yaml

from edge_mer.contract.domain import EMOTIONS

FOLDER = files("edge_mer.gateway.mqtt").joinpath("blueprints")
BLUEPRINTS = sorted(path.name for path in FOLDER.iterdir())


class Input(str):
    """The name in ``!input NAME``."""


class Loader(yaml.SafeLoader):
    """YAML as Home Assistant reads it."""


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(FOLDER.joinpath(name).read_text(), Loader)
    return found


def used(value: Any) -> set[str]:
    if isinstance(value, Input):
        return {str(value)}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(used, parts))


def test_there_are_three() -> None:
    assert len(BLUEPRINTS) == 3


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_blueprint_uses_exactly_the_inputs_that_it_declares(name: str) -> None:
    content = read(name)
    about = content.pop("blueprint")
    assert about["domain"] == "automation"
    assert used(content) == set(about["input"])
    assert content["triggers"]
    assert content["actions"]


@pytest.mark.parametrize("name", [n for n in BLUEPRINTS if "emotion:" in FOLDER.joinpath(n).read_text()])
def test_abstention_never_triggers(name: str) -> None:
    content = read(name)
    (trigger,) = content["triggers"]
    assert {"unknown", "unavailable"} == set(trigger["not_to"])
    options = content["blueprint"]["input"]["label"]["selector"]["select"]["options"]
    assert options == list(EMOTIONS)
