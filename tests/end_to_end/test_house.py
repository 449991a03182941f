"""A house of three real instances: over a slow and lossy link, and with a room that is killed during the mask."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edge_mer.bench.house import DELAY_MS, LOSS, ROOMS, NoNetem, house_of_rooms, netem
from edge_mer.contract.domain import MODALITIES

pytestmark = [pytest.mark.end_to_end]


def scene(link: tuple[float, float] | None) -> None:
    """Prints what the house answers: while all rooms run, with one killed, and the rooms that it then names."""
    with house_of_rooms(link) as (house, rooms):
        for room in rooms:
            room.open()
        whole = house.client.mask(*MODALITIES)
        if not whole.ok:  # on a loaded machine a room may need longer than the command waits
            house.wait_for(lambda shown: shown.mask is not None and shown.mask.state == "proven", whole.text)
        for room in rooms:
            room.open()
        rooms[1].instance.process.kill()
        answer = house.client.mask(*MODALITIES)
        print(json.dumps({"ok": answer.ok, "text": answer.text, "killed": rooms[1].name}))


def check(found: dict[str, object]) -> None:
    assert not found["ok"]
    assert str(found["text"]).startswith(f"{found['killed']}: it ")
    assert not any(name in str(found["text"]) for name in ROOMS if name != found["killed"])


def in_process(*prefix: str, link: str = "none") -> dict[str, object]:
    command = [*prefix, sys.executable, "-m", "tests.end_to_end.test_house", link]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-500:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_killed_room_is_named_over_a_slow_link() -> None:
    check(in_process(link="slow"))


def test_killed_room_is_named_with_netem_in_a_network_namespace() -> None:
    try:
        with netem(DELAY_MS, LOSS) as inside:
            check(in_process(*inside))
    except NoNetem as error:
        pytest.skip(f"no netem here: {error}")


if __name__ == "__main__":
    scene((DELAY_MS, LOSS) if sys.argv[1] == "slow" else None)
