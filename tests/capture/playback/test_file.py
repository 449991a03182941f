"""A file plays as microphone and camera: one t0, in real time, and a masked track is not decoded."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edge_mer.capture.gated_source import GatedSource
from edge_mer.capture.playback.file import BLOCK_US, FileWorker, assemble, build
from edge_mer.capture.playback.media_probe import MediaFacts, probe
from edge_mer.capture.playback.media_readers import AudioReader
from edge_mer.capture.playback.timeline import LEAD_US
from edge_mer.contract.clock import SECOND
from edge_mer.contract.errors import DeviceError
from tests.capture.media import make_clip, number
from tests.switch_bench import BOOT_ID, SwitchBench

CLIPS = Path(__file__).parents[4] / "shared" / "data" / "av_clips"
DEMO = Path(__file__).parents[3] / "edge_mer" / "demo" / "assets"


class Player:
    """A switch bench on which one file plays, and the messages that it published."""

    def __init__(self, directory: Path, path: Path, **sections: Any) -> None:
        self.bench = SwitchBench(
            directory,
            **{
                "audio": {"source": "file"},
                "video": {"source": "file"},
                **sections,
                "file": {"path": str(path), **sections.get("file", {})},
            },
        )
        bus = self.bench.bus("file-boot")
        self.worker: FileWorker = assemble(
            self.bench.config,
            bus,
            lambda modality, device: GatedSource(self.bench.config, bus, "file", modality, device, boot_id=BOOT_ID),
        )
        topics = [f"{kind}/{m}" for kind in ("raw", "state") for m in ("audio", "video", "text")]
        self.reader = self.bench.bus().reader(*topics)
        self.seen: list[Any] = []

    def play(self, seconds: float) -> list[Any]:
        """Let time pass; returns the messages of that time."""
        before = len(self.seen)
        self.bench.run(round(seconds * SECOND), self.worker, step_us=10_000, each=self._drain)
        self._drain()
        return self.seen[before:]

    def _drain(self) -> None:
        self.seen += self.reader.drain()

    @property
    def t0(self) -> int:
        return self.worker.playback.begin()

    def decoded(self, modality: str) -> int:
        return self.worker.counters.get(f"{modality}.decoded", 0)


def audio_from(clip: MediaFacts, sample: int) -> np.ndarray:
    reader, blocks = AudioReader(clip, sample, Counter()), []
    while not reader.ended:
        reader.step()
    while (block := reader.take()) is not None:
        blocks.append(block)
    return np.concatenate(blocks)


def of(messages: list[Any], topic: str) -> list[Any]:
    return [m for m in messages if m.topic == topic]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "both.mkv")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def test_audio_plays_in_whole_blocks_from_t0(state, clip):
    player = Player(state, clip)
    blocks = of(player.play(3), "raw/audio")
    assert [b.body.sample_index for b in blocks] == [512 * n for n in range(len(blocks))]
    assert [b.envelope.origin_us for b in blocks] == [player.t0 + n * BLOCK_US for n in range(len(blocks))]
    assert len(blocks) == 63, "2 s of audio, the last block padded"
    samples = np.concatenate([b.payload[0] for b in blocks]).astype(float)
    expected = 20_000 * np.arange(32_000) / 32_000 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    assert np.corrcoef(samples[1000:31_000], expected[1000:31_000])[0, 1] > 0.999


def test_nothing_is_published_before_it_would_have_been_captured(state, clip):
    player = Player(state, clip)
    for message in player.play(2):
        if message.topic == "raw/audio":
            assert message.envelope.created_us >= message.envelope.origin_us + BLOCK_US
        elif message.topic == "raw/video":
            assert 0 <= message.envelope.created_us - message.envelope.origin_us <= 20_000


def test_frames_are_published_at_their_times_on_the_same_t0(state, clip):
    player = Player(state, clip)
    frames = of(player.play(3), "raw/video")
    images = [cv2.imdecode(f.payload[0], cv2.IMREAD_COLOR) for f in frames]
    assert [number(i) for i in images] == list(range(20))
    assert [f.envelope.origin_us - player.t0 for f in frames] == [n * 100_000 for n in range(20)]
    assert frames[0].body.width == 96


def test_fast_and_wide_video_is_thinned_and_scaled(state, tmp_path):
    path = make_clip(tmp_path / "fast.mkv", seconds=1, fps=60, audio=False, width=320, height=240)
    player = Player(state, path, video={"source": "file", "fps": 15, "width": 160})
    frames = of(player.play(2), "raw/video")
    assert 14 <= len(frames) <= 16
    assert {(f.body.width, f.body.height) for f in frames} == {(160, 120)}


@pytest.mark.parametrize(("masked", "other"), [("audio", "video"), ("video", "audio")])
def test_a_masked_track_is_not_decoded_while_the_other_plays_on(state, tmp_path, masked, other):
    player = Player(state, make_clip(tmp_path / "long.mkv", seconds=4))
    player.play(1)
    player.bench.ask("mask", masked)
    player.bench.turn(player.worker)
    at_mask = player.decoded(masked), player.decoded(other)
    messages = player.play(1.5)
    assert player.decoded(masked) == at_mask[0] > 0
    assert player.decoded(other) > at_mask[1]
    assert not of(messages, f"raw/{masked}")
    assert len(of(messages, f"raw/{other}")) > 10
    assert of(messages, f"state/{masked}")[-1].body.gate == "masked"


def test_unmasking_resumes_at_the_current_position_of_the_file(state, tmp_path):
    player = Player(state, make_clip(tmp_path / "long.mkv", seconds=4))
    player.play(1)
    player.bench.ask("mask", "video", "audio")
    player.play(1.53)
    player.bench.ask("unmask", "video", "audio")
    player.bench.turn(player.worker)
    now = player.bench.clock.now_us() - player.t0
    messages = player.play(1)
    frame, block = of(messages, "raw/video")[0], of(messages, "raw/audio")[0]
    position = frame.envelope.origin_us - player.t0
    assert now <= position < now + 120_000
    assert number(cv2.imdecode(frame.payload[0], cv2.IMREAD_COLOR)) == position // 100_000
    start = block.envelope.origin_us - player.t0
    assert now <= start < now + BLOCK_US
    assert block.body.sample_index == start * 16 // 1000
    loudness = np.abs(block.payload[0]).max() / 20_000
    assert loudness == pytest.approx(start / (4 * SECOND), abs=0.02), "the tone's loudness gives its time"


@pytest.mark.parametrize("track", ["audio", "video"])
def test_a_missing_track_is_absent_with_the_reason(state, tmp_path, track):
    path = make_clip(tmp_path / "one.mkv", seconds=1, audio=track != "audio", video=track != "video")
    messages = Player(state, path).play(1)
    published = of(messages, f"state/{track}")[-1].body
    assert (published.health, published.reason) == ("absent", f"one.mkv has no {track} track")
    assert not of(messages, f"raw/{track}")
    other = "video" if track == "audio" else "audio"
    assert of(messages, f"raw/{other}")


def test_the_cover_image_of_a_song_is_not_video(state, tmp_path):
    path = tmp_path / "song.mp3"
    cover = tmp_path / "cover.png"
    cv2.imwrite(str(cover), np.zeros((64, 64, 3), np.uint8))
    make_clip(tmp_path / "tone.mkv", seconds=1, video=False)
    with (
        av.open(str(tmp_path / "tone.mkv")) as tone,
        av.open(str(cover)) as art,
        av.open(str(path), "w", options={"id3v2_version": "3"}) as song,
    ):
        audio = song.add_stream("mp3", rate=44_100)
        cover_track = song.add_stream_from_template(art.streams.video[0])
        cover_track.disposition = av.stream.Disposition.attached_pic
        for packet in art.demux():
            if packet.size:
                packet.stream = cover_track
                song.mux(packet)
        for frame in tone.decode(audio=0):
            song.mux(audio.encode(frame))
        song.mux(audio.encode())
    found = probe(str(path))
    assert (found.has_audio, found.has_video) == (True, False)


def test_a_low_frame_rate_does_not_count_as_a_lost_camera(state, tmp_path):
    messages = Player(state, make_clip(tmp_path / "slow.mkv", seconds=6, fps=1, audio=False)).play(5)
    live = [m.body for m in of(messages, "state/video") if m.body.gate == "live"]
    assert {state.health for state in live} == {"warming", "ok"}


def test_after_the_end_both_sensors_are_absent(state, clip):
    messages = Player(state, clip).play(4)
    for modality in ("audio", "video"):
        published = of(messages, f"state/{modality}")[-1].body
        assert (published.health, published.reason, published.gate) == ("absent", "end of file", "live")


def test_a_loop_has_no_gap_and_time_is_monotonic(state, clip):
    player = Player(state, clip, file={"loop": True})
    messages = player.play(5)
    blocks, frames = of(messages, "raw/audio"), of(messages, "raw/video")
    assert [b.body.sample_index for b in blocks] == [512 * n for n in range(len(blocks))]
    assert len(blocks) > 140
    origins = [f.envelope.origin_us - player.t0 for f in frames]
    assert origins == sorted(origins)
    lap = player.worker.playback.period_us
    assert lap == 63 * BLOCK_US
    assert origins[20:23] == [lap, lap + 100_000, lap + 200_000]
    assert number(cv2.imdecode(frames[21].payload[0], cv2.IMREAD_COLOR)) == 1
    assert np.array_equal(blocks[10].payload[0], blocks[73].payload[0])


def test_a_truncated_file_plays_to_its_end(state, clip):
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    messages = Player(state, clip).play(4)
    assert len(of(messages, "raw/video")) > 3
    assert of(messages, "state/video")[-1].body.health == "absent"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.mp4", None, "no such file"),
        ("noise.mp4", b"\x00\x01 not a clip" * 50, "damaged or no media file"),
        ("empty.mkv", b"", "is empty"),
    ],
)
def test_an_unreadable_file_is_refused_by_name(state, tmp_path, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeviceError, match=f"{name}.*{complaint}"):
        Player(state, path)


def test_without_a_path_the_config_key_is_named(state, tmp_path):
    bench = SwitchBench(state, audio={"source": "file"})
    with pytest.raises(DeviceError, match=r"file\.path"):
        build(bench.config, bench.bus())


def test_only_modalities_with_the_file_as_source_play_it(state, clip):
    player = Player(state, clip, video={"source": "camera"})
    messages = player.play(1)
    assert of(messages, "raw/audio")
    assert not of(messages, "state/video"), "the camera has its own process"


def test_gaps_in_the_audio_are_silence_and_shift_nothing(tmp_path):
    found = probe(str(make_clip(tmp_path / "holes.mkv", holes=((0.0, 0.3), (0.8, 1.2)))))
    audio = np.abs(audio_from(found, 0).astype(int))
    loud = [int(audio[round(t * 16_000) : round((t + 0.1) * 16_000)].max()) for t in (0.1, 0.5, 0.95, 1.4)]
    assert loud[0] == loud[2] == 0
    assert loud[1] == pytest.approx(6_000, rel=0.1)
    assert loud[3] == pytest.approx(15_000, rel=0.1)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_audio_after_a_seek_is_accurate_within_a_millisecond(tmp_path, suffix):
    """Containers may round the time of a packet to 1 ms."""
    found = probe(str(make_clip(tmp_path / f"clip{suffix}")))
    whole, middle = audio_from(found, 0), audio_from(found, 30 * 512)
    assert abs(len(whole) - 30 * 512 - len(middle)) <= 512
    piece, window = middle[2000:10_000].astype(float), whole[30 * 512 + 1983 :].astype(float)
    likeness = [np.corrcoef(piece, window[lag : lag + 8000])[0, 1] for lag in range(35)]
    assert abs(int(np.argmax(likeness)) - 17) <= 16
    assert max(likeness) > 0.99


def test_the_transcript_of_the_file_shares_its_t0(state):
    player = Player(state, DEMO / "demo.mkv", text={"source": "recorded", "path": str(DEMO / "demo.words.json")})
    published = of(player.play(4.4), "raw/text")
    words = json.loads((DEMO / "demo.words.json").read_text())["segments"][0]["words"]
    assert [w.text for w in published[11].body.words] == [w for w, _, _ in words]
    assert published[11].body.final
    assert [w.start_us - player.t0 for w in published[11].body.words] == [round(s * SECOND) for _, s, _ in words]
    assert published[11].body.parent is None


def test_the_first_block_waits_for_readers(state, clip):
    player = Player(state, clip)
    start = player.bench.clock.now_us()
    player.play(0.1)
    assert player.t0 - start <= LEAD_US + 20_000


@pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/data/av_clips is not there")
@pytest.mark.parametrize("name", [p.name for p in sorted(CLIPS.glob("*")) if p.suffix in (".flv", ".mp4", ".mov")])
def test_real_clips_play(state, name):
    found = probe(str(CLIPS / name))
    messages = Player(state, CLIPS / name).play(2)
    assert bool(of(messages, "raw/audio")) == found.has_audio
    assert 15 <= len(of(messages, "raw/video")) <= 31
    assert not of(messages, "raw/video")[0].body.width > 640
