"""Functionals of a voice: of the whole window, whatever silence lies around it."""

from __future__ import annotations

import torch

from pipelines.data.functionals import DEPTH, Functionals

FRAMES = 156
SILENCE = -25.0


def voice(frames: int = 80, seed: int = 0) -> torch.Tensor:
    """Frames [1, n, 64] of something loud, its fifth band the loudest."""
    mel = torch.randn(1, frames, 64, generator=torch.Generator().manual_seed(seed)) - 12
    mel[..., 5] = -9
    return mel


def window(*parts: torch.Tensor) -> torch.Tensor:
    mel = torch.full((1, FRAMES, 64), SILENCE)
    joined = torch.cat(parts, 1)
    mel[:, FRAMES - joined.shape[1] :] = joined
    return mel


def silence(frames: int) -> torch.Tensor:
    return torch.full((1, frames, 64), SILENCE)


def test_there_are_as_many_as_the_class_says() -> None:
    assert Functionals(FRAMES)(window(voice())).shape == (1, Functionals.size)


def test_mean_and_deviation_are_those_of_the_loud_frames() -> None:
    spoken = voice()
    out = Functionals(FRAMES)(window(spoken))[0]
    assert (out[:64] - spoken.mean((0, 1))).abs().max() < 1e-3
    assert (out[64:128] - spoken.std((0, 1), correction=0).clamp(min=1e-3**0.5)).abs().max() < 1e-3


def test_position_in_the_window_changes_no_spectrum() -> None:
    functionals = Functionals(FRAMES)
    late, early = functionals(window(voice())), functionals(window(voice(), silence(40)))
    assert torch.allclose(late[:, :188], early[:, :188], atol=1e-3)


def test_what_is_far_below_the_loudest_counts_as_silence() -> None:
    functionals = Functionals(FRAMES)
    murmur = voice(30, 1) - DEPTH - 9
    assert (functionals(window(voice())) - functionals(window(murmur, voice())))[0, :64].abs().max() < 1e-3


def test_silence_alone_gives_finite_numbers() -> None:
    assert torch.isfinite(Functionals(FRAMES)(silence(FRAMES))).all()


def test_a_slow_and_a_fast_voice_differ_where_their_bands_swell() -> None:
    functionals, time = Functionals(FRAMES), torch.arange(FRAMES) * 0.0125
    slow, fast = (torch.sin(2 * torch.pi * hz * time)[None, :, None].expand(1, FRAMES, 64) - 12 for hz in (2, 10))
    swell = [functionals(x)[0, -56 - 48 : -56].view(8, 6).mean(0) for x in (slow, fast)]
    assert swell[0].argmax() == 1
    assert swell[1].argmax() == 4
