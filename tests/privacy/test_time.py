"""Guest mode and consent end by the wall clock, and a wall clock that is played with opens nothing."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import LeaseRequest
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.privacy.consent.consent_file import FILE, home_consent
from edge_mer.privacy.switch.commands import MOST_WAITING, PROLONG_BURST
from edge_mer.privacy.switch.mask_policy import Instant
from edge_mer.privacy.switch.receipts import verify_all
from edge_mer.privacy.switch.state import Deadline
from tests.privacy.test_memory import reasons, requested, restart
from tests.switch_bench import EVERYBODY, TODAY, SwitchBench

HOUR = 3600 * SECOND


def pass_time(bench: SwitchBench, us: int) -> None:
    bench.clock.advance(us)
    bench.turn()


@pytest.fixture
def guests(tmp_path: Path) -> SwitchBench:
    """Guest mode: everything masked for three hours."""
    bench = SwitchBench(tmp_path)
    bench.ask("mask", *MODALITIES, for_s=3 * 3600, requester="anna")
    bench.turn()
    assert bench.answers()[0].ok
    return bench


def test_guest_mode_masks_everything_and_ends_by_itself(guests: SwitchBench) -> None:
    assert requested(guests) == dict.fromkeys(MODALITIES, "masked")
    pass_time(guests, 3 * HOUR - SECOND)
    assert requested(guests) == dict.fromkeys(MODALITIES, "masked")
    pass_time(guests, SECOND)
    assert requested(guests) == dict.fromkeys(MODALITIES, "live")


def test_what_was_masked_before_the_guests_came_stays_masked(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "video")
    bench.ask("mask", *MODALITIES, for_s=3600)
    bench.turn()
    pass_time(bench, HOUR)
    assert requested(bench) == {"audio": "live", "video": "masked", "text": "live"}


def untils(bench: SwitchBench) -> dict[Modality, int | None]:
    assert bench.switch is not None
    return {m: state.until_us for m, state in bench.switch.states().items()}


def test_everybody_sees_until_when_and_why_it_is_live_again(
    guests: SwitchBench, caplog: pytest.LogCaptureFixture
) -> None:
    ends = guests.clock.wall_us() + 3 * HOUR
    assert untils(guests) == dict.fromkeys(MODALITIES, ends)
    pass_time(guests, 3 * HOUR)
    assert untils(guests) == dict.fromkeys(MODALITIES, None)
    assert reasons(guests) == dict.fromkeys(MODALITIES, "its timed mask has ended")
    assert "the timed mask of audio has ended: it is live" in caplog.messages
    guests.ask("mask", "audio")
    guests.turn()
    guests.ask("unmask", "audio")
    guests.turn()
    assert reasons(guests)["audio"] is None, "a person unmasked it"


def test_a_mask_without_end_behind_a_timed_one_shows_no_end(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, live=False)
    bench.ask("mask", "audio", for_s=3600)
    bench.turn()
    assert untils(bench)["audio"] is None, "nobody had unmasked it, so it stays masked after that"


def test_text_made_from_audio_opens_when_both_masks_have_ended(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "text", for_s=7200)
    bench.ask("mask", "audio", for_s=3600)
    bench.turn()
    now = bench.clock.wall_us()
    assert untils(bench) == {"audio": now + HOUR, "video": None, "text": now + 2 * HOUR}
    bench.ask("mask", "audio", hard=True)
    bench.turn()
    assert untils(bench) == dict.fromkeys(MODALITIES, None)


Before = st.lists(st.tuples(st.sampled_from(["mask", "hard", "unmask"]), st.sampled_from(MODALITIES)), max_size=4)


@given(before=Before, masked=st.sets(st.sampled_from(MODALITIES), min_size=1))
def test_a_timed_mask_ends_in_the_state_before_it(
    tmp_path_factory: pytest.TempPathFactory, before: list[tuple[str, Modality]], masked: set[Modality]
) -> None:
    bench = SwitchBench(tmp_path_factory.mktemp("state"))
    for action, modality in before:
        bench.ask("mask" if action == "hard" else action, modality, hard=action == "hard")
        bench.turn()
    was = requested(bench)
    bench.ask("mask", *sorted(masked), for_s=3600)
    bench.turn()
    now = bench.clock.wall_us()
    expected = {m: now + HOUR if s == "masked" and was[m] == "live" else None for m, s in requested(bench).items()}
    assert untils(bench) == expected
    pass_time(bench, HOUR)
    assert requested(bench) == was


def test_a_clock_set_forward_does_not_end_it(guests: SwitchBench) -> None:
    guests.clock.epoch_us += 100 * HOUR
    pass_time(guests, SECOND)
    assert requested(guests) == dict.fromkeys(MODALITIES, "masked")


def test_a_clock_set_back_masks_until_somebody_unmasks(guests: SwitchBench) -> None:
    guests.clock.epoch_us -= HOUR
    guests.turn()
    pass_time(guests, 30 * HOUR)
    assert requested(guests) == dict.fromkeys(MODALITIES, "masked")
    guests.ask("unmask", *MODALITIES)
    guests.turn()
    assert requested(guests) == dict.fromkeys(MODALITIES, "live")


def test_a_clock_set_back_masks_what_is_live_where_consent_has_a_deadline(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, home_consent("Anna", ("audio",), TODAY, TODAY + datetime.timedelta(days=1000)))
    assert requested(bench)["audio"] == "live"
    bench.clock.epoch_us -= 10 * SECOND
    bench.turn()
    assert requested(bench)["audio"] == "masked"
    assert reasons(bench)["audio"] == "masked: the clock of this host was set back"


def test_without_any_deadline_the_wall_clock_does_not_matter(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.clock.epoch_us -= 1000 * HOUR
    bench.turn()
    bench.clock.epoch_us += 5000 * HOUR
    bench.turn()
    assert requested(bench) == dict.fromkeys(MODALITIES, "live")


def test_time_asleep_counts(guests: SwitchBench) -> None:
    guests.clock.suspend(3 * HOUR)
    guests.clock.epoch_us += 3 * HOUR
    guests.turn()
    assert requested(guests) == dict.fromkeys(MODALITIES, "live")


def test_a_restart_in_guest_mode_leaves_everything_masked_when_it_ends(guests: SwitchBench) -> None:
    restart(guests)
    pass_time(guests, 4 * HOUR)
    assert requested(guests) == dict.fromkeys(MODALITIES, "masked")


def test_guest_mode_holds_over_a_restart_with_resume_and_then_ends(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path, msgspec.structs.replace(EVERYBODY, resume=True))
    bench.ask("mask", *MODALITIES, for_s=3600)
    bench.turn()
    restart(bench)
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")
    pass_time(bench, HOUR)
    assert requested(bench) == dict.fromkeys(MODALITIES, "live")


def test_guest_mode_that_began_while_consent_was_away_ends_as_any_other(tmp_path: Path) -> None:
    """Both hold the grant back, neither takes it away."""
    bench = SwitchBench(tmp_path)
    agreed = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text('place = "nowhere"')
    bench.run(SECOND)
    bench.ask("mask", *MODALITIES, for_s=3600)
    bench.turn()
    (tmp_path / FILE).write_text(agreed)
    bench.run(SECOND)
    assert requested(bench) == dict.fromkeys(MODALITIES, "masked")
    pass_time(bench, HOUR)
    assert requested(bench) == dict.fromkeys(MODALITIES, "live")


def test_a_deadline_of_an_earlier_boot_goes_by_the_wall_clock_alone() -> None:
    deadline = Deadline(wall_us=1000, boottime_us=10**12, boot_id="earlier")
    assert not Instant(wall_us=999, boottime_us=5, boot_id="now").is_past(deadline)
    assert Instant(wall_us=1000, boottime_us=5, boot_id="now").is_past(deadline)


def test_with_resume_a_clock_set_back_while_the_switch_was_off_masks(tmp_path: Path) -> None:
    until = TODAY + datetime.timedelta(days=1000)
    bench = SwitchBench(tmp_path, msgspec.structs.replace(home_consent("Anna", ("audio",), TODAY, until), resume=True))
    restart(bench)
    assert requested(bench)["audio"] == "live"
    bench.kill_switch()
    bench.clock.epoch_us -= HOUR
    bench.start_switch()
    assert requested(bench)["audio"] == "masked"


def test_a_longer_timed_mask_wins_over_a_shorter_and_an_endless_one_over_both(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    for hours in (1, 5, 2):
        bench.ask("mask", "audio", for_s=hours * 3600)
        bench.turn()
    pass_time(bench, 4 * HOUR)
    assert requested(bench)["audio"] == "masked"
    bench.ask("mask", "audio")
    bench.turn()
    pass_time(bench, 100 * HOUR)
    assert requested(bench)["audio"] == "masked"


def test_consent_ends_at_the_end_of_its_day(tmp_path: Path) -> None:
    wall = SwitchBench(tmp_path, live=False).clock.wall_us()
    today = datetime.date.fromtimestamp(wall / SECOND)
    (tmp_path / "b").mkdir()
    bench = SwitchBench(tmp_path / "b", home_consent("Anna", ("audio",), today, today))
    assert requested(bench)["audio"] == "live"
    midnight = datetime.datetime.combine(today + datetime.timedelta(days=1), datetime.time()).timestamp()
    left = round(midnight * SECOND) - wall
    pass_time(bench, left - SECOND)
    assert requested(bench)["audio"] == "live"
    pass_time(bench, SECOND)
    assert requested(bench)["audio"] == "masked"
    assert reasons(bench)["audio"] == f"no consent: Anna's consent to audio ended on {today}"


@pytest.mark.parametrize("wrong", [{"for_s": -1}, {"for_s": 10**9}, {"for_s": 60, "hard": True}])
def test_a_timed_mask_that_makes_no_sense_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "audio", **wrong)  # type: ignore[arg-type]
    bench.turn()
    assert "can end by itself" in bench.answers()[0].text


def masks(bench: SwitchBench) -> tuple[int, int]:
    """The newest mask epoch, and the number of receipts."""
    assert bench.switch is not None
    receipts = verify_all(bench.directory, bench.host_public)
    return max(bench.switch.epochs().values()), len(tuple(receipts))


def test_a_longer_end_is_saved_and_makes_no_epoch_and_no_receipt(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "audio", for_s=3600, requester="anna")
    bench.turn()
    (first,), before = bench.answers(), masks(bench)
    bench.ask("mask", "audio", for_s=2 * 3600, requester="a lamp")
    bench.turn()
    (second,) = bench.answers()
    assert second.ok
    assert second.receipts == first.receipts, "the receipt of the mask that holds proves it"
    assert second.modalities["audio"].reason == "masked by anna"
    assert masks(bench) == before
    bench.kill_switch()
    bench.start_switch()
    pass_time(bench, HOUR + SECOND)
    assert requested(bench)["audio"] == "masked"


def test_a_flood_of_longer_ends_is_refused_and_leaves_the_owner_alone(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    bench.ask("mask", "audio", for_s=60)
    bench.turn()
    bench.answers()
    before = masks(bench)
    for n in range(1000):
        bench.ask("mask", "audio", for_s=3600 + n, requester="a lamp")
    bench.turn()
    answers = bench.answers()
    assert sum(a.ok for a in answers) == PROLONG_BURST
    assert "audio is masked, but not for longer" in answers[-1].text
    assert masks(bench) == before
    bench.ask("unmask", "audio")
    bench.turn()
    assert bench.answers()[0].ok, "no mask made its grant void, and no sender but the lamp is refused"


def test_a_flood_of_one_sender_takes_no_answer_of_another(tmp_path: Path) -> None:
    bench = SwitchBench(tmp_path)
    gate = bench.bus().client("switch")
    gate.send(LeaseRequest(modality="video", name="camera", boot="life", last_seq=None))
    bench.turn()  # it never confirms, so masks of video wait
    for _ in range(500):
        bench.ask("mask", "video", requester="a lamp")
    bench.ask("mask", "audio", requester="anna", id_="anna")
    bench.turn()
    answers = {a.id: a for a in bench.answers()}
    assert answers["anna"].ok
    assert sum("too many commands wait" in a.text for a in answers.values()) == 500 - MOST_WAITING
