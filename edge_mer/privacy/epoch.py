"""The mask epoch: one counter of the host that grows with every change and never goes back, restarts included."""

from __future__ import annotations

from pathlib import Path

from edge_mer.errors import ConfigError
from edge_mer.privacy.host_key import write_atomic

FILE = "mask_epoch"
# Numbers are reserved on disk in advance, so that a mask never waits for the disk.
RESERVED = 1000


class MaskEpoch:
    """Raises ConfigError when the file in the privacy state directory is damaged."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self.value = self._end = self._stored()

    def next(self) -> int:
        self.value += 1
        if self.value > self._end:
            self._end = self.value + RESERVED
            write_atomic(self._path, str(self._end).encode())
        return self.value

    def _stored(self) -> int:
        if not self._path.exists():
            return 0
        try:
            return int(self._path.read_text("ascii"))
        except ValueError as error:
            raise ConfigError(f"{self._path} is damaged ({error}); restore it, or erase {self._path.parent}") from error
