"""The switch says masked only when every gate has closed and every child has forgotten; only a grant unmasks."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_mer.bus import Client
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Closed, Command, Exited, Lease, LeaseRequest, Purge, Purged, Register
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.contract.messages import Privacy
from edge_mer.privacy.consent.consent_file import home_consent
from edge_mer.privacy.keys.signing import is_signed
from edge_mer.privacy.switch.switch import RELEASE_US
from tests.switch_bench import TODAY, SwitchBench, kinds, received


@pytest.fixture
def bench(tmp_path: Path) -> SwitchBench:
    return SwitchBench(tmp_path)


def ask_lease(bench: SwitchBench, gate: Client, modality: Modality, name: str = "worker", boot: str = "life") -> None:
    gate.send(LeaseRequest(modality=modality, name=name, boot=boot, last_seq=None))
    bench.turn()


def new_gate(bench: SwitchBench, modality: Modality, name: str = "worker", boot: str = "life") -> Client:
    gate = bench.bus().client("switch")
    ask_lease(bench, gate, modality, name, boot)
    assert kinds(received(gate)) == ["Lease"]
    return gate


def new_child(bench: SwitchBench, *modalities: Modality, name: str = "child", boot: str = "life") -> Client:
    child = bench.bus().client("switch")
    child.send(Register(name=name, boot=boot, modalities=modalities, gate=False))
    bench.turn()
    return child


def closed(modality: Modality, epoch: int, name: str = "worker", handle_closed: bool = True) -> Closed:
    return Closed(
        modality=modality,
        name=name,
        boot="life",
        mask_epoch=epoch,
        closed_us=0,
        last_seq=41,
        handle_closed=handle_closed,
    )


def purged(modality: Modality, epoch: int, name: str = "child", boot: str = "life") -> Purged:
    return Purged(modality=modality, name=name, boot=boot, mask_epoch=epoch)


def test_every_consented_modality_gets_leases_and_no_other_does(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, deployment=home_consent("Anna", ("audio",), TODAY))
    gate = bench.bus().client("switch")
    for modality, answer in (("audio", "Lease"), ("video", "Refused"), ("text", "Refused")):
        ask_lease(bench, gate, modality)  # type: ignore[arg-type]
        assert kinds(received(gate)) == [answer]
    bench.ask("unmask", "video")
    bench.turn()
    (answer_,) = bench.answers()
    assert not answer_.ok
    assert "nobody in this home agreed to video" in answer_.text


def test_text_through_a_wyoming_server_needs_its_own_consent(tmp_path: Path) -> None:
    deployment = home_consent("Anna", ("audio", "video", "text"), TODAY)
    bench = SwitchBench(tmp_path, deployment, live=False, text={"source": "wyoming", "wyoming": "nas:10300"})
    bench.ask("unmask", "text")
    bench.turn()
    assert "agreed to wyoming" in bench.answers()[0].text
    gate = bench.bus().client("switch")
    ask_lease(bench, gate, "text")
    assert kinds(received(gate)) == ["Refused"]


def test_leases_grow_in_counter_over_a_restart_of_the_switch(bench: SwitchBench) -> None:
    gate = bench.bus().client("switch")
    counters, epochs = [], []
    for _ in range(3):
        for _ in range(3):
            ask_lease(bench, gate, "audio")
        leases = [m for m in received(gate) if isinstance(m, Lease)]
        counters += [m.counter for m in leases]
        epochs += [m.mask_epoch for m in leases]
        bench.kill_switch()
        bench.clock.advance(SECOND)
        bench.start_switch()
        bench.ask("unmask", "audio")
        bench.turn()
    assert counters == sorted(set(counters))
    assert epochs == sorted(epochs)
    assert len(set(epochs)) == 3


def test_a_mask_answers_only_after_closed_and_purged(bench: SwitchBench) -> None:
    gate, child = new_gate(bench, "video"), new_child(bench, "video")
    bench.ask("mask", "video")
    bench.turn()
    (order,) = received(gate)
    (purge,) = received(child)
    assert (order.modality, purge.modality) == ("video", "video")  # type: ignore[union-attr]
    epoch = purge.mask_epoch  # type: ignore[union-attr]
    assert bench.answers() == []

    gate.send(closed("video", epoch))
    bench.turn()
    assert bench.answers() == []
    child.send(purged("video", epoch))
    bench.turn()
    (answer,) = bench.answers()
    assert answer.ok
    assert answer.modalities["video"].effective == "masked"
    assert answer.modalities["video"].last_seq == 41


def test_orders_are_sent_again_until_confirmed_ever_more_slowly(bench: SwitchBench) -> None:
    gate, child = new_gate(bench, "video"), new_child(bench, "video")
    bench.ask("mask", "video")
    bench.turn()
    bench.run(SECOND)
    assert 3 <= len(received(gate)) <= 6
    purges = [m for m in received(child) if isinstance(m, Purge)]
    assert 3 <= len(purges) <= 6
    gate.send(closed("video", purges[0].mask_epoch))
    child.send(purged("video", purges[0].mask_epoch))
    bench.run(3 * SECOND)
    assert received(gate) + received(child) == []


def test_what_did_not_take_effect_within_a_second_is_said_loudly(bench: SwitchBench) -> None:
    gate, _ = new_gate(bench, "audio", name="microphone"), new_child(bench, "audio", name="recorder")
    bench.ask("mask", "audio")
    bench.run(SECOND)
    (answer,) = bench.answers()
    assert not answer.ok
    assert "microphone did not confirm that its device is closed" in answer.text
    assert "recorder did not confirm the purge" in answer.text
    assert answer.modalities["audio"].requested == "masked"
    assert answer.modalities["audio"].effective == "live"

    gate.send(closed("audio", 10_000, name="microphone"))
    bench.turn()
    bench.ask("status")
    bench.turn()
    assert bench.answers()[0].modalities["audio"].effective == "masked"


@pytest.mark.parametrize("wrong", [{"epoch": 2}, {"handle_closed": False}, {"name": "somebody"}])
def test_only_the_gate_itself_confirms_this_order_with_its_handle_closed(
    bench: SwitchBench, wrong: dict[str, object]
) -> None:
    gate = new_gate(bench, "video")
    bench.ask("mask", "video")
    bench.turn()
    gate.send(closed("video", **{"epoch": 3, **wrong}))  # type: ignore[arg-type]
    bench.turn()
    assert bench.answers() == []
    gate.send(closed("video", 3))
    bench.turn()
    assert bench.answers()[0].ok


def test_the_microphones_mask_takes_the_words_made_from_it(bench: SwitchBench) -> None:
    gate = new_gate(bench, "text", name="transcript")
    bench.ask("mask", "audio")
    bench.turn()
    assert kinds(received(gate)) == ["Close"]
    gate.send(closed("text", 10_000, name="transcript"))
    bench.ask("unmask", "text")
    bench.turn()
    masked, unmasked = bench.answers()
    assert masked.modalities["text"].effective == "masked"
    assert not unmasked.ok
    assert "with the audio that it is made from" in unmasked.text
    bench.ask("unmask", "audio")
    bench.turn()
    assert kinds(received(gate)) == ["Lease"]


def test_typed_words_stay_when_the_microphone_is_masked(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, text={"source": "typed"})
    gate = new_gate(bench, "text")
    bench.ask("mask", "audio")
    bench.turn()
    assert received(gate) == []
    assert bench.answers()[0].modalities["text"].effective == "live"


def test_lifting_the_microphones_mask_leaves_the_transcripts_own(bench: SwitchBench) -> None:
    bench.ask("mask", "text")
    bench.ask("mask", "audio")
    bench.turn()
    bench.ask("unmask", "audio")
    bench.turn()
    states = bench.answers()[-1].modalities
    assert (states["audio"].requested, states["text"].requested) == ("live", "masked")


def test_what_has_no_gate_is_masked_at_once(bench: SwitchBench) -> None:
    bench.ask("mask", "audio", "video", "text")
    bench.turn()
    (answer,) = bench.answers()
    assert answer.ok
    assert {s.effective for s in answer.modalities.values()} == {"masked"}


def test_an_ended_process_counts_as_closed_and_purged(bench: SwitchBench) -> None:
    new_gate(bench, "text", name="transcript")
    new_child(bench, "audio", name="transcript")
    bench.ask("mask", "audio")
    bench.turn()
    supervisor = bench.bus().client("switch")
    supervisor.send(Exited(name="transcript", boot="another life"))
    bench.turn()
    assert bench.answers() == []
    supervisor.send(Exited(name="transcript", boot="life"))
    bench.turn()
    assert bench.answers()[0].ok


def test_a_new_life_of_a_process_gets_its_orders_and_waits_for_the_end_of_the_old_one(bench: SwitchBench) -> None:
    new_gate(bench, "video")
    new_child(bench, "video")
    bench.ask("mask", "video")
    bench.turn()
    reborn = bench.bus().client("switch")
    ask_lease(bench, reborn, "video", boot="second life")
    child = new_child(bench, "video", boot="second life")
    child.send(purged("video", 10_000, boot="second life"))
    bench.turn()
    assert bench.answers() == []
    assert kinds(received(reborn)) == ["Refused"]
    assert kinds(received(child)) == ["Purge"]
    bench.bus().client("switch").send(Exited(name="worker", boot="life"))
    bench.bus().client("switch").send(Exited(name="child", boot="life"))
    bench.turn()
    assert bench.answers()[0].ok


def test_a_gate_that_fell_silent_is_never_taken_for_closed(bench: SwitchBench) -> None:
    new_gate(bench, "video")
    bench.run(60 * SECOND, step_us=SECOND)
    bench.ask("mask", "video")
    bench.run(SECOND)
    assert not bench.answers()[0].ok


def test_a_repeated_command_is_done_once_and_answered_each_time(bench: SwitchBench) -> None:
    new_gate(bench, "video")
    for _ in range(3):
        bench.ask("mask", "video", id_="same")
        bench.turn()
    assert bench.answers() == []
    bench.run(SECOND)
    bench.ask("mask", "video", id_="same")
    bench.turn()
    first, again = bench.answers()
    assert first == again
    assert first.modalities["video"].mask_epoch == 3


def test_a_restarted_switch_calls_nothing_closed_until_leases_of_its_former_life_ran_out(bench: SwitchBench) -> None:
    bench.kill_switch()
    bench.start_switch()
    bench.ask("mask", "video")
    bench.run(2 * SECOND)
    assert bench.answers() == []
    bench.run(RELEASE_US)
    assert bench.answers()[0].ok


def test_after_a_restart_an_unmasked_device_may_be_open_under_a_lease_of_before(bench: SwitchBench) -> None:
    new_gate(bench, "video")
    bench.kill_switch()
    bench.start_switch()
    bench.ask("unmask", "video")
    bench.turn()
    assert bench.answers()[0].modalities["video"].effective == "live", "nobody has said that it is closed"


def test_a_hard_mask_is_not_lifted_over_the_bus(bench: SwitchBench) -> None:
    bench.ask("mask", "video", hard=True)
    bench.ask("mask", "video")
    bench.ask("unmask", "video")
    bench.turn()
    assert [a.ok for a in bench.answers()] == [True, True, False]
    bench.ask("status")
    bench.turn()
    assert bench.answers()[0].modalities["video"].effective == "hard"


@pytest.mark.parametrize("action", ["mask", "unmask", "dance"])
def test_a_command_without_sense_is_answered_with_what_would_make_sense(bench: SwitchBench, action: str) -> None:
    bench.ask(action)
    bench.turn()
    (answer,) = bench.answers()
    assert not answer.ok
    assert "audio, video, text" in answer.text or "mask, unmask, resume, status" in answer.text


def test_privacy_is_published_on_change_and_twice_a_second(bench: SwitchBench) -> None:
    reader = bench.bus().reader("privacy")
    bench.run(2 * SECOND)
    assert len(reader.drain()) == 4
    bench.ask("mask", "video")
    bench.turn()
    (message,) = reader.drain()
    assert isinstance(message.body, Privacy)
    assert message.body.modalities["video"].effective == "masked"
    assert message.body.modalities["audio"].requested == "live"


def test_a_crowd_gets_no_leases_that_the_switch_cannot_track(bench: SwitchBench) -> None:
    for n in range(64):
        new_gate(bench, "video", name=f"worker{n}")
    late = bench.bus().client("switch")
    ask_lease(bench, late, "video", name="one too many")
    assert received(late) == []


@given(frame=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_garbage_on_its_endpoint_is_dropped_and_counted(bench: SwitchBench, frame: bytes) -> None:
    assert bench.switch is not None
    bad = bench.switch.counters["bad"]
    bench.broker.servers["switch"].append((b"stranger", frame))
    bench.clock.advance(SECOND)
    bench.turn()
    assert bench.switch.counters["bad"] == bad + 1
    bench.ask("status")
    bench.turn()
    assert bench.answers()[0].ok


@pytest.mark.parametrize("modality", ["smell", None, 7])
def test_a_command_for_an_unknown_modality_is_garbage_too(bench: SwitchBench, modality: object) -> None:
    frame = msgspec.json.encode({"kind": "command", "id": "x", "action": "mask", "modalities": [modality]})
    bench.broker.servers["switch"].append((b"stranger", frame))
    bench.turn()
    assert bench.switch is not None
    assert bench.switch.counters["bad"] == 1


Step = st.tuples(st.sampled_from(["mask", "unmask"]), st.sampled_from(["audio", "video", "text"]), st.booleans())


@settings(max_examples=20)
@given(st.lists(Step, max_size=6))
def test_the_epoch_grows_with_every_change_and_never_goes_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Modality, bool]]
) -> None:
    bench = SwitchBench(tmp_path_factory.mktemp("state"))
    reader = bench.bus().reader("privacy")
    for action, modality, restart in steps:
        bench.ask(action, modality)
        bench.run(SECOND)
        if restart:
            bench.kill_switch()
            bench.start_switch()
            bench.turn()
    bodies = [m.body for m in reader.drain()]
    epochs = [b.mask_epoch for b in bodies]
    assert epochs == sorted(epochs)
    for earlier, later in itertools.pairwise(bodies):
        for modality, state in later.modalities.items():
            before = earlier.modalities[modality]
            assert state.mask_epoch >= before.mask_epoch
            if state.requested != before.requested:
                assert state.mask_epoch > before.mask_epoch


def test_mask_with_a_challenge_is_answered_with_receipts_in_force(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    for number in range(2):  # the second mask changes nothing, and is proven anew by the same receipts
        bench.person.send(Command(id=f"m{number}", action="mask", modalities=MODALITIES, challenge=f"c{number}"))
        bench.turn()
    first, second = bench.answers()
    assert first.holds is not None
    assert second.holds is not None
    assert (first.holds.challenge, second.holds.challenge) == ("c0", "c1")
    assert is_signed(bench.host_public, second.holds)
    assert all(is_signed(bench.host_public, r) for r in second.proofs)
    assert first.proofs == second.proofs
    assert {m: h.receipt for m, h in second.holds.modalities.items()} == {r.modality: r.number for r in second.proofs}
    forged = msgspec.structs.replace(second.holds, challenge="c2")
    assert not is_signed(bench.host_public, forged)
    bench.ask("mask", "audio")
    bench.turn()
    (plain,) = bench.answers()
    assert plain.holds is None
    assert plain.proofs == ()
