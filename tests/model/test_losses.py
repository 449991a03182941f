"""Losses with missing labels, and the decoupling of the adapters."""

from __future__ import annotations

import math

import pytest
import torch

from edge_mer.contract.errors import InputError
from edge_mer.model.losses import emotion_loss, orthogonality, sentiment_loss, separability
from edge_mer.model.mculora import Trace, expected_sentiment
from tests.model.scene import CONFIG, active_model, index, windows

NAN = math.nan


def test_unlabelled_samples_do_not_count() -> None:
    logits, label = torch.randn(4, 7), torch.tensor([2, -1, 5, -1])
    assert torch.equal(emotion_loss(logits, label), emotion_loss(logits[::2], label[::2]))
    polarity, score = torch.randn(3, 3), torch.tensor([1.0, NAN, NAN])
    assert sentiment_loss(polarity, score) == pytest.approx(abs(expected_sentiment(polarity)[0].item() - 1))


def test_a_batch_without_labels_costs_nothing_and_has_a_gradient() -> None:
    logits, polarity = torch.randn(2, 7, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    total = emotion_loss(logits, torch.tensor([-1, -1])) + sentiment_loss(polarity, torch.tensor([NAN, NAN]))
    total.backward()
    assert total == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_dialogue_shapes_work_too() -> None:
    logits, label = torch.randn(2, 3, 7), torch.tensor([[1, 2, -1], [0, -1, -1]])
    assert emotion_loss(logits, label) > 0
    assert sentiment_loss(torch.zeros(2, 3, 3), torch.full((2, 3), 2.0)) == 2


CERTAIN = {-1: [4.0, 0.0, 0.0], 0: [0.0, 4.0, 0.0], 1: [0.0, 0.0, 4.0]}


def ordinal_loss(polarity: list[float], ordinal: int) -> float:
    return sentiment_loss(torch.tensor([polarity]), torch.tensor([NAN]), torch.tensor([ordinal])).item()


@pytest.mark.parametrize("ordinal", [-1, 0, 1])
def test_ordinal_loss_is_least_for_its_class_and_depends_on_the_order(ordinal: int) -> None:
    losses = {predicted: ordinal_loss(polarity, ordinal) for predicted, polarity in CERTAIN.items()}
    assert min(losses, key=losses.__getitem__) == ordinal
    if ordinal != 0:
        assert losses[-ordinal] > losses[0]  # cross-entropy alone gives both the same loss


def test_undecided_between_extremes_differs_from_neutral() -> None:
    torn = torch.tensor([[3.0, 0.0, 3.1]])
    assert torn.argmax(-1) == 2
    assert expected_sentiment(torn).abs() < 0.5


def test_score_takes_precedence_over_ordinal() -> None:
    even = torch.zeros(1, 3)
    assert sentiment_loss(even, torch.tensor([0.0]), torch.tensor([-1])) == 0


def test_labels_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match="label holds 7; expected -1"):
        emotion_loss(torch.randn(2, 7), torch.tensor([0, 7]))
    with pytest.raises(InputError, match=r"score holds 4"):
        sentiment_loss(torch.zeros(1, 3), torch.tensor([-4.0]))


def trace_of(common: torch.Tensor, specific: torch.Tensor, kept: torch.Tensor) -> Trace:
    return Trace({"audio": (common, specific)}, {"audio": kept}, {}, {})


def test_l_ort_is_the_squared_cosine_over_present_tokens() -> None:
    common = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [5.0, 5.0]]])
    specific = torch.tensor([[[0.0, 3.0], [2.0, 2.0], [5.0, 5.0]]])
    kept = torch.tensor([[True, True, False]])
    assert orthogonality(trace_of(common, specific, kept)) == pytest.approx(0.25)


def test_l_ort_decouples_pairs_and_is_defined_at_the_start() -> None:
    zero = torch.zeros(1, 2, 4, requires_grad=True)
    orthogonality(trace_of(zero, zero, torch.ones(1, 2, dtype=torch.bool))).backward()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()
    model = active_model()
    optimizer = torch.optim.SGD(model.adapter_parameters(), 1.0)
    before = orthogonality(model(windows(4), index("atv", 4)).trace)
    for _ in range(5):
        optimizer.zero_grad(set_to_none=True)
        orthogonality(model(windows(4), index("atv", 4)).trace).backward()
        optimizer.step()
    assert orthogonality(model(windows(4), index("atv", 4)).trace) < 0.7 * before


def test_separability_is_0_for_equal_representations_and_ln_2_for_disjoint_ones() -> None:
    far = torch.tensor([[[60.0, 0.0]]])
    total, count = separability(
        trace_of(far.repeat(2, 1, 1), torch.cat([far, far.flip(-1)]), torch.ones(2, 1, dtype=torch.bool)),
        torch.tensor([1, 4]),
    )
    assert 0 <= total[1] <= 1e-6
    assert total[4] == pytest.approx(math.log(2), abs=1e-6)
    assert count.tolist() == [0, 1, 0, 0, 1, 0, 0]


def test_separability_uses_present_tokens_only() -> None:
    model = active_model()
    with torch.no_grad():
        given = windows(2)
        _, count = separability(model(given, torch.tensor([4, 2])).trace, torch.tensor([4, 2]))
    assert count[4] == given["audio"].mask[0].sum()
    assert count[2] == given["audio"].mask[1].sum() + given["video"].mask[1].sum()
    assert CONFIG.adapters
