"""What the audio encoder learns from: windows that end where there is a voice, the whole clip's first."""

from __future__ import annotations

import numpy as np
import torch

from edge_mer.perception.audio import CONTEXT_FRAMES, FRAMES_PER_TOKEN, TOKEN_SAMPLES
from pipelines.encoders.audio import EARLIEST, WINDOWS, functionals, logits_of, windows_of
from pipelines.encoders.audio_frames import TokenClip, clip_of, parts
from pipelines.encoders.nets import AudioNet

torch.set_num_threads(1)


def clip(voice: int, pause: int = 4, seed: int = 0) -> TokenClip:
    """``voice`` tokens of noise between pauses."""
    random = np.random.default_rng(seed)
    samples = np.zeros((voice + 2 * pause) * TOKEN_SAMPLES, np.float32)
    samples[pause * TOKEN_SAMPLES : -pause * TOKEN_SAMPLES] = random.normal(0, 0.1, voice * TOKEN_SAMPLES)
    return clip_of(samples, 3)


def test_first_window_spans_the_whole_voice_and_others_enough_of_it() -> None:
    some = clip(12)
    voiced = np.flatnonzero(some.voiced)
    chosen = windows_of(some, np.random.default_rng(0))
    assert chosen[0] == voiced[-1]
    assert len(set(chosen.tolist())) == len(chosen) == WINDOWS
    assert chosen.min() >= voiced[int(EARLIEST * len(voiced))]


def test_short_voice_has_fewer_windows_and_a_mask() -> None:
    net = AudioNet()
    summaries, there = functionals(net, [clip(12), clip(1)])
    assert there.sum(1).tolist() == [WINDOWS, windows_of(clip(1), np.random.default_rng(0)).size]
    assert not summaries[1][there[1] == 0].any()
    some = clip(12)
    start = windows_of(some, np.random.default_rng(0))[0] * FRAMES_PER_TOKEN
    whole = torch.from_numpy(some.frames[start : start + CONTEXT_FRAMES])[None]
    assert torch.allclose(summaries[0, 0], net.measured(*parts(whole))[0], atol=1e-5)


def test_a_clip_is_answered_by_its_voiced_tokens_alone() -> None:
    torch.manual_seed(0)
    net, some = AudioNet().eval(), clip(6)
    other = TokenClip(some.frames.copy(), some.voiced, some.label)
    before = CONTEXT_FRAMES - FRAMES_PER_TOKEN
    first = int(np.flatnonzero(~some.voiced)[-1])  # a token after the voice: its own frames are in no voiced window
    other.frames[before + first * FRAMES_PER_TOKEN :][:FRAMES_PER_TOKEN] = 0
    assert torch.equal(logits_of(net, [some]), logits_of(net, [other]))
