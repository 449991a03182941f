"""Selection of backend and models, and the licence check."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mer.config import ModelsConfig
from edge_mer.contract.errors import ModelError
from edge_mer.perception.yunet_detector import YUNET
from edge_mer.runtime.select import SHIPPED, models_directory, open_backend


def test_an_unknown_backend_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="known: auto, tensorrt"):
        open_backend(ModelsConfig.model_construct(backend="abacus"))


def test_a_missing_model_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model directory"):
        models_directory(str(tmp_path / "nowhere"))
    assert models_directory(None) == SHIPPED


@pytest.mark.parametrize("path", sorted({*SHIPPED.glob("*.onnx")} - {SHIPPED / YUNET}), ids=lambda p: p.name)
def test_own_weights_are_refused_without_allow_noncommercial(path: Path) -> None:
    assert open_backend(ModelsConfig()).load(path).metadata["licence"]
    with pytest.raises(ModelError, match="allow_noncommercial is false"):
        open_backend(ModelsConfig(allow_noncommercial=False)).load(path)
