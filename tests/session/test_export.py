"""Export for other programs: tables, audio and video of a recording."""

from __future__ import annotations

import csv
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from edge_mer.contract.errors import MissingExtra, SessionError
from edge_mer.session import export
from edge_mer.session.reader import Session
from tests.session.stage import read_all
from tests.session.studio import Studio


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds without audio in the middle second, so that the audio has a gap."""
    studio = Studio(tmp_path_factory.mktemp("export") / "a.mcap")
    studio.run(2)
    studio.silent.add("audio")
    studio.run(1)
    studio.silent.clear()
    studio.run(2)
    return studio.finish()


def rows(path: Path) -> list[dict[str, object]]:
    session = Session(path)
    assert session.opening is not None
    return [export.row(m, session.opening.wall_offset_us) for m in export.estimates(session, None, every=True)]


def test_every_estimate_is_a_line_of_csv(filmed: Path, tmp_path: Path) -> None:
    assert export.to_csv(rows(filmed), tmp_path / "a.csv") == len(read_all(filmed, "emotion"))
    with (tmp_path / "a.csv").open() as file:
        found = list(csv.DictReader(file))
    for line, message in zip(found, read_all(filmed, "emotion"), strict=True):
        body = message.body
        assert (line["combination"], line["label"]) == (body.combination, body.label or "")
        if body.probabilities:
            assert float(line["p_happy"]) == body.probabilities["happy"]
        assert line["time"].endswith("+00:00")


def test_default_exports_final_estimates_only(filmed: Path) -> None:
    assert all(m.body.final for m in export.estimates(Session(filmed), None, every=False))


def test_a_final_estimate_has_the_latency_of_the_first_of_its_window(filmed: Path) -> None:
    first: dict[int, object] = {}
    for message in read_all(filmed, "emotion"):
        first.setdefault(message.envelope.origin_us, message.body.latency_ms)
    finals = list(export.estimates(Session(filmed), None, every=False))
    assert len(finals) > 3
    assert all(m.body.latency_ms == first[m.envelope.origin_us] for m in finals)


def test_parquet_has_the_same_rows(filmed: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    export.to_parquet(rows(filmed), tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows(filmed)


def test_without_pyarrow_there_is_one_clear_line(filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pyarrow is not installed; run: pip install 'edge-mer\[parquet\]'"):
        export.to_parquet(rows(filmed), tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_wav_has_the_recorded_samples_and_silence_in_the_gap(filmed: Path, tmp_path: Path) -> None:
    export.to_wav(Session(filmed), tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        audio = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    blocks = [(m.envelope.origin_us, m.payload[0]) for m in read_all(filmed, "raw/audio")]
    begin = blocks[0][0]
    for origin, samples in blocks:
        at = round((origin - begin) * 16_000 / 1e6)
        assert np.array_equal(audio[at : at + len(samples)], samples)
    assert not audio[34_000:46_000].any()
    assert abs(len(audio) - 80_000) < 1_000


def test_video_frames_keep_bytes_and_times(filmed: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mkv"
    recorded = [(m.envelope.origin_us, m.payload[0].tobytes()) for m in read_all(filmed, "raw/video")]
    assert export.to_video(Session(filmed), out) == len(recorded)
    with av.open(str(out)) as container:
        assert {s.type for s in container.streams} == {"video", "audio"}
        packets = [p for p in container.demux(video=0) if p.size]
    assert [bytes(p) for p in packets] == [jpeg for _, jpeg in recorded]
    for packet, (origin, _) in zip(packets, recorded, strict=True):
        assert packet.pts is not None
        assert abs(float(packet.pts * packet.time_base) - (origin - recorded[0][0]) / 1e6) < 0.002


def test_missing_raw_media_is_named(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "a.mcap")
    studio.silent.update(("audio", "video"))
    studio.run(1)
    session = Session(studio.finish())
    with pytest.raises(SessionError, match="holds no raw audio"):
        export.to_wav(session, tmp_path / "a.wav")
    with pytest.raises(SessionError, match="holds no raw video"):
        export.to_video(session, tmp_path / "a.mkv")


def test_mp4_is_what_browsers_play_at_the_original_times(filmed: Path, tmp_path: Path) -> None:
    if export.browser_encoder() is None:
        pytest.skip("this PyAV cannot encode H.264")
    count = export.to_video(Session(filmed), tmp_path / "a.mp4")
    export.to_video(Session(filmed), tmp_path / "a.mkv")
    times = {}
    for name in ("a.mp4", "a.mkv"):
        with av.open(str(tmp_path / name)) as container:
            stream = container.streams.video[0]
            times[name] = [round(float(f.pts * stream.time_base), 2) for f in container.decode(stream)]
            assert stream.codec_context.name == ("h264" if name == "a.mp4" else "mjpeg")
            assert stream.codec_context.pix_fmt == ("yuv420p" if name == "a.mp4" else "yuvj420p")
    assert len(times["a.mp4"]) == count
    assert times["a.mp4"] == pytest.approx(times["a.mkv"], abs=0.011)


def test_mp4_without_an_encoder_holds_mjpeg(filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BROWSER_ENCODERS", ())
    assert export.browser_encoder() is None
    export.to_video(Session(filmed), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"


def test_parquet_has_timestamps_sets_and_presence(filmed: Path, tmp_path: Path) -> None:
    from pyarrow import parquet, types

    export.to_parquet(rows(filmed), tmp_path / "a.parquet")
    schema = parquet.read_schema(tmp_path / "a.parquet")
    assert types.is_timestamp(schema.field("time").type)
    assert types.is_list(schema.field("prediction_set").type)
    assert {"sentiment_low", "sentiment_high", "coverage", "presence_audio", "presence_video"} <= set(schema.names)
