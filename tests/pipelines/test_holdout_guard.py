"""T6: the test split cannot be read before the final evaluation, nor the others after it."""

from __future__ import annotations

import pytest

from pipelines.data.holdout_guard import Splits, TestSplitTouched


def synthetic() -> Splits[list[int]]:
    return Splits({"train": [1, 2], "dev": [3], "test": [4]})


def test_train_and_dev_are_free_until_the_end() -> None:
    splits = synthetic()
    assert (splits["train"], splits["dev"], splits["train"]) == ([1, 2], [3], [1, 2])
    assert splits.final() == [4]


def test_the_test_split_raises_before_the_final_evaluation() -> None:
    with pytest.raises(TestSplitTouched, match="before the final evaluation"):
        synthetic()["test"]


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_train_and_dev_raise_after_the_final_evaluation(name: str) -> None:
    splits = synthetic()
    splits.final()
    with pytest.raises(TestSplitTouched):
        splits[name]


def test_the_test_split_is_scored_once() -> None:
    splits = synthetic()
    splits.final()
    with pytest.raises(TestSplitTouched):
        splits.final()
