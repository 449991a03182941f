"""Masks of many clients: a flood becomes a few, none is lost, and none is overtaken by another command."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_mer.client.mask_batches import MOST_REPLIES, MOST_UNDER_WAY, TOO_MANY, MaskBatches
from edge_mer.client.pending_commands import Done
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import MODALITIES, Modality

MODALITY_SETS = st.lists(st.sampled_from(MODALITIES), min_size=1, max_size=3).map(tuple)


class Switch:
    """Keeps what it is sent, and answers the oldest on request."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Command]] = []
        self.answers: list[Answer] = []
        self.masks = MaskBatches(self._send)
        self._waiting: list[Done] = []

    def _send(self, sender: str, command: Command, done: Done) -> None:
        self.sent.append((sender, command))
        self._waiting.append(done)

    def mask(self, *modalities: Modality, sender: str = "lamp", for_s: int = 0, persons: tuple[str, ...] = ()) -> None:
        command = Command(id=str(len(self.sent)), action="mask", modalities=modalities, for_s=for_s, persons=persons)
        self.masks.add(sender, command, self.answers.append)

    def answer(self) -> bool:
        """Answer the oldest; whether there was one."""
        if not self._waiting:
            return False
        self._waiting.pop(0)(Answer(id="", ok=True, text="", modalities={}))
        return True


def test_a_few_masks_go_at_once() -> None:
    switch = Switch()
    for _ in range(MOST_UNDER_WAY):
        switch.mask("audio")
    assert len(switch.sent) == MOST_UNDER_WAY


def test_masks_of_persons_in_a_flood_go_as_one_with_all_of_them() -> None:
    switch = Switch()
    for n in range(MOST_UNDER_WAY + 20):
        switch.mask(persons=(f"p{n + 1}",))
    switch.mask("audio")
    switch.answer()
    merged, audio = (command for _, command in switch.sent[MOST_UNDER_WAY:])
    assert merged.persons == tuple(f"p{n + 1}" for n in range(MOST_UNDER_WAY, MOST_UNDER_WAY + 20))
    assert (audio.modalities, audio.persons) == (("audio",), ())


def test_equal_masks_of_a_flood_go_as_one_with_the_latest_end() -> None:
    switch = Switch()
    for n in range(MOST_UNDER_WAY + 20):
        switch.mask("audio", for_s=60 + n)
    assert len(switch.sent) == MOST_UNDER_WAY
    switch.answer()
    assert len(switch.sent) == MOST_UNDER_WAY + 1
    assert switch.sent[-1][1].for_s == 60 + MOST_UNDER_WAY + 19
    while switch.answer():
        pass
    assert len(switch.answers) == MOST_UNDER_WAY + 20


def test_a_flood_of_one_sender_delays_no_other() -> None:
    switch = Switch()
    for _ in range(100):
        switch.mask("audio")
    switch.mask("audio", sender="owner")
    assert switch.sent[-1][0] == "owner"


def test_another_command_does_not_overtake_masks_that_wait() -> None:
    switch = Switch()
    for _ in range(MOST_UNDER_WAY):
        switch.mask("audio")
    switch.mask("video")
    switch.masks.flush("lamp")
    assert switch.sent[-1][1].modalities == ("video",)


def test_replies_to_one_mask_are_bounded() -> None:
    switch = Switch()
    for _ in range(MOST_UNDER_WAY + MOST_REPLIES + 5):
        switch.mask("audio")
    assert [a.text for a in switch.answers] == [TOO_MANY] * 5


@given(st.lists(st.one_of(st.just("answer"), MODALITY_SETS, st.integers(1, 9)), max_size=120))
def test_every_mask_reaches_the_switch_after_it_was_asked_for_and_is_answered_once(steps: list[object]) -> None:
    switch, asked = Switch(), 0
    for step in steps:
        if step == "answer":
            switch.answer()
        elif isinstance(step, tuple):
            switch.mask(*step)
            asked += 1
        else:
            switch.mask("audio", for_s=step)  # type: ignore[arg-type]
            asked += 1
    last = max((i for i, step in enumerate(steps) if isinstance(step, tuple)), default=None)
    while switch.answer():
        pass
    assert len(switch.answers) == asked
    if last is not None:
        wanted = frozenset(steps[last])  # type: ignore[arg-type]
        assert any(frozenset(c.modalities) == wanted and not c.for_s for _, c in switch.sent)
