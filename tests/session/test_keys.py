"""Keys per recording and modality: outside the recording, private; without its key a modality cannot be read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from edge_mer.contract.domain import Modality
from edge_mer.contract.errors import BadMessage, ConfigError, SessionError
from edge_mer.contract.messages import result_bytes
from edge_mer.session import keys
from edge_mer.session.keys import KeyStore, erased_with
from edge_mer.session.player import replayed_results
from edge_mer.session.reader import Session
from edge_mer.session.verifier import refolded, verify
from tests.session.stage import FAKE, Home, read_all
from tests.session.studio import Studio

ID = "0123456789abcdef" * 2


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


def run(path: Path, store: KeyStore, silent: tuple[Modality, ...] = ()) -> Path:
    """A run with drops, masks of others, late text and a restart; ``silent`` sensors send no features."""
    home = Home(path, seed=11, encrypt=True, keys=str(store.directory))
    home.silent = set(silent)
    for step in range(90):
        home.step()
        if step == 30:
            home.mask("video")
        if step == 45:
            home.publish_feature("text", tokens=2, ago_us=900_000)
        if step == 60:
            home.restart_fusion()
    return home.finish()


class TestStore:
    def test_key_is_private_and_can_be_read_again(self, store: KeyStore) -> None:
        sealed = keys.seal(store.create(ID, "audio"), "raw/audio", "json", b"secret")
        cipher = store.get(ID, "audio")
        assert cipher is not None
        assert keys.unseal(cipher, "raw/audio", "json", sealed) == b"secret"
        assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
        assert [stat.S_IMODE(p.stat().st_mode) for p in store.directory.iterdir()] == [0o600]

    def test_modalities_have_different_keys(self, store: KeyStore) -> None:
        sealed = keys.seal(store.create(ID, "audio"), "raw/audio", "json", b"secret")
        with pytest.raises(BadMessage, match="decryption failed"):
            keys.unseal(store.create(ID, "video"), "raw/audio", "json", sealed)

    @pytest.mark.parametrize(
        ("topic", "encoding", "place"),
        [
            ("raw/audio", "json", 3),
            ("raw/audio", "json", -1),
            ("raw/video", "json", None),
            ("raw/audio", "edge_mer.frames", None),
        ],
    )
    def test_changed_or_moved_data_is_refused(
        self, store: KeyStore, topic: str, encoding: str, place: int | None
    ) -> None:
        cipher = store.create(ID, "audio")
        sealed = bytearray(keys.seal(cipher, "raw/audio", "json", b"secret"))
        if place is not None:
            sealed[place] ^= 1
        with pytest.raises(BadMessage, match="decryption failed"):
            keys.unseal(cipher, topic, encoding, bytes(sealed))

    def test_erased_key_is_removed_and_its_time_is_stored(self, store: KeyStore) -> None:
        store.create(ID, "audio")
        secret = next(store.directory.iterdir()).read_bytes()
        assert store.erased_at(ID, "audio") is None
        assert store.erase(ID, "audio")
        assert store.get(ID, "audio") is None
        assert store.erased_at(ID, "audio")
        assert not store.erase(ID, "audio")
        assert all(secret not in p.read_bytes() for p in store.directory.iterdir())

    @pytest.mark.parametrize("session", ["../../etc/passwd", "", "A" * 32, "0" * 31, "0" * 32 + "/x"])
    def test_a_session_cannot_name_a_path(self, store: KeyStore, session: str) -> None:
        with pytest.raises(SessionError, match="is not the id of a session"):
            store.get(session, "audio")

    def test_world_readable_key_is_refused(self, store: KeyStore) -> None:
        store.create(ID, "audio")
        next(store.directory.iterdir()).chmod(0o644)
        with pytest.raises(ConfigError, match="chmod"):
            store.get(ID, "audio")

    def test_world_readable_store_is_refused(self, store: KeyStore) -> None:
        store.directory.mkdir(mode=0o755)
        store.directory.chmod(0o755)
        with pytest.raises(ConfigError, match="accessible by its owner only"):
            store.create(ID, "audio")

    def test_a_damaged_key_is_named(self, store: KeyStore) -> None:
        store.create(ID, "audio")
        next(store.directory.iterdir()).write_text("x")
        with pytest.raises(ConfigError, match="is not a key"):
            store.get(ID, "audio")

    def test_reading_creates_no_directory(self, store: KeyStore) -> None:
        assert store.get(ID, "audio") is None
        assert not store.directory.exists()


class TestSealed:
    def test_sealed_session_verifies_with_its_keys(self, store: KeyStore, tmp_path: Path) -> None:
        path = run(tmp_path / "a.mcap", store)
        session = Session(path, store)
        assert session.sealed == ("audio", "video", "text")
        assert session.unreadable == ()
        assert list(session.messages("feature/audio"))
        assert verify(path, FAKE, store).identical

    def test_sensor_content_is_unreadable_without_keys(self, store: KeyStore, tmp_path: Path) -> None:
        path = run(tmp_path / "a.mcap", store)
        session = Session(path)
        assert session.lost_topics == {f"feature/{m}" for m in ("audio", "video", "text")}
        assert not list(session.messages("feature/audio", "feature/video", "feature/text"))
        assert list(session.messages("state/audio", "emotion", "journal"))
        assert session.faults == []
        assert "is not on this host" in str(verify(path, FAKE, KeyStore(tmp_path / "elsewhere")).reason)

    def test_sealed_file_contains_no_plain_media_bytes(self, store: KeyStore, tmp_path: Path) -> None:
        studio = Studio(tmp_path / "a.mcap", encrypt=True, keys=str(store.directory))
        studio.run(1)
        recorded = read_all(
            rewritten_open(studio.finish(), tmp_path / "open.mcap", store), "raw/video", "feature/audio"
        )
        data = studio.path.read_bytes()
        assert len(recorded) > 5
        chunks = [entry.data for entry in Session(studio.path).entries()]
        for message in recorded:
            piece = message.payload[0].tobytes()[100:140]
            assert piece not in data
            assert not any(piece in chunk for chunk in chunks)

    def test_unusable_key_store_stops_only_the_recording(self, store: KeyStore, tmp_path: Path) -> None:
        store.directory.mkdir(mode=0o700)
        home = Home(tmp_path / "a.mcap", encrypt=True, keys=str(store.directory))
        store.directory.chmod(0o755)
        for _ in range(5):
            home.step(drop=0)
        assert home.recorder.counters["stopped"] == 1
        assert "accessible by its owner only" in str(Session(home.finish()).trailer.unverifiable)  # type: ignore[union-attr]


def rewritten_open(path: Path, target: Path, store: KeyStore) -> Path:
    from edge_mer.session.rewrite import unsealed

    unsealed(path, target, store)
    return target


class TestErase:
    @pytest.mark.parametrize("modality", ["audio", "video", "text"])
    def test_replay_equals_the_run_with_that_modality_absent(
        self, store: KeyStore, tmp_path: Path, modality: Modality
    ) -> None:
        whole = run(tmp_path / "whole.mcap", store)
        absent = run(tmp_path / "absent.mcap", store, silent=(modality,))
        opening = Session(whole, store).opening
        assert opening is not None
        live = [result_bytes(m) for m in read_all_with(absent, store, "emotion")]
        assert [result_bytes(m) for m in read_all_with(whole, store, "emotion")] != live
        assert store.erase(opening.session, modality)
        erased = Session(whole, store)
        assert erased.unreadable == (modality,)
        assert [result_bytes(m) for _, m in replayed_results(erased, FAKE, {"emotion"})] == live
        digests = [d for _, r in refolded(erased, FAKE) for d in r.digests]
        assert digests == [d for m in read_all_with(absent, store, "journal") for d in m.body.results]

    def test_erasing_affects_every_copy(self, store: KeyStore, tmp_path: Path) -> None:
        path = run(tmp_path / "a.mcap", store)
        copy = tmp_path / "copy.mcap"
        copy.write_bytes(path.read_bytes())
        opening = Session(path, store).opening
        assert opening is not None
        store.erase(opening.session, "audio")
        assert Session(copy, store).unreadable == ("audio",)
        assert not list(Session(copy, store).messages("feature/audio"))

    def test_an_erased_session_never_verifies_as_the_recorded_one(self, store: KeyStore, tmp_path: Path) -> None:
        path = run(tmp_path / "a.mcap", store)
        opening = Session(path, store).opening
        assert opening is not None
        store.erase(opening.session, "audio")
        report = verify(path, FAKE, store)
        assert not report.equal
        assert report.erased == ("audio",)
        assert "audio was erased" in str(report.reason)

    def test_transcribed_text_is_erased_with_audio_and_typed_text_is_kept(self) -> None:
        assert erased_with("audio", transcribed=True) == ("audio", "text")
        assert erased_with("audio", transcribed=False) == ("audio",)
        assert erased_with("text", transcribed=True) == ("text",)
        assert erased_with("video", transcribed=True) == ("video",)


def read_all_with(path: Path, store: KeyStore, *topics: str) -> list[Any]:
    return list(Session(path, store).messages(*topics))
