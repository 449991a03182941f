"""Training windows: what the fusion node will build, cut from recordings and paired by label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, modalities_of
from edge_mer.model import MCULoRAConfig
from pipelines.data.corpora import NO_ORDINAL, UNKNOWN
from pipelines.fusion.windows import Batch, Example, Sampler, TokenTrack, TrainExamples, collate, text_track

CONFIG = MCULoRAConfig()


def track(n: int, dim: int, every_s: float, value: float = 1.0) -> TokenTrack:
    values = np.full((n, dim), value, np.float32)
    values[:, 0] = np.arange(n)
    return TokenTrack(values, (np.arange(n) + 1) * every_s, np.ones(n, np.bool_))


def clip(emotion: int, mark: float) -> Example:
    return Example({"audio": track(40, 64, 0.125, mark), "video": track(25, 7, 0.2, mark)}, emotion)


JOINT = [clip(e, 10 * e + copy) for e in range(7) for copy in range(3)]
FACES = [Example({"video": track(14, 7, 0.2, -1)}, e) for e in range(7)]
TEXTS = [Example({"text": text_track(np.full((5, 64), e, np.float32))}, e, e % 3 - 1) for e in range(7)]
SCORED = [Example({"text": text_track(np.full((5, 64), 9, np.float32))}, UNKNOWN, NO_ORDINAL, 1.5)]


# Two corpora of voices; the second has no surprise.
VOICES = [[Example({"audio": track(8, 64, 0.5, 100 + e)}, e) for e in range(7 - k)] for k in range(2)]


def draw(
    shares: NDArray[np.float64] | None = None,
    size: int = 400,
    seed: int = 0,
    strangers: bool = False,
    paired: float = 0,
    plain: float = 0,
) -> Batch:
    examples = TrainExamples(JOINT, FACES, TEXTS + SCORED, VOICES if strangers else ())
    sampler = Sampler(examples, CONFIG, paired=paired, plain=plain)
    return sampler.batch(size, np.full(7, 1 / 7) if shares is None else shares, np.random.default_rng(seed))


def test_the_newest_tokens_stand_at_the_right_with_their_age() -> None:
    window = collate([{"audio": (track(40, 64, 0.125), 3.0)}])["audio"]
    assert window.mask[0].sum() == 24
    assert window.mask[0, :8].sum() == 0
    assert window.tokens[0, 8:, 0].tolist() == list(range(24))
    assert window.age[0, -1] == 0
    assert window.age[0, 8].item() == pytest.approx(23 * 0.125)
    assert not window.tokens[0, :8].any()


def test_nothing_older_than_four_seconds_or_later_than_the_end_comes_in() -> None:
    window = collate([{"audio": (track(80, 64, 0.125), 6.0)}])["audio"]
    assert window.mask.sum() == 32
    assert window.tokens[0, 0, 0] == 16
    assert window.tokens[0, -1, 0] == 47


def test_invalid_tokens_and_absent_modalities_are_empty() -> None:
    silent = TokenTrack(np.ones((8, 64), np.float32), np.arange(8) / 8, np.zeros(8, np.bool_))
    windows = collate([{"audio": (silent, 1.0)}])
    assert all(not w.mask.any() and not w.tokens.any() and not w.age.any() for w in windows.values())


def test_a_combination_holds_its_own_modalities_and_no_other() -> None:
    batch = draw()
    for m in MODALITIES:
        filled = batch.windows[m].mask.sum(1) > 0
        named = np.array([m in modalities_of(COMBINATIONS[i]) for i in batch.combination])
        assert not filled.numpy()[~named].any()
        assert filled.numpy()[named].mean() > 0.9


def test_voice_and_face_always_come_from_one_clip() -> None:
    batch = draw(np.eye(7)[COMBINATIONS.index("av")])
    voice, face = (batch.windows[m] for m in ("audio", "video"))
    both = (voice.mask[:, -1] > 0) & (face.mask[:, -1] > 0)
    assert (voice.tokens[both][:, -1, 1] == face.tokens[both][:, -1, 1]).all()


def test_half_of_the_voices_alone_are_of_other_corpora_and_none_beside_a_face() -> None:
    alone = draw(np.eye(7)[COMBINATIONS.index("a")], strangers=True)
    marks = alone.windows["audio"].tokens[:, -1, 1]
    assert 0.4 < (marks >= 100).float().mean() < 0.6
    assert (marks[marks >= 100] - 100 == alone.emotion[marks >= 100]).all()
    both = draw(np.eye(7)[COMBINATIONS.index("av")], strangers=True)
    assert (both.windows["audio"].tokens[:, -1, 1] < 100).all()


def test_a_voice_and_a_face_of_two_people_have_one_label() -> None:
    batch = draw(np.eye(7)[COMBINATIONS.index("av")], strangers=True, paired=1.0)
    here = batch.windows["audio"].mask[:, -1] > 0
    assert (batch.windows["audio"].tokens[here, -1, 1] - 100 == batch.emotion[here]).all()
    face = batch.windows["video"]
    assert (face.tokens[face.mask > 0][:, 1] == -1).all()


def test_a_paired_text_has_the_label_of_the_clip_or_no_label_at_all() -> None:
    batch = draw(np.eye(7)[COMBINATIONS.index("at")])
    says = batch.windows["text"].tokens[:, -1, 1]
    here = batch.windows["text"].mask[:, -1] > 0
    labelled = here & (batch.emotion != UNKNOWN)
    assert (says[labelled] == batch.emotion[labelled]).all()
    assert (says[here & (batch.emotion == UNKNOWN)] == 9).all()


def test_sentiment_has_no_target_where_it_is_not_annotated() -> None:
    batch = draw()
    mute = np.array(["text" not in modalities_of(COMBINATIONS[i]) for i in batch.combination])
    assert (batch.ordinal.numpy()[mute] == NO_ORDINAL).all()
    assert np.isnan(batch.score.numpy()[mute]).all()
    assert (batch.ordinal.numpy()[~mute] != NO_ORDINAL).any()
    assert np.isfinite(batch.score.numpy()[~mute]).any()


def test_the_same_seed_gives_the_same_batch() -> None:
    one, other = draw(seed=3), draw(seed=3)
    assert all((one.windows[m].tokens == other.windows[m].tokens).all() for m in MODALITIES)
    assert (one.combination == other.combination).all()


def test_plain_words_are_neutral_beside_a_clip_and_its_label_stays() -> None:
    batch = draw(np.eye(7)[COMBINATIONS.index("at")], plain=0.5)
    here = (batch.windows["text"].mask[:, -1] > 0) & (batch.emotion != UNKNOWN) & (batch.emotion > 0)
    says, means = batch.windows["text"].tokens[here, -1, 1], batch.emotion[here]
    assert 0.4 < (says == 0).float().mean() < 0.6
    assert (says[says > 0] == means[says > 0]).all()
    alone = draw(np.eye(7)[COMBINATIONS.index("t")], plain=1.0)
    labelled = alone.emotion != UNKNOWN
    assert (alone.windows["text"].tokens[labelled, -1, 1] == alone.emotion[labelled]).all()
