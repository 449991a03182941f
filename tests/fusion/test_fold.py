"""The fold: combinations, presence, revision and finality; and inputs that never change a result."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import MODALITIES, Modality
from edge_mer.fusion import fold, state
from edge_mer.fusion.fold import ModalityPurged, Tick
from edge_mer.fusion.window import purge
from tests.fusion.scene import RATE, SETTINGS, START, Scene, name, result, sensor, subsets, tokens

HOP = SETTINGS.hop_us


@pytest.mark.parametrize("present", subsets(), ids=name)
def test_every_subset_of_sensors_gives_its_own_combination(present: tuple[Modality, ...]) -> None:
    estimate = Scene().settle(*present).estimate
    assert estimate.combination == name(present)
    assert (estimate.probabilities is None) == (not present)
    assert (estimate.label is None) == (estimate.abstain is not None) == (not present)
    assert (estimate.sentiment is None) == (estimate.sentiment_reason is not None)


@pytest.mark.parametrize("before", subsets(), ids=name)
@pytest.mark.parametrize("after", subsets(), ids=name)
def test_every_transition_ends_in_the_new_combination(
    before: tuple[Modality, ...], after: tuple[Modality, ...]
) -> None:
    scene = Scene()
    assert scene.settle(*before).estimate.combination == name(before)
    assert scene.settle(*after).estimate.combination == name(after)


def after_two_histories(modality: Modality, others: tuple[Modality, ...], source: str) -> list[list[bytes]]:
    """Result bytes from a mask of ``modality`` on, for two different histories of it before the mask.

    ``source``: whether the mask reaches the fold by the switch's order, by the gate's state, or by both.
    """
    tails = []
    for seed in (1, 2):
        scene = Scene()
        for _ in range(9):
            now = scene.now_us
            for m in dict.fromkeys((*others, modality)):
                ends = [now + (i + 1) * SECOND // RATE[m] for i in range(RATE[m] // 2)]
                context = now if m == "text" else 0
                scene.give(tokens(m, ends, seed if m == modality else 0, context=context))
            scene.tick()
        order, state = ModalityPurged(modality, 1), sensor(modality, "masked", "absent", 1)
        scene.give(*{"order": [order], "state": [state], "both": [order, state]}[source])
        mark = len(scene.outputs)
        rest = tuple(m for m in others if m != modality)
        scene.settle(*rest, hops=4)
        scene.unmask(modality, 2)
        scene.settle(*rest, modality, hops=6, epoch=2)
        tails.append([result(o) for o in scene.outputs[mark:]])
    return tails


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("others", [(), ("audio",), ("audio", "video"), MODALITIES], ids=name)
@pytest.mark.parametrize("source", ["order", "state", "both"])
def test_data_from_before_a_mask_never_changes_a_later_result(
    modality: Modality, others: tuple[Modality, ...], source: str
) -> None:
    """Two different histories of the masked modality give the same bytes from the mask on."""
    one, two = after_two_histories(modality, others, source)
    assert one == two


MUTANTS = {
    "a mask that keeps the tokens": ("purge", lambda track, epoch: replace(track, mask_epoch=epoch)),
    "a mask that keeps pending estimates": (
        "purged",
        lambda state, m, epoch: replace(state, tracks={**state.tracks, m: purge(state.tracks[m], epoch)}),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_leaking_mask_would_be_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, leaking = MUTANTS[mutant]
    for module in (fold, state):
        monkeypatch.setattr(module, name, leaking, raising=module is state)
    one, two = after_two_histories("audio", MODALITIES, "order")
    assert one != two


@pytest.mark.parametrize("modality", MODALITIES)
def test_messages_of_a_masked_modality_change_nothing(modality: Modality) -> None:
    """A capture process that is late or broken cannot get content past the mask."""
    tails = []
    for seed in (1, 2):
        scene = Scene()
        scene.settle(*MODALITIES)
        scene.mask(modality, 1)
        mark = len(scene.outputs)
        for epoch in (0, 1):
            scene.give(tokens(modality, [scene.now_us - 1000], seed, epoch=epoch))
            scene.settle(*(m for m in MODALITIES if m != modality), hops=3)
        tails.append([result(o) for o in scene.outputs[mark:]])
        assert scene.drops[f"{modality}.masked"] == 2
    assert tails[0] == tails[1]


def test_mask_applies_to_the_next_estimate() -> None:
    scene = Scene()
    scene.settle(*MODALITIES)
    scene.mask("video", 5)
    estimate = scene.hop("audio", "text").estimate
    assert estimate.combination == "at"
    assert estimate.presence["video"].state == "masked"
    assert estimate.mask_epoch == 5


def test_mask_discards_every_pending_estimate() -> None:
    """No final estimate of a window from before the mask is published after it."""
    scene = Scene()
    scene.settle("audio", "video")
    scene.mask("audio", 1)
    mark, masked_at = len(scene.outputs), scene.now_us
    scene.settle("video", hops=6)
    assert all(o.origin_us > masked_at for o in scene.outputs[mark:])


@given(st.data())
def test_any_history_gives_the_same_bytes_again(data: st.DataObject) -> None:
    scene = Scene()
    for _ in range(data.draw(st.integers(1, 12))):
        present = data.draw(st.sets(st.sampled_from(MODALITIES)))
        scene.hop(*sorted(present), seed=data.draw(st.integers(0, 3)))
        if data.draw(st.booleans()):
            modality = data.draw(st.sampled_from(MODALITIES))
            scene.give(ModalityPurged(modality, data.draw(st.integers(0, 5))))
    again = Scene()
    for event in scene.log:
        again.give(event)
    assert [result(o) for o in again.outputs] == [result(o) for o in scene.outputs]


@given(st.data())
def test_feature_purged_before_the_tick_changes_nothing(data: st.DataObject) -> None:
    """A recorder that receives the mask first does not write such features, and the session still replays."""
    modality = data.draw(st.sampled_from(MODALITIES))
    before = data.draw(st.lists(st.sets(st.sampled_from(MODALITIES)), max_size=6))
    masked_before = data.draw(st.booleans())
    epoch = data.draw(st.integers(0, 3))
    ends = []
    for present in (False, True):
        scene = Scene()
        for sensors in before:
            scene.hop(*sorted(sensors))
        if masked_before:
            scene.mask(modality, 1)
        if present:
            scene.give(tokens(modality, [scene.now_us + 100], epoch=epoch))
        scene.give(ModalityPurged(modality, 4))
        mark = len(scene.outputs)
        scene.settle(*MODALITIES, hops=3, epoch=4)
        ends.append([result(o) for o in scene.outputs[mark:]])
    assert ends[0] == ends[1]


def test_frozen_or_failed_sensor_is_absent_at_once_and_returns_with_empty_context() -> None:
    for health in ("frozen", "failed", "absent"):
        scene = Scene()
        scene.settle("audio", "video")
        scene.give(sensor("video", health=health))
        estimate = scene.hop("audio").estimate
        assert (estimate.combination, estimate.presence["video"].state) == ("a", health)
        scene.give(sensor("video", seq=1))
        first = scene.hop("audio", "video").estimate
        assert first.presence["video"].tokens <= 3, "tokens from before the failure are used"


def test_ended_encoder_is_detected_by_the_age_of_its_data() -> None:
    scene = Scene()
    scene.settle("audio", "video")
    seen = [scene.hop("video").estimate.combination for _ in range(4)]
    assert seen[0] == "av", "half a second of silence on the bus is not yet a loss"
    assert seen[-1] == "v"


def test_pause_in_speech_changes_the_combination_once() -> None:
    """Hysteresis: quality may be missing for one hop, not for two."""
    scene = Scene()
    scene.settle("audio")
    states = [scene.hop("audio", valid=False).estimate.combination for _ in range(8)]
    assert states[0] == "a"
    assert states[-1] == "none"
    assert states == sorted(states), "it became absent once and stayed absent"


def test_several_faces_make_video_absent_with_reason_unbound() -> None:
    scene = Scene()
    scene.settle("video")
    for _ in range(9):
        last = scene.hop("video", valid=False, reason="unbound").estimate
    assert (last.combination, last.presence["video"].reason) == ("none", "unbound")


def test_too_few_tokens_at_the_start_are_warming_not_present() -> None:
    scene = Scene()
    presence = scene.hop("audio").estimate.presence["audio"]
    assert (presence.state, presence.tokens) == ("warming", 4)


def test_new_face_cuts_the_context_of_video_only() -> None:
    scene = Scene()
    scene.settle("audio", "video")
    scene.give(tokens("video", [scene.now_us + 200_000, scene.now_us + 400_000], context=7))
    estimate = scene.hop("audio").estimate
    assert estimate.presence["video"].tokens == 2
    assert estimate.combination == "a"


def test_smoothing_restarts_when_the_combination_changes() -> None:
    smooth, raw = Scene(), Scene(settings=msgspec.structs.replace(SETTINGS, smoothing=0.0))
    for scene in (smooth, raw):
        scene.settle("audio", "video")
    assert smooth.outputs[-1].estimate.probabilities != raw.outputs[-1].estimate.probabilities
    for scene in (smooth, raw):
        scene.settle("audio", hops=3)
    changes = [
        (s.estimate.probabilities, r.estimate.probabilities)
        for s, r, before in zip(smooth.outputs[1:], raw.outputs[1:], smooth.outputs, strict=False)
        if s.estimate.combination != before.estimate.combination and not s.estimate.final and not before.estimate.final
    ]
    assert changes
    assert all(s == r for s, r in changes)


def test_late_text_revises_an_estimate_and_then_it_is_final() -> None:
    scene = Scene()
    scene.settle("audio")
    tick = scene.now_us
    scene.settle("audio", hops=2)
    mark = len(scene.outputs)
    scene.give(tokens("text", [tick - 500_000], context=1))
    scene.settle("audio", hops=5)
    about = [o.estimate for o in scene.outputs[mark:] if o.origin_us == tick]
    assert [(e.combination, e.revision, e.final) for e in about] == [("at", 1, False), ("at", 1, True)]


def test_no_estimate_is_revised_after_its_horizon() -> None:
    scene = Scene()
    scene.settle("audio", hops=12)
    old = scene.now_us - SETTINGS.horizon_us - HOP
    scene.give(tokens("text", [old - 100_000], context=1))
    scene.settle("audio", hops=6)
    finals = [o for o in scene.outputs if o.origin_us == old]
    assert [o.estimate.combination for o in finals] == ["a", "a"]
    assert finals[-1].estimate.final


def test_every_estimate_becomes_final_exactly_once() -> None:
    scene = Scene()
    for i in range(30):
        scene.hop("audio", *(["text"] if i % 3 == 0 else []))
    finals = [o.origin_us for o in scene.outputs if o.estimate.final]
    assert len(finals) == len(set(finals))
    expected = [START + HOP * i for i in range(1, 31) if START + HOP * i <= scene.now_us - SETTINGS.horizon_us]
    assert finals == expected


def test_a_corrected_transcript_replaces_its_segment() -> None:
    one, two = Scene(), Scene()
    for scene in (one, two):
        scene.settle("audio")
    one.give(tokens("text", [one.now_us - 9], seed=1, context=3), tokens("text", [one.now_us - 9], seed=2, context=3))
    two.give(tokens("text", [two.now_us - 9], seed=2, context=3))
    assert result(one.hop("audio")) == result(two.hop("audio"))


def test_late_future_foreign_and_misshapen_features_are_dropped_and_counted() -> None:
    scene = Scene()
    scene.settle("audio")
    before = scene.state
    scene.give(
        tokens("audio", [scene.now_us - 3 * SECOND]),
        tokens("audio", [scene.now_us + 60 * SECOND]),
        tokens("audio", [scene.now_us], model="other"),
        tokens("audio", [scene.now_us], dim=5),
    )
    assert scene.drops == {"audio.late": 1, "audio.future": 1, "audio.foreign": 1, "audio.bad": 1}
    assert scene.state == before


def test_a_flood_is_bounded_and_counted() -> None:
    scene = Scene()
    for i in range(60):
        scene.give(tokens("audio", [scene.now_us + i * 1000 + j for j in range(10)], seq=i))
    held = sum(len(p.values) for p in scene.state.tracks["audio"].pieces)
    assert held <= 4 * 32
    assert scene.drops["audio.flood"] == 600 - held


def test_features_out_of_order_within_the_lateness_give_the_same_estimate() -> None:
    one, two = Scene(), Scene()
    for scene, order in ((one, (0, 1, 2, 3)), (two, (1, 0, 3, 2))):
        scene.settle("audio", hops=4)
        ends = [scene.now_us + (i + 1) * 125_000 for i in range(4)]
        for i in order:
            scene.give(tokens("audio", [ends[i]], seq=i))
    assert result(one.tick()) == result(two.tick())


def test_time_never_goes_back() -> None:
    scene = Scene()
    scene.settle("audio")
    assert scene.give(Tick(scene.now_us), Tick(scene.now_us - HOP)) == []
    assert scene.drops == {"tick.reordered": 2}


def test_estimates_are_marked_biometric() -> None:
    assert Scene().settle("audio").estimate.biometric
    assert not Scene().settle("text").estimate.biometric


def test_fold_has_no_state() -> None:
    scene = Scene()
    scene.settle("audio")
    event = Tick(scene.now_us + HOP)
    (_, one), (_, two) = (scene.fusion.step(scene.state, event) for _ in range(2))
    assert [result(o) for o in one.outputs] == [result(o) for o in two.outputs] != []
