"""Losses of training: two tasks with labels that may be missing, L_ort and L_bal; and the separability of DPFT."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edge_mer.contract.errors import InputError
from edge_mer.model.mculora import Trace, expected_sentiment


def emotion_loss(logits: Tensor, label: Tensor, weight: Tensor | None = None, smoothing: float = 0.05) -> Tensor:
    """Mean cross-entropy of logits [..., C] over the samples with a label [...] >= 0; 0 when there is none."""
    known = label >= 0
    if label.numel() and label.max() >= logits.shape[-1]:
        raise InputError(f"label holds {label.max().item()}; expected -1 (unknown) to {logits.shape[-1] - 1}")
    if not known.any():
        return logits.sum() * 0
    return functional.cross_entropy(logits[known], label[known], weight, label_smoothing=smoothing)


def sentiment_loss(polarity: Tensor, score: Tensor, ordinal: Tensor | None = None) -> Tensor:
    """Mean over the samples that have a sentiment label; ``polarity`` [..., 3]: logits of negative, neutral, positive.

    ``score`` [...] in [-3, 3], NaN = unknown: absolute error of 3 (P(positive) - P(negative)). ``ordinal`` [...] in
    {-1, 0, 1}, anything else = unknown, read only where no score is: cross-entropy, and the squared distance of the
    cumulative distributions, which depends on the order (Hou et al. 2016).
    """
    value, scored = expected_sentiment(polarity), ~torch.isnan(score)
    if scored.any() and score[scored].abs().max() > 3:
        raise InputError(f"score holds {score[scored].abs().max().item()}; expected [-3, 3] or NaN (unknown)")
    error = (value - torch.nan_to_num(score)).abs()
    ranked = torch.zeros_like(scored)
    if ordinal is not None:
        ranked = ~scored & (ordinal.abs() <= 1)
        error = torch.where(ranked, _ordinal(polarity, ordinal), error)
    known = scored | ranked
    return torch.where(known, error, torch.zeros_like(error)).sum() / known.sum().clamp(min=1)


def orthogonality(trace: Trace) -> Tensor:
    """L_ort: mean cos^2 between R_com and R_c over all present tokens (ALGORITHMS.md 2.2); 0 without adapters."""
    angles = [
        (common * specific).sum(-1).square() / (common.square().sum(-1) * specific.square().sum(-1) + 1e-12)
        for common, specific in trace.pairs.values()
    ]
    if not angles:
        return torch.zeros(())
    kept = torch.cat([trace.kept[m].flatten() for m in trace.pairs])
    flat = torch.cat([angle.flatten() for angle in angles])
    return torch.where(kept, flat, torch.zeros_like(flat)).sum() / kept.sum().clamp(min=1)


def balance(trace: Trace) -> Tensor:
    """L_bal = N sum_n (share routed to n)(mean probability of n), over tasks and blocks; 1 when even, N at worst."""
    terms = []
    for routed in (r for blocks in trace.routing.values() for r in blocks):
        weight = routed.valid.to(routed.gates.dtype)[None, ..., None]
        count = weight.sum().clamp(min=1)
        opened = (routed.gates > 0).to(weight.dtype)
        share = (opened / opened.sum(-1, keepdim=True) * weight).sum((1, 2)) / count
        mean = (torch.softmax(routed.scores, -1) * weight).sum((1, 2)) / count
        # Without a valid sample there is nothing to balance.
        terms.append((share * mean).sum(-1).mean() * routed.gates.shape[-1])
    return torch.stack(terms).mean() if terms else torch.zeros(())


def separability(trace: Trace, combination: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of JSD(softmax R_com || softmax R_c) over present tokens and their number, each [7], for DPFT's sigma.

    ``combination`` as given to the model. Divide the two after summing over batches; each term is in [0, ln 2].
    """
    total, count = torch.zeros(7), torch.zeros(7)
    for m, (common, specific) in trace.pairs.items():
        divergence = _jsd(torch.log_softmax(common, -1), torch.log_softmax(specific, -1)).detach().cpu()
        index = combination if combination.dim() == 2 else combination[:, None].expand(divergence.shape)
        kept = trace.kept[m].cpu()
        total.index_add_(0, index.cpu()[kept], divergence[kept].float())
        count.index_add_(0, index.cpu()[kept], torch.ones_like(divergence[kept]).float())
    return total, count


def _jsd(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence along the last axis, in nats; rounding must not take it below 0."""
    middle = torch.logaddexp(log_p, log_q) - torch.tensor(2.0).log()
    one = (log_p.exp() * (log_p - middle)).sum(-1)
    other = (log_q.exp() * (log_q - middle)).sum(-1)
    return (0.5 * (one + other)).clamp(min=0)


def _ordinal(polarity: Tensor, ordinal: Tensor) -> Tensor:
    """Unlike two thresholds on one axis, it distinguishes undecided between the extremes from neutral."""
    label = (ordinal.clamp(-1, 1) + 1).long()
    log_odds = torch.log_softmax(polarity, -1)
    surprise = -log_odds.gather(-1, label[..., None])[..., 0]
    truth = functional.one_hot(label, 3).to(polarity.dtype)
    return surprise + (log_odds.exp() - truth).cumsum(-1).square().sum(-1)
