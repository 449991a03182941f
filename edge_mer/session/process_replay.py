"""Replays a recorded session through sockets and a separate process, at any speed."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from edge_mer.bus import Reader, ReliableReader, ZmqBus
from edge_mer.client.instance import STOP_S, temporary_place
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import EdgeMerError, SessionError
from edge_mer.contract.messages import digest, result_bytes
from edge_mer.host.launcher import SystemProcess, last_error
from edge_mer.session.bus_replay import LATEST, BusFeed
from edge_mer.session.keys import key_store
from edge_mer.session.player import Speed
from edge_mer.session.reader import Session

SLACK_S = 60.0


class ProcessReplay(Struct, frozen=True):
    """``digest`` of the replayed results, beside the recorded one."""

    speed: float | str
    identical: bool
    digest: str
    recorded: str
    results: int
    seconds: float

    @property
    def line(self) -> str:
        verdict = "identical" if self.identical else f"NOT identical (recorded {self.recorded})"
        return (
            f"through sockets at {self.speed}: {verdict}, digest {self.digest} of {self.results} results, "
            f"{self.seconds:.1f} s"
        )


def in_recorded_order(recorded: Sequence[str], *parts: Sequence[str]) -> list[str]:
    """Results of several topics as one list: each at its place in ``recorded``, what is not there at the end."""
    left = [deque(part) for part in parts]
    merged = list[str]()
    for result in recorded:
        part = next((p for p in left if p and p[0] == result), None)
        if part is not None:
            merged.append(part.popleft())
    return [*merged, *(result for part in left for result in part)]


def replay_in_process(file: Path, config: Config, speed: Speed) -> ProcessReplay:
    """Raises SessionError when the session cannot be replayed, EdgeMerError when its process ends by itself."""
    session = Session(file, key_store(config))
    trailer = session.trailer
    if trailer is None or trailer.unverifiable:
        raise SessionError(f"{file}: {trailer.unverifiable if trailer else 'its recording was not finished'}")
    if session.unreadable:
        raise SessionError(f"{file}: {', '.join(session.unreadable)} cannot be read: results would differ")
    settings = config.model_copy(update={"replay": config.replay.model_copy(update={"path": str(file.absolute())})})
    span_s = (session.span_us[1] - session.span_us[0]) / SECOND
    limit = time.monotonic() + SLACK_S + (span_s if speed == "max" else span_s / speed)
    began = time.monotonic()
    recorded = [result for entry in session.messages("journal") for result in entry.body.results]
    with temporary_place() as place:
        directory = Path(place)
        directory.chmod(0o700)
        bus = ZmqBus(directory)
        readers: list[Reader | ReliableReader] = [bus.reader(topic) for topic in LATEST]
        readers.append(ReliableReader(bus, "event"))
        found: list[list[str]] = [[] for _ in readers]
        feed = BusFeed(session, bus, speed)
        process = SystemProcess.start(
            "follower",
            "edge_mer.session.bus_replay",
            directory,
            settings.model_dump_json().encode(),
            signal.SIGTERM,
            directory,
        )
        try:
            while not (feed.done and sum(map(len, found)) >= trailer.results) and time.monotonic() < limit:
                bus.wait(min(feed.turn(), SECOND // 20))
                for made, reader in zip(found, readers, strict=True):
                    made += map(digest, map(result_bytes, reader.drain()))
                if (code := process.ended()) is not None:
                    message = last_error(directory / "follower.jsonl")
                    raise EdgeMerError(f"the follower ended (exit code {code}): {message or 'no error was logged'}")
        finally:
            process.terminate()
            if process.wait(STOP_S) is None:
                process.kill()
            bus.close()
    merged = in_recorded_order(recorded, *found)
    replayed = digest("\n".join(merged).encode())
    return ProcessReplay(
        speed, replayed == trailer.digest, replayed, trailer.digest, len(merged), round(time.monotonic() - began, 2)
    )
