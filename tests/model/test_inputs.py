"""Combinations and presence, erasing for FAGM, and input errors that name the array and the row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_mer.contract.domain import COMBINATIONS, MODALITIES, combination_of
from edge_mer.contract.errors import InputError
from edge_mer.model import Window, dialogue
from edge_mer.model.inputs import check, combination_index, erasable, erased, presence
from tests.model.scene import CONFIG, DIALOGUE, Windows, dialogue_batch, index, windows


@given(st.lists(st.sampled_from(MODALITIES), unique=True))
def test_a_combination_names_its_modalities(chosen: list[str]) -> None:
    present = torch.tensor([m in chosen for m in MODALITIES])
    named = combination_of(set(chosen))  # type: ignore[arg-type]
    found = combination_index(present).item()
    assert found == (-1 if named == "none" else COMBINATIONS.index(named))
    assert torch.equal(presence(combination_index(present)), present)


def test_erasing_skips_samples_with_one_modality() -> None:
    combination = torch.tensor([COMBINATIONS.index(c) for c in ("atv", "a", "tv")])
    full = {m: Window(w.tokens, torch.ones_like(w.mask), w.age) for m, w in windows(3).items()}
    gone = erased(full, combination, {"audio"})["audio"].mask[:, 0]
    assert gone.tolist() == [0, 1, 0]
    two = erased(full, combination, {"text", "video"})
    assert two["text"].mask[:, 0].tolist() == two["video"].mask[:, 0].tolist() == [0, 0, 1]
    assert erasable(combination) == pytest.approx({"audio": 1 / 3, "video": 2 / 3, "text": 2 / 3})


def test_erasing_in_a_dialogue_is_by_utterance() -> None:
    values, utterances, _ = dialogue_batch(1, 3)
    present = torch.tensor([[[True, False, True], [True, False, False], [False, True, True]]])
    seen, combination = dialogue(values, torch.ones_like(utterances), present)
    assert erased(seen, combination, {"audio"})["audio"].mask[0].tolist() == [0, 1, 0]


def test_good_inputs_pass() -> None:
    check(windows(3), index("atv", 3), CONFIG)
    check(*dialogue(*dialogue_batch(2, 4)), DIALOGUE)


def test_garbage_in_an_absent_modality_passes() -> None:
    given = windows(2)
    given["text"] = Window(given["text"].tokens * torch.nan, given["text"].mask, given["text"].age)
    check(given, index("av", 2), CONFIG)


def _poisoned(given: Windows) -> Windows:
    given["video"].tokens[1, -1, 3] = torch.nan
    return given


def _narrow(given: Windows) -> Windows:
    w = given["audio"]
    return {**given, "audio": Window(w.tokens[..., 1:], w.mask, w.age)}


def _short(given: Windows) -> Windows:
    w = given["text"]
    return {**given, "text": Window(w.tokens, w.mask[:, 1:], w.age)}


@pytest.mark.parametrize(
    ("spoil", "combination", "message"),
    [
        (_poisoned, torch.zeros(3, dtype=torch.int64), r"video\.tokens, row 1, token 5: NaN"),
        (_narrow, torch.zeros(3, dtype=torch.int64), r"audio\.tokens is \[3, 6, 63\]; expected \[B, T, 64\]"),
        (_short, torch.zeros(3, dtype=torch.int64), r"text: .* do not fit"),
        (lambda w: {"audio": w["audio"]}, torch.zeros(3, dtype=torch.int64), "video is missing"),
        (lambda w: w, torch.tensor([0, 1, 7]), r"combination holds 0\.\.7; expected 0\.\.6"),
        (lambda w: w, torch.tensor([0, -1, 1]), r"combination holds -1\.\.1"),
        (lambda w: w, torch.zeros(3, 6, dtype=torch.int64), "2 axes"),
    ],
)
def test_bad_input_is_named(spoil: Callable[[Windows], Windows], combination: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(spoil(windows(3)), combination, CONFIG)
