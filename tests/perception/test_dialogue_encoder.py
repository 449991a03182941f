"""The text encoder that reads earlier turns: what it remembers, for how long, and what the graph is given."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_mer.bus import MemoryBroker, MemoryBus
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.errors import InputError, ModelError
from edge_mer.contract.messages import InputRef, Message, RawText, WordTime
from edge_mer.perception.dialogue import (
    CONTEXT,
    CURRENT,
    EARLIER,
    LENGTH,
    MEMORY_US,
    PIECES,
    DialogueEncoder,
    DialogueState,
    laid_out,
)
from edge_mer.perception.encoder import TextSegment, Tokens, Word
from edge_mer.perception.replay import replay
from edge_mer.perception.stream import FeatureStream
from edge_mer.perception.text_adapter import open_text
from edge_mer.perception.wordpiece import SPECIAL, WordPiece
from edge_mer.runtime.backend import Arrays, TensorSpec, check_inputs
from tests.perception.fakes import F32

VOCABULARY = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
TOKENIZER = WordPiece(VOCABULARY)
I64 = np.dtype(np.int64)


class Graph:
    """A token is the id of its sub-word and the number of sub-words before the utterance; ``z`` is not English."""

    sha256 = "0123456789abcdef" * 4

    def __init__(self, length: int = LENGTH, pieces: int = PIECES, **metadata: Any) -> None:
        self.inputs = {n: TensorSpec((1, length), d) for n, d in (("ids", I64), ("mask", F32), ("turn", I64))}
        self.outputs = {"tokens": TensorSpec((1, pieces, 2), F32), "english": TensorSpec((1, 1), F32)}
        self.metadata = metadata

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        check_inputs(inputs, self.inputs)
        ids = inputs["ids"][0]
        before = np.full(PIECES, inputs["mask"][0, CURRENT:].sum())
        foreign = (ids[:CURRENT] == VOCABULARY.index("z")).any()
        tokens = np.stack([ids[1 : CURRENT - 1], before], -1)[None].astype(np.float32)
        return {"tokens": tokens, "english": np.full((1, 1), 1 - foreign, np.float32)}


ENCODER = DialogueEncoder(Graph(), TOKENIZER)


def segment(number: int, text: str, at_s: float = 0.0, final: bool = True) -> TextSegment:
    start = round(at_s * SECOND)
    words = tuple(Word(w, start + i * 1000, start + i * 1000 + 900) for i, w in enumerate(text.split()))
    return TextSegment(number, words, final)


def read(*blocks: TextSegment) -> tuple[DialogueState, Tokens]:
    state = ENCODER.initial()
    for block in blocks:
        state, tokens = ENCODER.step(state, block)
    return state, tokens


def context(tokens: Tokens) -> int:
    """Places of the graph's context that were filled."""
    return int(tokens.values[0, 1])


def test_tokens_are_those_of_the_newest_utterance_alone() -> None:
    _, tokens = read(segment(1, "ab c"), segment(2, "d", 2))
    assert tokens.values[:, 0].tolist() == [VOCABULARY.index("d")]
    assert tokens.start_us.tolist() == [2 * SECOND]
    assert tokens.context == 2
    assert context(tokens) == 4  # a, ##b, c and the mark


def test_a_partial_segment_is_no_turn() -> None:
    state, _ = read(segment(1, "a", final=False))
    assert state.turns == ()


def test_a_segment_is_no_context_of_itself() -> None:
    state, tokens = read(segment(1, "a", final=False), segment(1, "a b"), segment(1, "a b c"))
    assert context(tokens) == 0
    assert [len(turn.pieces) for turn in state.turns] == [3]


@pytest.mark.parametrize(("later_us", "remembered"), [(MEMORY_US, True), (MEMORY_US + 1, False)])
def test_a_turn_is_remembered_for_60_s(later_us: int, remembered: bool) -> None:
    first = segment(1, "a")
    start = first.words[-1].end_us + later_us
    _, tokens = read(first, TextSegment(2, (Word("b", start, start),), True))
    assert (context(tokens) > 0) is remembered


def test_the_newest_turn_stands_first_and_the_oldest_is_cut() -> None:
    inputs = laid_out(TOKENIZER, TOKENIZER("a"), [(TOKENIZER("b"), EARLIER), (TOKENIZER("c" * 90), EARLIER)])
    before = [VOCABULARY[i] for i in inputs["ids"][0, CURRENT:]]
    assert before[:3] == ["b", "[SEP]", "c"]
    assert inputs["mask"][0, CURRENT:].sum() == CONTEXT
    assert [VOCABULARY[i] for i in inputs["ids"][0, :3]] == ["[CLS]", "a", "[SEP]"]
    assert set(inputs["turn"][0, :CURRENT]) == {0}
    assert set(inputs["turn"][0, CURRENT:]) == {EARLIER}


def test_what_is_not_english_gives_no_valid_token_and_is_no_turn() -> None:
    state, tokens = read(segment(1, "a z"))
    assert len(tokens) == 2
    assert not tokens.valid.any()
    assert state == DialogueState((), "unknown language")
    state, _ = read(segment(1, "a z"), segment(2, "a"))
    assert state.reason == ""


def test_an_empty_segment_gives_no_token_and_forgets_nothing() -> None:
    state, tokens = read(segment(1, "a"), segment(2, "", 1))
    assert len(tokens) == 0
    assert tokens.values.shape == (0, 2)
    assert tokens.context == 2
    assert len(state.turns) == 1


def test_a_word_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InputError, match="ends before it starts"):
        read(TextSegment(0, (Word("x", 5, 4),), True))


blocks = st.builds(
    segment,
    st.integers(0, 3),
    st.lists(st.text("abz", min_size=1, max_size=50), max_size=4).map(" ".join),
    st.integers(0, 200).map(float),
    st.booleans(),
)


@given(st.lists(blocks, min_size=1, max_size=12))
@settings(max_examples=150)
def test_the_same_segments_give_the_same_bytes_and_the_memory_is_bounded(given_blocks: list[TextSegment]) -> None:
    (state, tokens), (again, repeated) = read(*given_blocks), read(*given_blocks)
    assert tokens.values.tobytes() == repeated.values.tobytes()
    assert state == again
    assert len(state.turns) <= CONTEXT
    assert all(len(turn.pieces) <= PIECES for turn in state.turns)
    assert len({turn.segment for turn in state.turns}) == len(state.turns)


@given(st.lists(blocks, max_size=8), blocks)
@settings(max_examples=100)
def test_partial_blocks_change_nothing_but_their_own_tokens(given_blocks: list[TextSegment], last: TextSegment) -> None:
    finals = [b for b in given_blocks if b.final]
    partials_too = [b for f in finals for b in (TextSegment(f.segment, f.words[:1], False), f)]
    one, other = read(*finals, last), read(*partials_too, last)
    assert one[1].values.tobytes() == other[1].values.tobytes()


def test_a_graph_names_its_tokenizer_and_an_older_one_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "text.vocab"
    path.write_text("\n".join(VOCABULARY), "utf-8")
    named = {"kind": "wordpiece", "file": path.name, "sha256": sha256(path.read_bytes()).hexdigest()}
    assert isinstance(open_text(Graph(tokenizer=named), tmp_path), DialogueEncoder)
    for wrong in ({**named, "sha256": "0" * 64}, {**named, "file": "other.vocab"}):
        with pytest.raises(ModelError, match=r"absent or not the vocabulary"):
            open_text(Graph(tokenizer=wrong), tmp_path)
    with pytest.raises(ModelError, match="sentencepiece"):
        open_text(Graph(24, 24), tmp_path)


class Spoken:
    """Segments through a gate and a stream; ``features`` as recorded, ``raw`` by reference."""

    def __init__(self) -> None:
        clock, broker = FakeClock(), MemoryBroker()
        self.gate = MemoryBus(broker, clock, "gate").publisher("raw/text", "transcript")
        self.worker = MemoryBus(broker, clock, "perception").publisher("feature/text", "perception.text")
        self.stream = FeatureStream(ENCODER)
        self.state = self.stream.initial()
        self.raw: dict[InputRef, Message[Any]] = {}
        self.features: list[Message[Any]] = []

    def say(self, block: TextSegment, epoch: int = 0, lost: bool = False) -> None:
        words = tuple(WordTime(w.text, w.start_us, w.end_us) for w in block.words)
        body = RawText(block.segment, words, block.final, None, "typed", epoch)
        message = self.gate.send(body, (), origin_us=0)
        self.raw[message.ref] = message
        if not lost:
            self.state, draft = self.stream.step(self.state, message)
            assert draft is not None
            self.features.append(self.worker.send(draft.body, draft.payload, origin_us=draft.origin_us))


def test_a_feature_tells_why_its_words_are_not_read() -> None:
    spoken = Spoken()
    spoken.say(segment(1, "a z"))
    spoken.say(segment(2, "a"))
    assert [f.body.reason for f in spoken.features] == ["unknown language", None]


def test_a_mask_forgets_every_turn() -> None:
    spoken = Spoken()
    spoken.say(segment(1, "a"), epoch=1)
    assert spoken.state.encoder.turns
    spoken.say(segment(2, "b"), epoch=2)
    assert [turn.segment for turn in spoken.state.encoder.turns] == [2]
    assert int(spoken.features[-1].payload[0][0, 1]) == 0


@given(st.lists(st.tuples(blocks, st.integers(0, 1), st.booleans()), max_size=12))
@settings(max_examples=60)
def test_a_recorded_dialogue_is_encoded_again_to_the_same_bytes(script: list[tuple[TextSegment, int, bool]]) -> None:
    spoken = Spoken()
    for block, masks, lost in script:
        spoken.say(block, epoch=masks, lost=lost)
    for encoded in replay(spoken.features, spoken.raw.get, FeatureStream(ENCODER)):
        assert encoded.draft is not None
        again, before = encoded.draft.payload, encoded.feature.payload
        assert [np.asarray(a).tobytes() for a in again] == [np.asarray(b).tobytes() for b in before]
