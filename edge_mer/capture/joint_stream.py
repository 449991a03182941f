"""The process ``stream``: picture and sound of one network camera over one connection, on one t0.

Each track has its own gate. When one closes or opens, the connection is closed, /proc is asked whether any is left, and
only then the next one is opened, which requests the tracks that are open then: RTSP sets up no other, and elsewhere the
packets of others are left out before decoding. So a track is closed when no connection that requested it is left.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import av
import cv2
from av.container import InputContainer

from edge_mer.bus import Bus
from edge_mer.capture.camera import NetworkCamera
from edge_mer.capture.device import Fault
from edge_mer.capture.gated_source import CaptureWorker, GatedSource
from edge_mer.capture.open_handles import network_connections, shut_network_sockets
from edge_mer.capture.reconnect import keep_open
from edge_mer.capture.rotation import configured
from edge_mer.capture.stream import OPEN_TIMEOUT_S, OPTIONS, READ_TIMEOUT_S, reason_of
from edge_mer.capture.stream_sound import READ_TIMEOUT_S as SOUND_TIMEOUT_S
from edge_mer.capture.stream_sound import StreamSound, pts_us, read_fails, stream_url
from edge_mer.capture.threaded import DeviceThread, ThreadedDevice
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import Modality

HANDLES: Final = "connection that requested this track"
# A picture whose time stamp is further than this behind its arrival, or ahead of it, has another timeline than the
# sound: it counts as taken when it arrives.
BEHIND_US, AHEAD_US = 2 * SECOND, SECOND
# Between two looks at /proc while a closed connection is still there.
LEFT_S = 0.005


class Period:
    """One set of tracks and their openings, until it changes: then ``aborted`` is set."""

    def __init__(self, openings: dict[Modality, DeviceThread]) -> None:
        self.openings = openings
        self.aborted = threading.Event()

    def holds(self, wanted: dict[Modality, DeviceThread]) -> bool:
        """Whether these are its openings, and none is to close."""
        return wanted == self.openings and not any(o.aborted.is_set() for o in wanted.values())

    def set_fault(self, fault: Fault | None) -> None:
        """Of the connection; not where it ended because the tracks change."""
        for opening in () if self.aborted.is_set() else self.openings.values():
            opening.set_fault(fault)


class Connection:
    """The only connection of this process, and the thread that reads it while a track is open."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._wanted: dict[Modality, DeviceThread] = {}
        self._period: Period | None = None
        self._is_running = False
        self.tracks: dict[Modality, JointSound | JointPicture] = {}

    def open(self, modality: Modality, opening: DeviceThread) -> None:
        with self._lock:
            self._wanted = {**self._wanted, modality: opening}
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._main, name="stream", daemon=True).start()
        self.interrupt()

    def interrupt(self) -> None:
        """In the loop: what is wanted has changed, so that the connection must end. One of what is wanted now stays."""
        with self._lock:
            if self._period is not None and not self._period.holds(self._wanted):
                self._period.aborted.set()
                shut_network_sockets()

    def handles(self, modality: Modality) -> list[str]:
        """Connections that requested this track. None was left when a connection began that requests only others."""
        period = self._period
        return network_connections() if period is None or modality in period.openings else []

    def _main(self) -> None:
        cv2.setNumThreads(1)
        try:
            for period in self._periods():
                keep_open(period, partial(self._attempt, period))
        except Exception as error:  # as in a ThreadedDevice: without this, it would look like a stream without data
            for opening in self._wanted.values():
                opening.mark_lost(f"stream: {type(error).__name__}: {error}")
                opening.released.set()

    def _periods(self) -> Iterator[Period]:
        """Each set of open tracks, with no connection in between: there, what has been closed is released."""
        while True:
            while network_connections():
                threading.Event().wait(LEFT_S)
            with self._lock:
                closed = [o for o in self._wanted.values() if o.aborted.is_set()]
                self._wanted = {m: o for m, o in self._wanted.items() if o not in closed}
                self._period = period = Period(self._wanted) if self._wanted else None
                self._is_running = period is not None
            for opening in closed:
                opening.released.set()
                opening.signal()
            if period is None:
                return
            yield period

    def _attempt(self, period: Period) -> tuple[bool, str]:
        """One connection, from opening to close; whether a track delivered, and why it ended."""
        name = next(iter(self.tracks.values())).name
        before = [self.tracks[m].delivered for m in period.openings]
        try:
            container = self._connected(period.openings)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            return False, f"{name} cannot be opened: {reason_of(error, self._url)}"
        reason = "ended its stream"
        try:
            self._read(container, period)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = f"broke off: {getattr(error, 'strerror', None) or type(error).__name__}"
        finally:
            container.close()
            for modality, opening in period.openings.items():
                self.tracks[modality].end()
                opening.read_fails = read_fails(container)
        return before != [self.tracks[m].delivered for m in period.openings], f"{name} {reason}"

    def _connected(self, requested: Iterable[Modality]) -> InputContainer:
        logging.getLogger("libav").setLevel(logging.CRITICAL)
        options = {**OPTIONS, "allowed_media_types": "+".join(requested)}  # RTSP: SETUP of these only
        read_s = READ_TIMEOUT_S if "video" in requested else SOUND_TIMEOUT_S  # the camera's own rate ends it earlier
        return av.open(self._url, options=options, timeout=(OPEN_TIMEOUT_S, read_s))

    def _read(self, container: InputContainer, period: Period) -> None:
        takers = {}
        for modality, opening in period.openings.items():
            track = self.tracks[modality]
            if (index := track.begin_with(container)) is None:
                opening.set_fault(Fault("absent", f"{track.name} has no {track.content}"))
            else:
                takers[index] = partial(track.take, opening=opening, stop=period.aborted)
        for stream in container.streams:
            if stream.index not in takers and hasattr(av.stream, "Discard"):  # older PyAV leaves them out below
                stream.discard = av.stream.Discard.all
        for packet in container.demux(*(container.streams[i] for i in takers)) if takers else ():
            if period.aborted.is_set() or not packet.size:
                return
            takers[packet.stream.index](packet)


class _Joint(ThreadedDevice):
    """A track of the connection as a device of its own. Mixed into the devices that know how to read such a track."""

    handles = HANDLES
    modality: Modality
    connection: Connection

    def open(self) -> None:
        self._opening = DeviceThread(self._capacity, self._event, self._counters)
        self.connection.open(self.modality, self._opening)

    def _handles(self) -> list[str]:
        return self.connection.handles(self.modality)

    def _interrupt(self) -> None:
        self.connection.interrupt()


class JointSound(_Joint, StreamSound):
    modality, content = "audio", "sound"

    def __init__(self, config: Config, connection: Connection, bus: Bus) -> None:
        super().__init__(stream_url(config), bus.clock)
        self.connection = connection

    def open(self) -> None:
        self._index = 0
        super().open()

    @property
    def delivered(self) -> int:
        return self._index

    def begin_with(self, container: InputContainer) -> int | None:
        """The index of its stream; None where there is none."""
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None
        self.begin(container, stream)
        return stream.index


class JointPicture(_Joint, NetworkCamera):
    modality, content = "video", "picture"

    def __init__(self, config: Config, connection: Connection, bus: Bus, sound: JointSound) -> None:
        super().__init__(config.video, bus.clock, configured(config))
        self.connection, self._sound = connection, sound

    @property
    def delivered(self) -> int:
        return self._frame

    def begin_with(self, container: InputContainer) -> int | None:
        stream = next((s for s in container.streams.video if s.codec_context is not None), None)
        if stream is None:
            return None
        stream.codec_context.thread_count = 1
        self.begin(stream)
        return stream.index

    def _origin_us(self, frame: av.VideoFrame, stop: threading.Event) -> int | None:
        """On the timeline of the sound, where the connection carries it."""
        stamp, now = pts_us(frame), self._clock.now_us()
        at = None if stamp is None else self._sound.stream_clock.at(stamp)
        if at is None or not now - BEHIND_US <= at <= now + AHEAD_US:
            return None
        stop.wait(max(0, at - now) / SECOND)
        return min(at, self._clock.now_us())


def build(config: Config, bus: Bus) -> CaptureWorker:
    connection = Connection(stream_url(config))
    sound = JointSound(config, connection, bus)
    picture = JointPicture(config, connection, bus, sound)
    connection.tracks = {"audio": sound, "video": picture}
    return CaptureWorker(*(GatedSource(config, bus, "stream", m, t) for m, t in connection.tracks.items()))
