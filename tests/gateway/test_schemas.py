"""The JSON Schemas of the public topics are a contract: within one version they may only grow.

``python -m tests.gateway.test_schemas`` writes what is new, after a version was raised or an optional field was added.
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
# What says nothing about the form of a message.
PROSE = {"description", "title", "$comment"}


def breaks(old: Any, new: Any, place: str = "") -> list[str]:
    """Why a client written for ``old`` could fail on a message of ``new``."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [f"{place}: {old!r} became {new!r}"]
    found: list[str] = []
    for key, value in old.items():
        here = f"{place}/{key}"
        if key in PROSE:
            continue
        if key not in new:
            found.append(f"{here} is gone")
        elif key == "required":
            found += [f"{here}: {name} may be missing now" for name in set(value) - set(new[key])]
        else:
            found += breaks(value, new[key], here)
    return found


@pytest.mark.parametrize("topic", PUBLIC)
def test_a_version_keeps_its_promises(topic: str) -> None:
    promised = json.loads(CONTRACT.read_text())
    schema = json.loads(json.dumps(topic_schema(topic)))
    assert schema["$id"] in promised, "a new topic or version: python -m tests.gateway.test_schemas"
    assert not breaks(promised[schema["$id"]], schema)


def test_what_breaks_a_client_is_found() -> None:
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
    grown = copy.deepcopy(old)
    grown["properties"]["more"] = {"type": "string"}
    assert not breaks(old, grown)


def write() -> None:
    known = json.loads(CONTRACT.read_text()) if CONTRACT.exists() else {}
    known |= {SERVICES[t].schema: topic_schema(t) for t in PUBLIC}
    CONTRACT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()
