"""Whether a camera is frozen, judged by its packets: a fold that never looks at decoded pictures.

A still room decodes to the same picture again and again, because the encoder skips what does not change. Its key frames
still differ, by the noise of the sensor. A frozen sensor gives the same picture in every key frame, or no new packet;
behind a live encoder, once its rate control has settled.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

from edge_mer.capture.key_frames import Print, alike, print_of
from edge_mer.capture.own_rate import OwnRate
from edge_mer.contract.clock import SECOND

# Until the camera's own rate of new key frames is known.
FIRST_US = 6 * SECOND
LATENESS_US = SECOND // 2
# Encoders may alternate, so that every other key frame of a frozen sensor has the same bytes.
KEYS_KEPT = 2
# Between key frames a codec hides what is still; two equal ones prove a freeze unless they follow at once.
LEAST_KEY_US = 6 * SECOND // 10


class Freeze:
    """``arrived`` takes each packet; ``frozen`` is its judgement. Without key frames to compare there is none."""

    def __init__(self, codec: str = "") -> None:
        """``codec``: FFmpeg's name of it."""
        self._codec = codec
        self._rate = OwnRate(0, FIRST_US, LATENESS_US)
        self._keys: deque[Print] = deque(maxlen=KEYS_KEPT)
        self._last: tuple[bytes, int | None] | None = None
        self._is_intra = True
        self.frozen = False

    def arrived(self, at_us: int, body: bytes, is_key: bool, pts: int | None) -> None:
        """``pts``: the packet's own time stamp, None where it has none: then every arrival is a new one."""
        digest = blake2b(body, digest_size=16).digest()
        resent = pts is not None and (digest, pts) == self._last
        self._last = (digest, pts)
        if not (is_key or resent):
            self._is_intra = False
            return
        since = at_us if self._rate.last_us is None else at_us - self._rate.last_us
        stale = resent or self._is_known(body)
        if stale:
            self.frozen = self.frozen or since >= self._limit_us
            return
        # One new picture after a long time does not end a freeze: the next must follow at the camera's own rate.
        self.frozen = self.frozen and since > self._rate.limit_us
        self._rate.arrived(at_us)

    def _is_known(self, key: bytes) -> bool:
        """Whether this key frame shows the same as one of those before it."""
        found = print_of(key, self._codec)
        known = any(alike(found, earlier) for earlier in self._keys)
        self._keys.append(found)
        return known

    @property
    def _limit_us(self) -> int:
        """How long pictures may repeat. Where every packet is a key frame, a camera may send each more than once."""
        if self._is_intra:
            return self._rate.limit_us
        return max(LEAST_KEY_US, 9 * self._rate.interval_us // 10)
