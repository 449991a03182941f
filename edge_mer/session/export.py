"""Exports for other programs: estimates as CSV or Parquet, audio as WAV, video as MKV or MP4."""

from __future__ import annotations

import csv
import heapq
import io
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mer.contract.clock import SECOND
from edge_mer.contract.domain import EMOTIONS, MODALITIES
from edge_mer.contract.errors import SessionError, missing_extra
from edge_mer.contract.messages import Estimate, Latency, Message, RawAudio, RawVideo
from edge_mer.contract.raw import SAMPLE_RATE
from edge_mer.host.files import create_private
from edge_mer.session.player import replayed_estimates
from edge_mer.session.reader import Session
from edge_mer.session.replay_components import ReplayComponents

GAP_S = 0.05  # shorter gaps are rounding errors of the sample clock
MS = Fraction(1, 1000)
BROWSER_ENCODERS = ("libx264", "libopenh264")


def estimates(session: Session, components: ReplayComponents | None, every: bool) -> Iterator[Message[Estimate]]:
    """The final estimates, or ``every`` one; recomputed with ``components`` where a modality was erased.

    A final estimate repeats an earlier one after the horizon; it is given the latency of the first of its window.
    """
    found = (
        (m for _, m in replayed_estimates(session, components))
        if components is not None
        else session.messages("emotion")
    )
    first: dict[int, Latency] = {}
    for message in found:
        origin, body = message.envelope.origin_us, message.body
        latency = first.setdefault(origin, body.latency_ms)
        if every:
            yield message
        elif body.final:
            del first[origin]
            yield msgspec.structs.replace(message, body=msgspec.structs.replace(body, latency_ms=latency))


def row(message: Message[Estimate], wall_offset_us: int) -> dict[str, Any]:
    """One flat record; ``time`` is wall time, and probabilities and modalities have a column each."""
    body, origin = message.body, message.envelope.origin_us
    wall = datetime.fromtimestamp((origin + wall_offset_us) / SECOND, timezone.utc)
    probabilities: Mapping[Any, float] = body.probabilities or {}
    return {
        "time": wall,
        "origin_us": origin,
        "combination": body.combination,
        "label": body.label,
        "confidence": body.confidence,
        "calibrated": body.calibrated,
        "abstain": body.abstain,
        **{f"p_{e}": probabilities.get(e) for e in EMOTIONS},
        "sentiment": body.sentiment,
        "sentiment_reason": body.sentiment_reason,
        "prediction_set": None if body.prediction_set is None else list(body.prediction_set),
        "sentiment_low": None if body.sentiment_interval is None else body.sentiment_interval[0],
        "sentiment_high": None if body.sentiment_interval is None else body.sentiment_interval[1],
        "coverage": body.coverage,
        **{f"presence_{m}": body.presence[m].state if m in body.presence else None for m in MODALITIES},
        "revision": body.revision,
        "final": body.final,
        "biometric": body.biometric,
        "mask_epoch": body.mask_epoch,
        "latency_ms": body.latency_ms.total,
        "model": body.model,
    }


def to_csv(rows: Iterable[Mapping[str, Any]], out: Path) -> int:
    count = 0
    with io.TextIOWrapper(create_private(out), "utf-8", newline="") as file:
        writer = None
        for record in rows:
            writer = writer or _header(csv.DictWriter(file, list(record)))
            writer.writerow({name: _text(value) for name, value in record.items()})
            count += 1
    return count


def _text(value: Any) -> Any:
    """A cell of CSV: times in ISO 8601, sets separated by spaces."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return " ".join(value) if isinstance(value, list) else value


def _header(writer: csv.DictWriter[str]) -> csv.DictWriter[str]:
    writer.writeheader()
    return writer


def to_parquet(rows: Iterable[Mapping[str, Any]], out: Path) -> int:
    """Raises MissingExtra without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise missing_extra("pyarrow", "parquet") from None
    sets = pyarrow.list_(pyarrow.string())
    types = {"time": pyarrow.timestamp("us", "UTC"), "prediction_set": sets}
    table = pyarrow.Table.from_pylist(list(rows))
    table = table.cast(pyarrow.schema([field.with_type(types.get(field.name, field.type)) for field in table.schema]))
    with create_private(out) as file:
        parquet.write_table(table, file)
    return int(table.num_rows)


def to_wav(session: Session, out: Path) -> int:
    """Audio with gaps filled by silence, which keeps timing. Returns samples. Raises SessionError without raw audio."""
    blocks = audio_blocks(session)
    rate, first = next(blocks, (0, np.empty(0, np.int16)))
    if not rate:
        raise SessionError(_no_raw(session, "audio"))
    total = 0
    with create_private(out) as file, wave.open(file, "wb") as sink:
        sink.setnchannels(1)
        sink.setsampwidth(2)
        sink.setframerate(rate)
        for samples in (first, *(x for _, x in blocks)):
            sink.writeframes(samples.astype("<i2").tobytes())
            total += len(samples)
    return total


def audio_blocks(session: Session) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """(rate, samples) without gaps, from the first block on."""
    begin_us, written, rate = None, 0, 0
    for message in in_origin_order(session, "raw/audio"):
        body: RawAudio = message.body
        if begin_us is None:
            begin_us, rate = message.envelope.origin_us, body.rate
        if body.rate != rate or len(message.payload) != 1 or message.payload[0].dtype != np.int16:
            continue
        due = round((message.envelope.origin_us - begin_us) * rate / SECOND)
        if due - written > GAP_S * rate:
            yield rate, np.zeros(due - written, np.int16)
            written = due
        samples = message.payload[0].ravel()
        yield rate, samples
        written += len(samples)


def browser_encoder() -> str | None:
    """The encoder of H.264, which browsers play, or None where this PyAV has none."""
    return next((name for name in BROWSER_ENCODERS if name in av.codecs_available), None)


class _Track:
    """Frames of a video stream at their times: JPEG as recorded, or encoded again where ``encoder`` is given."""

    def __init__(self, container: Any, body: RawVideo, encoder: str | None) -> None:
        self._container, self._size = container, (body.width, body.height)
        self._stream = container.add_stream(encoder or "mjpeg", rate=30)
        self._decoder = av.CodecContext.create("mjpeg", "r") if encoder else None
        even = ~1 if encoder else ~0  # yuv420p halves both
        self._stream.width, self._stream.height = body.width & even, body.height & even
        self._stream.pix_fmt, self._stream.time_base = "yuv420p" if encoder else "yuvj420p", MS
        if encoder:
            self._stream.codec_context.time_base = MS
        self._latest = -1

    def add(self, message: Message[Any], at_ms: int) -> int:
        """How many frames were written: none out of order, of another size, or that cannot be decoded."""
        if at_ms <= self._latest or (message.body.width, message.body.height) != self._size:
            return 0
        packet = av.Packet(message.payload[0].tobytes())
        if self._decoder is None:
            packet.stream, packet.time_base = self._stream, MS
            packet.pts = packet.dts = at_ms
            packet.is_keyframe = True
            self._container.mux(packet)
        else:
            try:
                (picture,) = self._decoder.decode(packet)
            except (av.FFmpegError, ValueError):
                return 0
            frame = picture.reformat(self._stream.width, self._stream.height, "yuv420p")
            frame.pts, frame.time_base = at_ms, MS
            self._container.mux(self._stream.encode(frame))
        self._latest = at_ms
        return 1

    def close(self) -> None:
        if self._decoder is not None:
            self._container.mux(self._stream.encode(None))


def to_video(session: Session, out: Path) -> int:
    """Frames at their original times, with audio where it was recorded. Returns the number of frames.

    MKV has the JPEG pictures as recorded. MP4 has H.264, which browsers play, where this PyAV can encode it.
    """
    frames = in_origin_order(session, "raw/video")
    first = next(frames, None)
    if first is None:
        raise SessionError(_no_raw(session, "video"))
    try:
        create_private(out).close()  # FFmpeg writes into the existing file and keeps its mode
    except FileExistsError:
        raise SessionError(f"{out} exists and is not overwritten; choose another name") from None
    begin_us, body = first.envelope.origin_us, first.body
    with av.open(str(out), "w") as container:
        video = _Track(container, body, browser_encoder() if out.suffix == ".mp4" else None)
        tracks = [((m.envelope.origin_us, 0, m) for m in (first, *frames))]
        audio = None
        if has(session, "raw/audio"):
            audio = container.add_stream("pcm_s16le" if out.suffix == ".mkv" else "aac", rate=SAMPLE_RATE)
            audio.layout = "mono"
            tracks.append((m.envelope.origin_us, 1, m) for m in in_origin_order(session, "raw/audio"))
        count = 0
        for origin_us, track, message in heapq.merge(*tracks, key=lambda x: x[:2]):
            at = max(0, (origin_us - begin_us) // 1000)
            if track == 1 and audio is not None and origin_us >= begin_us:
                frame = av.AudioFrame.from_ndarray(message.payload[0].reshape(1, -1), format="s16", layout="mono")
                frame.sample_rate, frame.pts = message.body.rate, at * SAMPLE_RATE // 1000
                frame.time_base = Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(frame))
            elif track == 0:
                count += video.add(message, at)
        video.close()
        if audio is not None:
            container.mux(audio.encode(None))
    return count


def has(session: Session, topic: str) -> bool:
    return next(session.messages(topic), None) is not None


def in_origin_order(session: Session, topic: str) -> Iterator[Message[Any]]:
    """Sorted by origin time; messages may have been recorded out of order by about a second."""
    heap: list[tuple[int, int, Message[Any]]] = []
    for number, message in enumerate(session.messages(topic)):
        heapq.heappush(heap, (message.envelope.origin_us, number, message))
        if len(heap) > 64:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]


def _no_raw(session: Session, modality: str) -> str:
    if modality in session.unreadable:
        return f"{session.path}: {modality} cannot be read: its key was erased, or is on another host"
    return f"{session.path} holds no raw {modality}: record with consent and --raw"


TABLES: Mapping[str, Callable[[Iterable[Mapping[str, Any]], Path], int]] = {".csv": to_csv, ".parquet": to_parquet}
MEDIA: Mapping[str, Callable[[Session, Path], int]] = {".wav": to_wav, ".mkv": to_video, ".mp4": to_video}
