"""MMoLRE: the router (T10), the separation of the tasks (T11), the load of the experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from edge_mer.model import MCULoRA, MCULoRAConfig
from edge_mer.model.experts import Routing, UniTSE, top_gates
from edge_mer.model.losses import balance
from edge_mer.model.mculora import Trace
from tests.model.scene import CONFIG, active_model, index, windows

Gates = Callable[[Tensor, int], Tensor]


def by_sorting(scores: Tensor, k: int) -> Tensor:
    """The top-k form: a stable sort keeps the lower index of equal scores first."""
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices[..., :k]
    kept = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, True)
    return torch.softmax(scores.masked_fill(~kept, -torch.inf), -1)


def routes_well(gates: Gates, scores: Tensor, k: int) -> bool:
    """T10: k gates above 0, sum 1, the same as the top-k form bit for bit."""
    out = gates(scores, k)
    exact = ((out > 0).sum(-1) == k).all() and ((out.sum(-1) - 1).abs() <= 1e-6).all()
    return bool(exact) and torch.equal(out, by_sorting(scores, k))


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.sampled_from([-3.0, -0.5, 0.0, 0.25, 2.0]), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_t10_exactly_k_gates_open_and_ties_go_to_the_lower_index(scores: list[list[float]], k: int) -> None:
    assert routes_well(top_gates, torch.tensor(scores), k)


def test_t10_the_comparison_form_is_the_top_k_form_on_random_rows() -> None:
    assert routes_well(top_gates, torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)), 2)


def _ties_share(scores: Tensor, k: int) -> Tensor:
    rank = (scores[..., None, :] > scores[..., :, None]).sum(-1)
    return torch.softmax(scores.masked_fill(rank >= k, -torch.inf), -1)


def _ties_to_the_higher(scores: Tensor, k: int) -> Tensor:
    return top_gates(scores.flip(-1), k).flip(-1)


T10_MUTANTS: dict[str, Gates] = {
    "all ties open": _ties_share,
    "ties go to the higher index": _ties_to_the_higher,
    "one too many": lambda s, k: top_gates(s, k + 1),
    "softmax before the choice": lambda s, k: torch.where(top_gates(s, k) > 0, torch.softmax(s, -1), 0.0),
}


@pytest.mark.parametrize("name", T10_MUTANTS)
def test_t10_check_detects_wrong_routing(name: str) -> None:
    assert not routes_well(T10_MUTANTS[name], torch.tensor([[1.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]]), 2)


def test_t10_every_sample_and_task_of_the_model_opens_k_experts() -> None:
    out = active_model()(windows(5), index("atv", 5))
    routed = [r for blocks in out.trace.routing.values() for r in blocks]
    assert len(routed) == 6
    assert all(r.gates.shape == (2, 5, 1, 4) and ((r.gates > 0).sum(-1) == 2).all() for r in routed)


def test_gate_noise_exists_in_training_only() -> None:
    torch.manual_seed(0)
    model = active_model(replace(CONFIG, dropout=0.0, adapter_dropout=0.0))
    given, c = windows(3), index("atv", 3)
    assert torch.equal(model(given, c).logits, model(given, c).logits)
    model.train()
    assert not torch.equal(model(given, c).logits, model(given, c).logits)


def by_hand(block: UniTSE, x: Tensor, gates: Tensor, task: int) -> Tensor:
    """y = x + sum over the open experts of G_n f_n(LN x) + f_task(LN x) of x [T, D], one expert after the other."""

    def expert(enter: Tensor, bias: Tensor, leave: Tensor, last: Tensor) -> Tensor:
        """Convolution of kernel 3 to rank r, GELU, kernel 1 back."""
        kernel = enter.reshape(3, x.shape[1], -1).permute(2, 1, 0)
        hidden = functional.gelu(functional.conv1d(h.T[None], kernel, bias, padding=1))[0].T
        return hidden @ leave + last

    h, y = block.norm(x), x.clone()
    for n in range(block.shared_out_bias.shape[0]):
        own = block.owner == n
        if gates[n] > 0:
            f = expert(
                block.shared_in[:, own], block.shared_in_bias[own], block.shared_out[own], block.shared_out_bias[n]
            )
            y = y + gates[n] * f
    return y + expert(
        block.task_in[task], block.task_in_bias[task, 0, 0], block.task_out[task], block.task_out_bias[task, 0, 0]
    )


def test_block_is_the_sum_of_its_open_experts_and_of_the_task_s_own() -> None:
    model = active_model()
    block = next(b for b in model.modules() if isinstance(b, UniTSE))
    x, kept = torch.randn(1, 3, 6, CONFIG.width), torch.ones(3, 6, dtype=torch.bool)
    with torch.no_grad():
        y, routed = block(x, kept)
        for task in range(2):
            for sample in range(3):
                expected = by_hand(block, x[0, sample], routed.gates[task, sample, 0], task)
                assert torch.allclose(y[task, sample], expected, atol=1e-5)


def crosstalk(config: MCULoRAConfig = CONFIG) -> dict[str, float]:
    """T11: gradients of each task's loss in the other task's experts and router, and in the shared experts."""
    model = active_model(config)
    gradients: dict[str, float] = {"shared by the weaker": torch.inf}
    for i, task in enumerate(("emotion", "sentiment")):
        model.zero_grad(set_to_none=True)
        out = model(windows(6), index("atv", 6))
        (out.logits if task == "emotion" else out.sentiment).square().sum().backward()
        blocks = [b for b in model.modules() if isinstance(b, UniTSE)]
        other = [
            p.grad[1 - i].abs().max()
            for b in blocks
            for p in (b.task_in, b.task_in_bias, b.task_out, b.task_out_bias, b.router)
            if p.grad is not None
        ]
        gradients[task] = torch.stack(other).max().item()
        least = min(b.shared_in.grad.abs().max().item() for b in blocks if b.shared_in.grad is not None)
        gradients["shared by the weaker"] = min(gradients["shared by the weaker"], least)
    return gradients


def test_t11_task_trains_shared_experts_and_not_those_of_the_other_task() -> None:
    gradients = crosstalk()
    assert gradients["emotion"] == gradients["sentiment"] == 0
    assert gradients["shared by the weaker"] > 0


def test_t11_check_detects_swapped_task_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task experts are swapped between the tasks."""
    forward = UniTSE.forward

    def swapped(self: UniTSE, x: Tensor, kept: Tensor) -> tuple[Tensor, Routing]:
        y, routed = forward(self, x, kept)
        return y.flip(0), routed

    monkeypatch.setattr(UniTSE, "forward", swapped)
    assert crosstalk()["emotion"] > 0


def test_hard_sharing_gives_both_tasks_the_same_features_at_the_same_size() -> None:
    hard = active_model(replace(CONFIG, experts=False))
    out = hard(windows(2), index("atv", 2))
    assert all(len(r.gates) == 1 and (r.gates == 1).all() for blocks in out.trace.routing.values() for r in blocks)
    rank = {
        kind: sum(
            b.shared_in.shape[1] + b.task_in.shape[0] * b.task_in.shape[2] for b in m.modules() if type(b) is UniTSE
        )
        for kind, m in (("hard", hard), ("routed", active_model()))
    }
    assert rank["hard"] == rank["routed"]


def trace_of(gates: Tensor, scores: Tensor) -> Trace:
    valid = torch.ones(gates.shape[1:3], dtype=torch.bool)
    return Trace({}, {}, {"audio": [Routing(gates, scores, valid)]}, {})


def test_l_bal_is_1_when_even_and_grows_when_one_expert_takes_all() -> None:
    even = torch.eye(4)[None, :, None]
    assert balance(trace_of(even, torch.zeros(1, 4, 1, 4))) == pytest.approx(1)
    one = torch.tensor([20.0, 0, 0, 0]).expand(1, 4, 1, 4)
    assert balance(trace_of(top_gates(one, 1), one)) == pytest.approx(4, abs=1e-3)


def test_l_bal_spreads_a_collapsed_router() -> None:
    scores = torch.tensor([1.0, 0, 0, 0]).expand(1, 4, 1, 4).clone().requires_grad_()
    balance(trace_of(top_gates(scores.detach(), 1), scores)).backward()
    assert scores.grad is not None
    assert (scores.grad[..., 0] > 0).all()
    assert (scores.grad[..., 1:] < 0).all()


def test_absent_modalities_do_not_count_for_l_bal() -> None:
    model = active_model()
    with torch.no_grad():
        out = model(windows(2), torch.tensor([4, 0]))
    assert out.trace.routing["audio"][0].valid.all()
    assert out.trace.routing["video"][0].valid.squeeze().tolist() == [False, True]


def test_model_without_experts_gives_estimates() -> None:
    model = MCULoRA(replace(CONFIG, expert_blocks=0)).eval()
    out = model(windows(2), index("atv", 2))
    assert out.logits.shape == (2, 7)
    assert balance(out.trace) == 0
