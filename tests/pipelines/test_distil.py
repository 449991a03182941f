"""Folding: a student is drawn to what its teachers say together, and begins as the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.data.corpora import DataError
from pipelines.encoders import checkpoint
from pipelines.encoders import distil as fold
from pipelines.encoders.distil import SOFT
from pipelines.encoders.face import targets
from pipelines.encoders.nets import AudioNet, FaceNet

torch.set_num_threads(1)


def trained(folder: Path, seed: int) -> FaceNet:
    torch.manual_seed(seed)
    net = FaceNet()
    checkpoint.save(folder / "face.pt", checkpoint.TrainingCheckpoint(net.state_dict(), {}, 1))
    return net.eval()


def test_network_of_the_folder_is_read(tmp_path: Path) -> None:
    net, faces = trained(tmp_path, 0), torch.rand(3, 1, 48, 48)
    assert torch.allclose(fold.network(tmp_path).eval()(faces), net(faces), atol=1e-5)


def test_mean_logits_of_the_teachers(tmp_path: Path) -> None:
    nets, faces = [trained(tmp_path / str(i), i) for i in range(3)], torch.rand(4, 1, 48, 48)
    expected = torch.stack([net(faces) for net in nets]).mean(0)
    assert (fold.mean_logits(nets, faces) - expected).abs().max() < 0.05  # in bfloat16


def test_the_loss_is_least_where_student_votes_and_teachers_agree() -> None:
    taught = torch.tensor([[[4.0, 0, 0, 0, 0, 0, 0]] * 2])
    target, soft = torch.stack([targets(torch.tensor([0]))] * 2, 1), torch.softmax(taught / SOFT, -1)
    near, far = (
        fold.loss_of(x, target, torch.ones(1), soft, torch.ones(1, 2)).item() for x in (taught, taught.flip(-1))
    )
    assert near < 1.5 < far


def test_teachers_are_not_heard_of_a_head_or_face_that_they_do_not_teach() -> None:
    logits, target = torch.zeros(1, 2, 7), torch.zeros(1, 2, 7)
    soft = torch.softmax(torch.randn(1, 2, 7) * 3, -1)
    assert fold.loss_of(logits, target, torch.ones(1), soft, torch.zeros(1, 2)) == 0
    assert fold.loss_of(logits, target, torch.ones(1), soft, torch.tensor([[0.0, 1.0]])) > 0


def test_one_network_alone_is_no_teacher_and_several_teach_both_heads(tmp_path: Path) -> None:
    nets, faces = [trained(tmp_path / str(i), i) for i in range(2)], torch.rand(4, 1, 48, 48)
    search = torch.randn(4, 7)
    soft, heads = fold.teachings(nets[:1], lambda seen: search, faces)
    assert heads.tolist() == [0, 1]
    assert torch.allclose(soft[:, 1], torch.softmax(search / SOFT, -1))
    soft, heads = fold.teachings(nets, lambda seen: search, faces)
    assert heads.tolist() == [1, 1]
    assert torch.allclose(soft.sum(-1), torch.ones(4, 2))


def test_the_folder_that_is_folded_is_not_written_to(tmp_path: Path) -> None:
    trained(tmp_path, 0)
    before = (tmp_path / "face.pt").read_bytes()
    with pytest.raises(DataError, match="name another"):
        fold.train(tmp_path, tmp_path, [tmp_path])
    assert [p.name for p in tmp_path.iterdir()] == ["face.pt"]
    assert (tmp_path / "face.pt").read_bytes() == before


def test_another_network_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pipelines\.train face"):
        fold.network(tmp_path)
    checkpoint.save(tmp_path / "face.pt", checkpoint.TrainingCheckpoint(AudioNet().state_dict(), {}, 1))
    with pytest.raises(DataError, match="another network than FaceNet"):
        fold.network(tmp_path)
