"""The client of a data holder: a worker that holds data derived from a sensor and deletes it on a purge."""

from __future__ import annotations

from edge_mer.bus import Bus
from edge_mer.contract.clock import SECOND
from edge_mer.contract.control import Exited, MaskPersons, PersonsMasked, Purge, Purged, Register
from edge_mer.contract.domain import Modality
from edge_mer.host.process_handle import this_process

REGISTER_US = SECOND // 2


class PurgeClient:
    """Registers at once and then twice a second, so that a restarted switch knows it again.

    Make it before the readers: what a process holds before the switch knows it is in no receipt.

    ``persons``: it also carries out masks of single persons; ``masked`` is the newest order, None before the first.
    """

    def __init__(self, bus: Bus, name: str, modalities: tuple[Modality, ...], persons: bool = False) -> None:
        self.masked: MaskPersons | None = None
        self._bus, self._name, self._modalities = bus, name, modalities
        self._switch, self._process = bus.client("switch"), this_process()
        self._mask_epoch = 0
        self._persons, self._renumbered, self._is_new = persons, False, False
        self._register()

    def orders(self) -> list[Purge]:
        """Purges to carry out now; answer each with ``done`` once nothing of it is left."""
        now = self._bus.clock.now_us()
        if now >= self._due_us:
            self._register()
        found: list[Purge] = []
        while (message := self._switch.receive()) is not None:
            if isinstance(message, Purge) and message.modality in self._modalities:
                self._mask_epoch = max(self._mask_epoch, message.mask_epoch)
                found.append(message)
            elif isinstance(message, MaskPersons) and message.mask_epoch >= self._person_epoch:
                # One that is known already is a repetition: its answer was lost.
                self._renumbered &= message.mask_epoch == self._person_epoch
                self._mask_epoch = max(self._mask_epoch, message.mask_epoch)
                self.masked, self._is_new = message, True
        return found

    def order(self) -> MaskPersons | None:
        """The order to mask persons that came with the last ``orders``; answer it with ``confirm``."""
        is_new, self._is_new = self._is_new, False
        return self.masked if is_new else None

    def confirm(self, order: MaskPersons, in_view: tuple[str, ...] | None = None) -> None:
        self._switch.send(
            PersonsMasked(name=self._name, boot=self._bus.boot, mask_epoch=order.mask_epoch, in_view=in_view)
        )

    def renumbered(self) -> None:
        """The numbers of persons began anew, so everybody is masked here until the next order."""
        if not self._renumbered:
            self._renumbered = True
            self._register()

    @property
    def _person_epoch(self) -> int:
        return self.masked.mask_epoch if self.masked is not None else 0

    def _register(self) -> None:
        self._due_us = self._bus.clock.now_us() + REGISTER_US
        self._switch.send(
            Register(
                name=self._name,
                boot=self._bus.boot,
                modalities=self._modalities,
                gate=False,
                mask_epoch=self._mask_epoch,
                process=self._process,
                persons=self._persons,
                person_epoch=self._person_epoch,
                renumbered=self._renumbered,
            )
        )

    def leave(self) -> None:
        """A clean end: nothing is held any more, so a mask need not wait for this process."""
        self._switch.send(Exited(name=self._name, boot=self._bus.boot))

    def done(self, order: Purge) -> None:
        self._switch.send(
            Purged(modality=order.modality, name=self._name, boot=self._bus.boot, mask_epoch=order.mask_epoch)
        )
