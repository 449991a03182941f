"""Only a fresh grant of a paired key unmasks; everything that looks like one opens nothing and says why."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_mer.contract.control import Command, Grant, decode
from edge_mer.contract.domain import MODALITIES
from edge_mer.privacy.consent.consent_file import FILE, HubConsent, write_deployment
from edge_mer.privacy.keys.identity import CONSOLE, new_identity, read_identity
from edge_mer.privacy.keys.keyring import Keyring, PairedKey
from tests.switch_bench import EVERYBODY, SwitchBench

IDS = itertools.count()  # a command whose id came before is not looked at again


@pytest.fixture
def bench(tmp_path: Path) -> SwitchBench:
    return SwitchBench(tmp_path, live=False)


def refused(bench: SwitchBench, grant: Grant | None, *modalities: str) -> str:
    """What the switch says; asserts that nothing opened."""
    before = bench.switch.states()  # type: ignore[union-attr]
    bench.person.send(_command(grant, modalities or ("audio",)))
    bench.turn()
    (answer,) = bench.answers()
    assert not answer.ok
    assert {m: s.requested for m, s in answer.modalities.items()} == {m: s.requested for m, s in before.items()}
    return answer.text


def _command(grant: Grant | None, modalities: tuple[str, ...]) -> Command:
    return Command(id=f"u{next(IDS)}", action="unmask", modalities=modalities, grant=grant)  # type: ignore[arg-type]


def test_everything_starts_masked_and_a_paired_key_unmasks(bench: SwitchBench) -> None:
    assert bench.switch is not None
    assert {s.requested for s in bench.switch.states().values()} == {"masked"}
    bench.ask("unmask", "audio")
    bench.turn()
    (answer,) = bench.answers()
    assert answer.ok
    assert [m for m in MODALITIES if answer.modalities[m].requested == "live"] == ["audio"]


def test_no_grant(bench: SwitchBench) -> None:
    assert "needs a grant" in refused(bench, None)


def test_an_unpaired_key(bench: SwitchBench, tmp_path: Path) -> None:
    stranger = new_identity(tmp_path, "stranger")
    assert "is not paired" in refused(bench, bench.grant("audio", identity=stranger))


Change = Callable[[SwitchBench, Grant], Grant]
FORGED: dict[str, Change] = {
    "another modality": lambda h, g: msgspec.structs.replace(g, modalities=("audio", "video")),
    "a higher counter": lambda h, g: msgspec.structs.replace(g, counter=g.counter + 1),
    "a later epoch": lambda h, g: msgspec.structs.replace(g, mask_epoch=g.mask_epoch + 1),
    "another signature": lambda h, g: msgspec.structs.replace(g, signature=h.grant("video").signature),
    "no signature": lambda h, g: msgspec.structs.replace(g, signature=""),
    "no hex": lambda h, g: msgspec.structs.replace(g, signature="z" * 128),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_a_forged_grant(bench: SwitchBench, change: Change) -> None:
    grant = change(bench, bench.grant("audio"))
    assert "is not signed by" in refused(bench, grant, *grant.modalities)


def test_a_grant_for_another_host(bench: SwitchBench) -> None:
    grant = bench.console.grant("00" * 32, ("audio",), 10_000, bench.clock.wall_us())
    assert "another host" in refused(bench, grant)


def test_a_grant_for_other_modalities_than_the_command(bench: SwitchBench) -> None:
    assert "is for audio, not audio, video" in refused(bench, bench.grant("audio"), "audio", "video")


def test_a_grant_works_once_also_over_a_restart_of_the_switch(bench: SwitchBench) -> None:
    grant = bench.grant("audio", ahead=100_000)
    bench.ask("unmask", "audio", grant=grant)
    bench.turn()
    assert bench.answers()[0].ok
    bench.ask("mask", "audio")
    bench.turn()
    bench.answers()
    assert "used already" in refused(bench, grant)
    bench.kill_switch()
    bench.start_switch()
    assert "used already" in refused(bench, grant)


def test_an_older_grant_does_not_come_after_a_newer_one(bench: SwitchBench) -> None:
    older, newer = bench.grant("audio", ahead=10), bench.grant("audio", ahead=10)
    bench.ask("unmask", "audio", grant=newer)
    bench.turn()
    bench.ask("mask", "audio")
    bench.turn()
    bench.answers()
    assert "older than one that was" in refused(bench, older)


def test_a_grant_that_was_held_back_opens_nothing_after_a_later_mask(bench: SwitchBench) -> None:
    captured = bench.grant("audio")
    bench.ask("mask", "audio")
    bench.turn()
    bench.answers()
    assert "masked again after this grant was signed" in refused(bench, captured)


def test_a_revoked_key_is_out_at_once_and_what_it_unmasked_is_masked(bench: SwitchBench) -> None:
    bench.ask("unmask", "audio", "video")
    bench.turn()
    bench.answers()
    held = bench.grant("text", ahead=1)
    Keyring(bench.directory).revoke(CONSOLE)
    bench.turn()
    assert "is not paired" in refused(bench, held, "text")
    assert bench.switch is not None
    states = bench.switch.states()
    assert states["audio"].requested == states["video"].requested == "masked"
    assert states["audio"].reason == "masked: the key of console was revoked"


def test_a_hub_unmasks_only_what_the_deployment_file_names(bench: SwitchBench, tmp_path: Path) -> None:
    hub = new_identity(tmp_path, "hub")
    Keyring(tmp_path).add(PairedKey("hub", "hub", hub.signing, None, "2026-11-21"))
    assert "hub.may_unmask" in refused(bench, bench.grant("audio", identity=hub))
    write_deployment(tmp_path / FILE, msgspec.structs.replace(EVERYBODY, hub=HubConsent(("audio",))))
    bench.run(600_000)
    bench.ask("unmask", "audio", grant=bench.grant("audio", identity=hub))
    bench.turn()
    assert bench.answers()[0].ok
    assert "may not unmask video" in refused(bench, bench.grant("video", identity=hub), "video")


def test_a_grant_that_was_refused_opens_nothing_when_the_household_changes_its_mind(
    bench: SwitchBench, tmp_path: Path
) -> None:
    """Whoever overheard it may send it again; only the person who signed it may ask again."""
    hub = new_identity(tmp_path, "hub")
    Keyring(tmp_path).add(PairedKey("hub", "hub", hub.signing, None, "2026-11-21"))
    by_hub, by_phone = bench.grant("audio", identity=hub, ahead=9), bench.grant("audio", ahead=9)
    assert "hub.may_unmask" in refused(bench, by_hub)
    (tmp_path / FILE).write_text('place = "nowhere"')
    bench.run(600_000)
    assert "runs in homes only" in refused(bench, by_phone)
    write_deployment(tmp_path / FILE, msgspec.structs.replace(EVERYBODY, hub=HubConsent(("audio",))))
    bench.run(600_000)
    assert "used already" in refused(bench, by_hub)
    assert "used already" in refused(bench, by_phone)
    bench.ask("unmask", "audio")
    bench.turn()
    assert bench.answers()[0].ok


def test_a_damaged_keyring_unmasks_nobody(bench: SwitchBench) -> None:
    grant = bench.grant("audio")
    bench.run(20_000)
    (bench.directory / "keys.json").write_text("[{]")
    assert "keys.json is damaged" in refused(bench, grant)


def test_counters_grow_though_their_file_is_lost_or_the_clock_set_back(tmp_path: Path) -> None:
    identity = new_identity(tmp_path, "phone")
    first = identity.next_counter(1000)
    second = identity.next_counter(10)
    (tmp_path / "identities" / "phone.counter").unlink()
    again = read_identity(tmp_path, "phone")
    assert again is not None
    third = again.next_counter(2000)
    assert first < second < third


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80)
@given(st.integers(0, 10_000))
def test_one_flipped_bit_anywhere_in_the_command_opens_nothing_more(bench: SwitchBench, bit: int) -> None:
    """The modalities that a good grant names may open; nothing else ever does."""
    bench.clock.advance(1_000_000)
    grant = bench.grant("audio", ahead=3)
    frame = bytearray(msgspec.json.encode(_command(grant, ("audio",))))
    bit %= 8 * len(frame)
    frame[bit // 8] ^= 1 << bit % 8
    assert bench.switch is not None
    bench.broker.servers["switch"].append((b"stranger", bytes(frame)))
    bench.turn()
    states = bench.switch.states()
    assert states["video"].requested == states["text"].requested == "masked"
    if states["audio"].requested == "live":
        message = decode(bytes(frame))
        assert isinstance(message, Command)
        assert message.grant == grant, "what was flipped was not part of the grant"
        bench.ask("mask", "audio")
        bench.turn()
