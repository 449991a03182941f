"""The readable output: covered and dark faces are told from faces as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.encoders import face_readable
from pipelines.encoders.face import drawn
from pipelines.encoders.face_augment import unreadable
from pipelines.encoders.face_readable import PASSED, dimmed
from pipelines.encoders.nets import FaceNet

torch.set_num_threads(1)
FACES = torch.from_numpy(drawn(60, np.random.default_rng(0)).images)[:, None].float() / 255


@pytest.fixture(scope="module")
def net() -> FaceNet:
    torch.manual_seed(0)
    net = FaceNet()
    face_readable.fit(net, FACES)
    return net


def share(net: FaceNet, faces: torch.Tensor) -> float:
    with torch.no_grad():
        return float((net.both(faces)[1] > 0).float().mean())


def test_most_faces_are_readable_and_spoiled_ones_are_not(net: FaceNet) -> None:
    random = torch.Generator().manual_seed(1)
    assert share(net, dimmed(FACES, random)) > PASSED - 0.06
    assert share(net, unreadable(FACES, random)) < 0.7, "even of a trunk that was never trained"


def test_the_expressions_are_left_as_they_are(net: FaceNet) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(FaceNet().eval()(FACES[:4]), net(FACES[:4]))


def test_the_same_seed_fits_the_same_plane(net: FaceNet) -> None:
    torch.manual_seed(0)
    again = FaceNet()
    face_readable.fit(again, FACES)
    assert torch.equal(again.readable.weight, net.readable.weight)


def test_a_cover_may_be_patterned_and_hides_the_lower_part_alone() -> None:
    covered = unreadable(FACES, torch.Generator().manual_seed(2), rough=0.5)
    is_covered = (covered[:, :, :18] == FACES[:, :, :18]).all(dim=(1, 2, 3))
    assert 0.4 < is_covered.float().mean() < 0.8
    assert covered[is_covered][:, :, 40:].std(dim=(2, 3)).max() > 0.05
    assert 0 <= covered.min() <= covered.max() <= 1
