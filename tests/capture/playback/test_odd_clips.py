"""Clips as people have them: changing formats, time that jumps or is missing, several tracks, odd names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edge_mer.capture.playback.media_probe import MediaFacts, open_clip, probe
from edge_mer.capture.playback.media_readers import AudioReader, Stretches, VideoReader
from edge_mer.capture.playback.timeline import Playback, SavedStart
from edge_mer.config import Config, load
from edge_mer.contract.clock import SECOND, FakeClock
from edge_mer.contract.errors import DeviceError
from tests.capture.media import make_clip, number, numbered_frame
from tests.capture.playback.test_file import Player, of

RATE = 16_000


def tone(seconds: float, rate: int = RATE, hertz: int = 440) -> np.ndarray:
    return (12_000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def sound(path: Path, samples: np.ndarray, rate: int, codec: str, layout: str = "mono") -> Path:
    """One audio file of int16 [n], the same in every channel."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate)
        assert isinstance(track, av.AudioStream)
        track.layout = layout
        channels = track.layout.nb_channels
        for start in range(0, len(samples), 1152):
            piece = np.ascontiguousarray(np.repeat(samples[start : start + 1152, None], channels, 1).reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return path


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(p.read_bytes() for p in parts))
    return target


def jumping(path: Path, steps: tuple[float, ...], video: bool = False, fps: int = 10) -> Path:
    """Two seconds before each jump and after the last: PCM, and numbered pictures; both jump by ``steps`` seconds."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=RATE)
        track.layout = "mono"
        pictures = container.add_stream("ffv1", rate=fps) if video else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
            pictures.codec_context.time_base = Fraction(1, fps)
        offset, shown = 0.0, 0
        for part in range(len(steps) + 1):
            samples = tone(2, hertz=300 + 200 * part)
            for start in range(0, len(samples), 1600):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1600], format="s16", layout="mono")
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = round((offset + 2 * part) * RATE) + start
                container.mux(track.encode(frame))
                if pictures is not None:
                    image = av.VideoFrame.from_ndarray(numbered_frame(shown), format="bgr24")
                    image.pts, image.time_base = round((offset + 2 * part) * fps) + start // 1600, Fraction(1, fps)
                    container.mux(pictures.encode(image))
                    shown += 1
            offset += steps[part] if part < len(steps) else 0
        container.mux(track.encode())
    return path


def heard(clip: MediaFacts, start: int = 0, counters: Counter[str] | None = None) -> np.ndarray:
    reader, blocks = AudioReader(clip, start, counters if counters is not None else Counter()), []
    while not reader.ended:
        reader.step()
        while (block := reader.take()) is not None:
            blocks.append(block)
        assert len(blocks) < 3000, "endless"
    return np.concatenate(blocks)


def seen(clip: MediaFacts, counters: Counter[str] | None = None, fps: float = 15) -> list[tuple[int, Any]]:
    reader = VideoReader(clip, 0, fps, counters if counters is not None else Counter())
    while not reader.ended:
        reader.step()
    return list(reader.frames)


def pitch(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("codec", "suffix", "first", "second"),
    [
        ("libmp3lame", "mp3", (44_100, "mono"), (48_000, "mono")),
        ("libmp3lame", "mp3", (44_100, "mono"), (44_100, "stereo")),
        ("aac", "aac", (48_000, "mono"), (48_000, "stereo")),
        ("libopus", "ogg", (48_000, "mono"), (48_000, "mono")),
    ],
    ids=["rate", "channels", "aac channels", "chained ogg"],
)
def test_sound_goes_on_where_its_format_changes(
    tmp_path: Path, codec: str, suffix: str, first: tuple[int, str], second: tuple[int, str]
) -> None:
    parts = [
        sound(tmp_path / f"{i}.{suffix}", tone(2, rate, 500), rate, codec, layout)
        for i, (rate, layout) in enumerate((first, second))
    ]
    counters: Counter[str] = Counter()
    audio = heard(probe(str(joined(tmp_path / f"both.{suffix}", *parts))), counters=counters)
    assert len(audio) == pytest.approx(4 * RATE, abs=RATE // 4)
    assert pitch(audio[RATE // 2 : RATE * 3 // 2]) == pytest.approx(500, abs=4)
    assert pitch(audio[RATE * 5 // 2 : RATE * 7 // 2]) == pytest.approx(500, abs=4)


def test_a_damaged_packet_that_a_decoder_calls_unknown_is_counted_and_the_clip_goes_on(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.ac3", tone(2, 48_000), 48_000, "ac3")
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : third + 200] = b"\xaa" * 200
    path.write_bytes(content)
    counters = Counter[str]()
    assert len(heard(probe(str(path)), counters=counters)) > 1.8 * RATE
    assert counters["corrupt"] == 1


@pytest.mark.parametrize("hours", [10, 100])
def test_a_jump_of_hours_is_a_new_timeline_and_costs_no_memory(tmp_path: Path, hours: int) -> None:
    counters: Counter[str] = Counter()
    audio = heard(probe(str(jumping(tmp_path / "j.mkv", (hours * 3600.0,)))), counters=counters)
    assert len(audio) == pytest.approx(4 * RATE, abs=1024)
    assert counters["jumps"] == 1
    assert pitch(audio[RATE * 5 // 2 : RATE * 7 // 2]) == pytest.approx(500, abs=4)


def test_a_gap_of_seconds_is_silence_that_is_counted(tmp_path: Path) -> None:
    counters: Counter[str] = Counter()
    audio = heard(probe(str(jumping(tmp_path / "j.mkv", (3.0,)))), counters=counters)
    assert len(audio) == pytest.approx(7 * RATE, abs=1024)
    assert not audio[RATE * 5 // 2 : RATE * 9 // 2].any()
    assert counters["silence_ms"] == pytest.approx(3000, abs=2)


def test_silence_is_not_stored(tmp_path: Path) -> None:
    reader = AudioReader(probe(str(jumping(tmp_path / "j.mkv", (4.5,)))), 0, Counter())
    while reader._blocks.ready < 6 * RATE:
        reader.step()
    held = [piece for piece in reader._blocks._pieces if not isinstance(piece, int)]
    assert sum(len(piece) for piece in held) < 5 * RATE // 2


def test_both_tracks_play_on_together_after_a_jump(state: Path, tmp_path: Path) -> None:
    player = Player(state, jumping(tmp_path / "j.mkv", (36_000.0,), video=True))
    messages = player.play(6)
    frames = of(messages, "raw/video")
    shown = [number(cv2.imdecode(f.payload[0], cv2.IMREAD_COLOR)) for f in frames]
    assert shown == list(range(40))
    assert frames[-1].envelope.origin_us - player.t0 == pytest.approx(3.9 * SECOND, abs=SECOND / 10)
    blocks = of(messages, "raw/audio")
    assert pitch(blocks[100].payload[0].astype(float)) == pytest.approx(500, abs=40)
    for modality in ("audio", "video"):
        reason = of(messages, f"state/{modality}")[-1].body.reason
        assert reason == "end of file; 1 jumps in time"


def test_parts_joined_byte_by_byte_play_one_after_the_other(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", seconds=2, audio=False)
    counters: Counter[str] = Counter()
    frames = seen(probe(str(joined(tmp_path / "back.ts", part, part))), counters)
    numbers = [number(f.to_ndarray(format="bgr24")) for _, f in frames]
    assert numbers == [*range(20), *range(20)]
    assert [t for t, _ in frames] == sorted(t for t, _ in frames)
    assert frames[-1][0] == pytest.approx(3.9 * SECOND, abs=SECOND / 10)
    assert counters["jumps"] == 1


def test_a_reader_that_is_opened_again_goes_on_in_the_second_part(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", seconds=2, audio=False)
    clip, stretches = probe(str(joined(tmp_path / "back.ts", part, part))), Stretches()
    reader = VideoReader(clip, 0, 15, Counter(), stretches)
    while not reader.ended:
        reader.step()
    again = VideoReader(clip, 3 * SECOND, 15, Counter(), stretches)
    while not again.ended:
        again.step()
    assert [number(f.to_ndarray(format="bgr24")) for _, f in again.frames] == list(range(10, 20))


@pytest.mark.parametrize("bframes", ["0", "3"])
def test_pictures_without_times_follow_at_the_frame_rate(tmp_path: Path, bframes: str) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 96, 64, "yuv420p", 10
    encoder.time_base, encoder.options = Fraction(1, 10), {"bf": bframes, "qp": "10"}
    images = [av.VideoFrame.from_ndarray(numbered_frame(i), format="bgr24") for i in range(40)]
    packets = [bytes(p) for image in images for p in encoder.encode(image)] + [bytes(p) for p in encoder.encode()]
    (tmp_path / "raw.h264").write_bytes(b"".join(packets))
    counters: Counter[str] = Counter()
    frames = seen(probe(str(tmp_path / "raw.h264")), counters, fps=1000)
    assert [number(f.to_ndarray(format="bgr24")) for _, f in frames] == list(range(40))
    gaps = np.diff([t for t, _ in frames])
    assert gaps.min() == gaps.max() > 0
    assert counters["untimed"] >= 39


@pytest.fixture
def languages(tmp_path: Path) -> Path:
    """Silence first, and a tone that is marked as default."""
    path = tmp_path / "multi.mkv"
    with av.open(str(path), "w") as container:
        tracks = []
        for language in ("ger", "eng"):
            track = container.add_stream("pcm_s16le", rate=RATE)
            track.layout = "mono"
            track.metadata["language"] = language
            tracks.append(track)
        tracks[0].disposition, tracks[1].disposition = 0, av.stream.Disposition.default
        for track, samples in zip(tracks, (np.zeros(RATE, np.int16), tone(1)), strict=True):
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(track.encode(frame))
    return path


@pytest.mark.parametrize(("asked", "loud"), [(None, True), (1, False), (2, True)])
def test_the_default_track_plays_or_the_one_that_is_named(languages: Path, asked: int | None, loud: bool) -> None:
    clip = probe(str(languages), asked)
    assert bool(heard(clip).any()) == loud
    assert clip.audio_choice == f"audio track {asked or 2} of 2, {'ger' if asked == 1 else 'eng'}"


def test_the_choice_of_a_track_is_shown(state: Path, languages: Path) -> None:
    messages = Player(state, languages).play(1)
    assert of(messages, "state/audio")[-1].body.device == "multi.mkv, audio track 2 of 2, eng"


def test_a_track_that_does_not_exist_is_refused(languages: Path) -> None:
    with pytest.raises(DeviceError, match=r"file\.audio_track is 3, but the file has 2"):
        probe(str(languages), 3)


def test_a_text_file_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a film\n" * 500)
    with pytest.raises(DeviceError, match="neither an audio nor a video track"):
        probe(str(path))


def test_a_directory_and_a_fifo_are_named(tmp_path: Path) -> None:
    (tmp_path / "dir.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    with pytest.raises(DeviceError, match="is a directory"):
        open_clip(str(tmp_path / "dir.mp4"))
    with pytest.raises(DeviceError, match="is a FIFO"):
        open_clip(str(tmp_path / "fifo.mp4"))


@pytest.mark.parametrize("name", ["12:30 talk.mp4", "-dash.mp4", "a b ünï 笑.mp4", "img%03d.mp4", "new\nline.mp4"])
def test_any_name_is_opened_also_relative(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "clip.mp4", seconds=0.3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    clip = probe(name)
    assert (clip.has_audio, clip.name) == (True, name)


def test_a_name_that_is_not_utf_8_passes_through_the_config(state: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/lat\xff1.mp4"
    os.rename(make_clip(tmp_path / "clip.mp4", seconds=1), odd)
    config, _ = load(overrides={"file": {"path": os.fsdecode(odd)}})
    again = Config.model_validate_json(config.model_dump_json())
    assert again.file.path is not None
    assert probe(again.file.path).name == "lat\N{REPLACEMENT CHARACTER}1.mp4"
    messages = Player(state, Path(os.fsdecode(odd))).play(1)
    assert of(messages, "raw/video")
    assert of(messages, "raw/audio")


def test_late_pictures_are_skipped_up_to_the_next_key_frame(tmp_path: Path) -> None:
    clip = probe(str(make_clip(tmp_path / "clip.mkv", seconds=6, audio=False)))  # a key frame every second
    counters: Counter[str] = Counter()
    reader, late = VideoReader(clip, 0, 15, counters), 3 * SECOND
    reader.step(late)
    assert reader.frames[0][0] == 0
    while not reader.ended:
        reader.step(late)
    positions = [t for t, _ in reader.frames]
    assert positions[1] == late, "the key frame at 3 s"
    assert len(positions) == 31
    assert counters["late"] == 29


class SlowClock(FakeClock):
    """Every look at it takes 60 ms, as if each picture took that long."""

    slow = False

    def now_us(self) -> int:
        if self.slow:
            self.advance(60_000)
        return super().now_us()


def test_a_turn_is_bounded_by_time(state: Path, tmp_path: Path) -> None:
    player = Player(state, make_clip(tmp_path / "clip.mkv", seconds=4, fps=50, audio=False))
    player.play(0.5)
    clock = SlowClock(player.bench.clock.now_us() + 2 * SECOND)
    track = player.worker._tracks[1]
    track._playback.clock = clock  # type: ignore[union-attr]
    before, clock.slow = player.decoded("video"), True
    track.read()  # type: ignore[union-attr]
    assert player.decoded("video") - before <= 3


def test_a_clip_goes_on_where_it_was_after_a_restart_of_its_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(SECOND)
    first = Playback(clock, start=SavedStart(tmp_path / "start", "clip.mp4"))
    t0 = first.begin()
    clock.advance(10 * SECOND)
    assert Playback(clock, start=SavedStart(tmp_path / "start", "clip.mp4")).begin() == t0
    assert Playback(clock, start=SavedStart(tmp_path / "start", "other.mp4")).begin() > t0
    monkeypatch.setattr(os, "getppid", lambda: 1_000_000)
    assert Playback(clock, start=SavedStart(tmp_path / "start", "clip.mp4")).begin() > t0


def test_a_clip_that_gives_nothing_says_so(state: Path, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", seconds=1, audio=False)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pos:
                start = data.find(bytes(packet)[:16], packet.pos)
                data[start : start + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    reason = of(Player(state, path).play(3), "state/video")[-1].body.reason
    assert reason.startswith("end of file: nothing in it could be played")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "dir.mp4").mkdir()
    return tmp_path / "dir.mp4"


@pytest.mark.parametrize("command", [["demo", "--media"], ["run", "--consent", "audio", "--set"]], ids=["demo", "run"])
def test_a_clip_that_cannot_be_played_ends_the_command(broken: Path, command: list[str]) -> None:

    setting = f"file.path={broken}" if "--set" in command else str(broken)
    more = ["--set", "audio.source=file", "--set", f"privacy.state={broken.parent / 's'}"] if "--set" in command else []
    done = subprocess.run(
        [sys.executable, "-m", "edge_mer.cli.main", *command, setting, *more],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (1 if command[0] == "demo" else 3)
    assert re.search("is a (folder|directory)", done.stderr)
