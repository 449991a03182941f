"""The encoder networks: what is trained over whole clips is what the device computes token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edge_mer.perception.audio import CONTEXT_FRAMES, FRAMES_PER_TOKEN, MELS, PITCH
from pipelines.encoders.audio_frames import BAND
from pipelines.encoders.audio_frames import augment as other_room
from pipelines.encoders.face import loss_of
from pipelines.encoders.face_augment import augment, jitter, unreadable
from pipelines.encoders.nets import AudioNet, FaceNet, TextNet
from pipelines.encoders.text import NO_ORDINAL, misheard, sentiment_loss
from pipelines.encoders.text_input import batch
from pipelines.encoders.train_log import temperature_of

torch.set_num_threads(1)


def test_an_audio_token_is_a_function_of_the_frames_of_its_window() -> None:
    torch.manual_seed(0)
    net = AudioNet().eval()
    mel = torch.randn(1, CONTEXT_FRAMES + 3 * FRAMES_PER_TOKEN, MELS) * 4 - 18
    pitch = torch.rand(1, CONTEXT_FRAMES + 3 * FRAMES_PER_TOKEN, PITCH)
    together = net(mel, pitch)
    assert together.shape == (1, 4, 64)
    for i in range(4):
        window = slice(i * FRAMES_PER_TOKEN, i * FRAMES_PER_TOKEN + CONTEXT_FRAMES)
        alone = net(mel[:, window], pitch[:, window])
        assert (alone[:, 0] - together[:, i]).abs().max() < 1e-5


def test_padding_in_front_of_a_text_changes_no_token() -> None:
    torch.manual_seed(0)
    net = TextNet(50).eval()
    ids, mask = batch([[5, 6, 7]])
    short = net(ids[:, -3:], mask[:, -3:])
    assert (net(ids, mask)[:, -3:] - short).abs().max() < 1e-5
    assert not net(ids, mask)[:, :-3].any()


def test_a_face_is_read_alike_in_any_light() -> None:
    torch.manual_seed(0)
    net = FaceNet().eval()
    face = torch.rand(1, 1, 48, 48)
    assert (net(face * 0.6 + 0.2) - net(face)).abs().max() < 0.05


@pytest.mark.parametrize("change", [augment, jitter])
def test_changed_faces_stay_pictures(change: object) -> None:
    faces = change(torch.rand(9, 1, 48, 48), torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert faces.shape == (9, 1, 48, 48)
    assert 0 <= faces.min() <= faces.max() <= 1


def test_another_room_keeps_a_finite_spectrum_and_repeats_with_its_seed() -> None:
    frames = torch.full((4, 100, MELS + PITCH), -20.0)
    one, other = (other_room(frames, torch.Generator().manual_seed(3)) for _ in range(2))
    assert [x.shape[2] for x in one] == [MELS, PITCH]
    assert all(torch.isfinite(x).all() for x in one)
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_a_voice_moves_in_pitch_the_way_its_spectrum_moves() -> None:
    frames = torch.zeros(64, 100, MELS + PITCH)
    frames[..., :MELS] = -20.0
    frames[..., 20] = -5.0  # one loud band
    mel, pitch = other_room(frames, torch.Generator().manual_seed(3))
    moved = mel.mean(1)[:, 15:26].argmax(1) - 5
    shown = mel.mean(1)[:, 15:26].amax(1) > -12  # where the band was not masked
    assert set(moved[shown].tolist()) == {-2, -1, 0, 1, 2}
    assert torch.allclose(pitch[shown, 0, 0], BAND * moved[shown].float())
    assert not pitch[..., 1].any()


def test_a_face_net_is_drawn_to_the_shares_of_the_votes_and_ignores_what_is_not_there() -> None:
    votes = torch.tensor([[0.7, 0.3, 0, 0, 0, 0, 0]])
    target, weight = torch.stack([votes, torch.zeros(1, 7)], 1), torch.ones(1)
    right = torch.stack([(votes + 1e-6).log(), torch.randn(1, 7)], 1)
    wrong = right.flip(-1)
    assert loss_of(right, target, weight) == pytest.approx(0.611, abs=1e-3)  # the entropy of the votes
    assert loss_of(wrong, target, weight) > 5
    assert loss_of(right, target, 2 * weight) == pytest.approx(1.222, abs=1e-3)


def test_a_covered_or_dark_face_is_hardly_readable_and_a_bright_half_stays() -> None:
    faces = torch.full((40, 1, 48, 48), 0.5)
    changed = unreadable(faces, torch.Generator().manual_seed(0))
    covered = (changed[:, :, :24] == 0.5).all(dim=(1, 2, 3))
    assert 15 <= int(covered.sum()) <= 33
    assert (changed[covered][:, :, -16:].std(dim=(1, 2, 3)) < 1e-6).all()
    assert changed[~covered].mean() < 0.12


def loss(value: float, ordinal: int = NO_ORDINAL, score: float = math.nan) -> float:
    return float(sentiment_loss(torch.tensor([value]), torch.tensor([ordinal]), torch.tensor([score]))[0])


def test_sentiment_without_a_label_costs_nothing() -> None:
    assert loss(2.0) == 0


def test_a_score_is_met_exactly_and_an_order_only_on_its_side() -> None:
    assert loss(1.7, score=1.7) == 0
    assert loss(1.0, score=1.7) > loss(1.5, score=1.7)
    assert loss(2.5, ordinal=1) < 0.01
    assert loss(-1.0, ordinal=1) > 1
    assert np.argmin([loss(v, ordinal=0) for v in (-2, -1, 0, 1, 2)]) == 2


def test_temperature_undoes_too_much_confidence() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 7, generator=random)
    labels = torch.multinomial(torch.softmax(logits, -1), 1, generator=random)[:, 0]
    assert temperature_of(logits * 3, labels) == pytest.approx(3, rel=0.15)


def test_a_face_and_its_mirror_image_are_read_alike() -> None:
    torch.manual_seed(0)
    net, face = FaceNet().eval(), torch.rand(3, 1, 48, 48)
    for one, other in zip(net.both(face), net.both(face.flip(-1)), strict=True):
        assert (one - other).abs().max() < 1e-5


def test_the_logits_of_a_clip_are_those_of_its_voiced_tokens_by_their_weights() -> None:
    """What ``pipelines.study.score`` does token by token with the graph's outputs."""
    torch.manual_seed(0)
    net = AudioNet().eval()
    tokens, mask = torch.randn(1, 5, 64), torch.tensor([[0.0, 1, 1, 0, 1]])
    each, weight = net.token_logits(tokens)
    kept = mask[0] > 0
    expected = torch.softmax(weight[0, kept], 0) @ each[0, kept]
    assert (net.logits(tokens, mask)[0] - expected).abs().max() < 1e-5


def test_what_a_recognizer_mishears_is_never_the_padding() -> None:
    torch.manual_seed(0)
    ids, mask = batch([[5] * 20] * 50)
    changed = misheard(ids, mask, 1000)
    assert (changed[mask == 0] == 0).all()
    assert 0.08 < (changed[mask > 0] != 5).float().mean() < 0.25
