"""``edge-mer house``: one link pairs the house with every room; errors of ``house.rooms`` name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit
from typer.testing import CliRunner, Result

from edge_mer.cli.main import app
from edge_mer.config import Config, load
from edge_mer.contract.errors import ConfigError
from edge_mer.contract.room_address import read_room
from edge_mer.privacy.consent.consent_file import Deployment
from edge_mer.privacy.keys.host_key import host_key
from edge_mer.privacy.keys.keyring import Keyring

HOST, CURVE = "0a" * 32, "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
GOOD = f"tcp://192.168.1.5:7651|tcp://192.168.1.5:7652|{HOST}|{CURVE}"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path


def config(place: Path, name: str, text: str = "") -> Path:
    state, path = place / name, place / f"{name}.toml"
    state.mkdir(mode=0o700, exist_ok=True)
    host_key(state)
    path.write_text(f'[privacy]\nstate = "{state}"\n{text}')
    return path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["house", *arguments])


HUB = '[hub]\npublish = "tcp://127.0.0.1:7651"\nrequests = "tcp://127.0.0.1:7652"\n[run]\nroom = "Kitchen \\"2\\""\n'


def test_one_link_pairs_the_house_and_the_room_shows_its_line(place: Path) -> None:
    house, room = config(place, "house"), config(place, "room", HUB)
    link = invoke("pair", "--config", str(house)).output.split("'")[1]
    shown = invoke("pair", link, "--config", str(room))
    assert shown.exit_code == 0, shown.output
    lines = tomlkit.parse(shown.output[shown.output.index("[house.rooms]") :])
    ((name, text),) = lines["house"]["rooms"].items()  # type: ignore[index, union-attr]
    assert name == 'Kitchen "2"'
    assert read_room(text).host == host_key(place / "room").public_key().public_bytes_raw().hex()
    (key,) = Keyring(place / "room").paired()
    assert (key.name, key.role, key.signing) == ("house", "reader", None)
    assert key.may_unmask(Deployment("home")) == ()
    again = invoke("pair", link, "--config", str(room))
    assert again.exit_code == 0
    assert len(Keyring(place / "room").paired()) == 1


def test_second_house_needs_a_name_of_its_own(place: Path) -> None:
    room = config(place, "room", HUB)
    first, second = (invoke("pair", "--config", str(config(place, n))).output.split("'")[1] for n in ("a", "b"))
    assert invoke("pair", first, "--config", str(room)).exit_code == 0
    refused = invoke("pair", second, "--config", str(room))
    assert refused.exit_code == 1
    assert "--name" in refused.output
    assert invoke("pair", second, "--name", "second", "--config", str(room)).exit_code == 0


def test_room_without_addresses_or_with_another_link_says_what_to_do(place: Path) -> None:
    refused = invoke("pair", f"edge-mer-house:{CURVE}", "--config", str(config(place, "room")))
    assert refused.exit_code == 3
    assert "hub.publish" in refused.output
    assert invoke("pair", "edge-mer:x|y", "--config", str(config(place, "room", HUB))).exit_code == 1


def test_commands_without_a_house_prove_nothing(place: Path) -> None:
    quiet = str(config(place, "house"))
    for command in ("status", "mask", "withdraw"):
        assert invoke(command, "--config", quiet).exit_code != 0
    assert invoke("receipts", "--config", quiet).output == "no joint receipt yet\n"


@pytest.mark.parametrize(
    ("rooms", "fault"),
    [
        ('kitchen = "tcp://192.168.1.5:7651"', "this has 1 parts"),
        (f'kitchen = "tcp://192.168.1.5|tcp://192.168.1.5:7652|{HOST}|{CURVE}"', "PUBLISH is an address"),
        (f'kitchen = "tcp://192.168.1.5:1|http://192.168.1.5:2|{HOST}|{CURVE}"', "REQUESTS is an address"),
        (f'kitchen = "tcp://192.168.1.5:1|tcp://192.168.1.5:2|{HOST[:-2]}|{CURVE}"', "HOST is an Ed25519"),
        (f'kitchen = "tcp://192.168.1.5:1|tcp://192.168.1.5:2|{HOST}|{CURVE[1:]}"', "CURVE is a CURVE"),
        (f'kitchen = "{GOOD}"\nbath = "{GOOD}"', "kitchen and bath have the same HOST"),
        (f'"" = "{GOOD}"', "house.rooms"),
        ("kitchen = 5", "house.rooms.kitchen"),
    ],
)
def test_wrong_room_is_named_with_its_fault(place: Path, rooms: str, fault: str) -> None:
    path = config(place, "house", f"[house.rooms]\n{rooms}\n")
    with pytest.raises(ConfigError) as error:
        load(path)
    assert fault in str(error.value)


def test_good_rooms_load_and_are_off_by_default(place: Path) -> None:
    path = config(place, "house", f'[house.rooms]\nkitchen = "{GOOD}"\n')
    assert read_room(load(path)[0].house.rooms["kitchen"]).text() == GOOD
    assert Config().house.rooms == {}
