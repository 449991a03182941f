"""Fits the readable output of a trained expression network: faces as they are against covered and dark ones.

The trunk was trained to be unsure of those, so its vector tells them apart by a plane (logistic regression).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.encoders.face_augment import augment, unreadable
from pipelines.encoders.nets import FaceNet

# Faces of each kind; the decay of the plane; how coarse the pattern of a cover is.
FACES, DECAY, ROUGH = 3000, 1e-3, 0.3
# The least light in which a face shall be read, and the noise of a camera there.
DIM, NOISE = 0.3, 0.02
# The share of faces as they are that is taken for readable.
PASSED: Final = 0.98


def fit(net: FaceNet, images: Tensor, seed: int = 0) -> None:
    """Sets ``net.readable`` by pictures of ``images`` [n, 1, 48, 48]: its logit is above 0 for PASSED of them."""
    random = torch.Generator().manual_seed(seed)
    faces = augment(images[torch.randperm(len(images), generator=random)[: 2 * FACES]], random, 0.4)
    whole, spoiled = dimmed(faces[::2], random), unreadable(faces[1::2], random, ROUGH)
    net.eval()
    with torch.no_grad():
        one, other = (_vectors(net, part) for part in (whole, spoiled))
    vectors, label = torch.cat([one, other]), torch.cat([torch.ones(len(one)), torch.zeros(len(other))])
    layer = net.readable
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        out = functional.binary_cross_entropy_with_logits(layer(vectors)[:, 0], label)
        out = out + DECAY * layer.weight.square().sum()
        torch.autograd.backward(out)
        return out

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.bias.sub_(torch.quantile(layer(one)[:, 0], 1 - PASSED))


def dimmed(faces: Tensor, random: torch.Generator) -> Tensor:
    """Faces [B, 1, 48, 48], half of them in less light, and with a camera's noise."""
    n = len(faces)
    light = torch.rand(n, 1, 1, 1, generator=random) * (1 - DIM) + DIM
    light = torch.where(torch.rand(n, 1, 1, 1, generator=random) < 0.5, light, torch.ones(()))
    noise = torch.rand(n, 1, 1, 1, generator=random) * NOISE * torch.randn(faces.shape, generator=random)
    return (faces * light + noise).clamp(0, 1)


def _vectors(net: FaceNet, faces: Tensor) -> Tensor:
    """Of a face and its mirror image together, [n, 128]."""
    return torch.cat([(net.vector(part) + net.vector(part.flip(-1))) / 2 for part in torch.split(faces, 256)])
