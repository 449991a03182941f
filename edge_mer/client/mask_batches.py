"""Masks on behalf of others: a flood of equal masks reaches the switch as a few, and none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from edge_mer.client.pending_commands import Done, failed
from edge_mer.contract.control import Answer, Command
from edge_mer.contract.domain import Modality
from edge_mer.privacy.switch.people_mask import merged

# Of one sender: masks under way, and replies that one mask answers.
MOST_UNDER_WAY, MOST_REPLIES = 16, 50
TOO_MANY = "sent, but too many masks of this sender wait for the switch; see its state"
# Modalities, hard, timed, of persons: masks of one kind may go as one.
Kind = tuple[frozenset[Modality], bool, bool, bool]


@dataclass
class _Batch:
    command: Command
    replies: list[Done] = field(default_factory=list)


class MaskBatches:
    """While a sender has many masks under way, further ones wait; those of one kind become one, with the latest end
    and all persons.

    ``send``: sends a command of a sender and calls its ``Done`` once. Call ``flush`` before another command of the same
    sender, which must not overtake its masks.
    """

    def __init__(self, send: Callable[[str, Command, Done], object]) -> None:
        self._send = send
        self._under_way: Counter[str] = Counter()
        self._waiting: dict[str, dict[Kind, _Batch]] = {}

    def add(self, sender: str, command: Command, reply: Done) -> None:
        waiting = self._waiting.setdefault(sender, {})
        kind = frozenset(command.modalities), command.hard, command.for_s != 0, bool(command.persons)
        batch = waiting.pop(kind, None) or _Batch(command)
        batch.command = msgspec.structs.replace(
            command,
            for_s=max(command.for_s, batch.command.for_s),
            persons=merged(command.persons, batch.command.persons),
        )
        if len(batch.replies) < MOST_REPLIES:
            batch.replies.append(reply)
        else:
            reply(failed(TOO_MANY))
        waiting[kind] = batch  # again at the end: the order is that of the newest command in each
        if self._under_way[sender] < MOST_UNDER_WAY:
            self.flush(sender)

    def flush(self, sender: str) -> None:
        """Send what waits."""
        for batch in self._waiting.pop(sender, {}).values():
            self._under_way[sender] += 1
            self._send(sender, batch.command, partial(self._answered, sender, batch))

    def _answered(self, sender: str, batch: _Batch, answer: Answer) -> None:
        self._under_way[sender] -= 1
        for reply in batch.replies:
            reply(answer)
        if self._under_way[sender] < MOST_UNDER_WAY:
            self.flush(sender)
        if not self._under_way[sender]:
            del self._under_way[sender]
