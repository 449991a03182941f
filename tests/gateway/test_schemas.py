"""The JSON Schemas of the public topics are a contract: within one version, fields may only be added.

``python -m tests.gateway.test_schemas`` updates the stored schemas after a new version or an added optional field.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edge_mer.contract.schema import topic_schema
from edge_mer.contract.services import SERVICES

CONTRACT = Path(__file__).with_name("schemas.json")
PUBLIC = [t for t, s in SERVICES.items() if s.public]
# Keys that do not affect validation.
PROSE = {"description", "title", "$comment"}
# Vocabularies that may gain values within a version, as their message says.
OPEN = ("/properties/health/enum",)


def breaks(old: Any, new: Any, place: str = "") -> list[str]:
    """Changes that could break a client written for ``old`` on a message of ``new``."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [f"{place}: {old!r} became {new!r}"]
    found: list[str] = []
    for key, value in old.items():
        here = f"{place}/{key}"
        if key in PROSE:
            continue
        if key not in new:
            found.append(f"{here} was removed")
        elif here in OPEN:
            found += [f"{here}: {name} was removed" for name in set(value) - set(new[key])]
        elif key == "required":
            found += [f"{here}: {name} is no longer required" for name in set(value) - set(new[key])]
        else:
            found += breaks(value, new[key], here)
    return found


@pytest.mark.parametrize("topic", PUBLIC)
def test_schema_stays_compatible_within_its_version(topic: str) -> None:
    stored = json.loads(CONTRACT.read_text())
    schema = json.loads(json.dumps(topic_schema(topic)))
    assert schema["$id"] in stored, "a new topic or version: python -m tests.gateway.test_schemas"
    assert not breaks(stored[schema["$id"]], schema)


def test_breaking_changes_are_detected() -> None:
    old = topic_schema("emotion")
    for change in (
        lambda s: s["properties"].pop("label"),
        lambda s: s["required"].remove("combination"),
        lambda s: s["properties"]["mask_epoch"].update(type="string"),
        lambda s: s["$defs"]["Presence"]["properties"].pop("tokens"),
    ):
        new = copy.deepcopy(old)
        change(new)
        assert breaks(old, new)
    state = topic_schema("state/audio")
    fewer = copy.deepcopy(state)
    fewer["properties"]["health"]["enum"].remove("frozen")
    assert breaks(state, fewer)
    assert not breaks(fewer, state)
    grown = copy.deepcopy(old)
    grown["properties"]["more"] = {"type": "string"}
    assert not breaks(old, grown)


def write() -> None:
    known = json.loads(CONTRACT.read_text()) if CONTRACT.exists() else {}
    known |= {SERVICES[t].schema: topic_schema(t) for t in PUBLIC}
    CONTRACT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()
