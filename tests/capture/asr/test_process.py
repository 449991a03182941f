"""Real recognisers in the real child process."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_mer.capture.asr import whisper as asr_whisper
from edge_mer.capture.asr import wyoming as asr_wyoming
from edge_mer.capture.asr.child import BEGIN, END, PIECE, Hypothesis, frame, serve
from edge_mer.capture.asr.process import AsrProcess
from edge_mer.capture.asr.recogniser import Choice, choose, load
from edge_mer.config import Config
from edge_mer.contract.clock import SECOND, SystemClock
from edge_mer.contract.errors import ConfigError, DeviceError, MissingExtra, ModelError
from edge_mer.contract.messages import WordTime
from edge_mer.privacy.consent_setup import agree
from tests.switch_bench import TODAY

SPEECH = Path(__file__).parents[4] / "shared" / "data" / "speech_clips"
WAIT_S = 300


def wait_for(child: AsrProcess, done: Callable[[list[Hypothesis]], bool]) -> list[Hypothesis]:
    """Hypotheses until ``done``; fails after WAIT_S, which is far more than any takes."""
    found: list[Hypothesis] = []
    deadline = SystemClock().now_us() + WAIT_S * SECOND
    while not done(found):
        left = (deadline - SystemClock().now_us()) / SECOND
        assert left > 0, f"nothing came but {found}"
        select.select([child.wake], [], [], left)
        found += child.receive()
        if not child.alive:
            found += child.receive()
            assert done(found), f"the child ended after {found}"
    return found


def final(found: list[Hypothesis]) -> bool:
    return any(h.final for h in found)


@pytest.fixture
def start() -> Iterator[Callable[[Choice], AsrProcess]]:
    children: list[AsrProcess] = []

    def begin(choice: Choice) -> AsrProcess:
        children.append(AsrProcess(choice))
        return children[-1]

    yield begin
    for child in children:
        child.kill()


def send_audio(child: AsrProcess, pcm: bytes, segment: int = 1) -> None:
    assert child.send(BEGIN, segment)
    for at in range(0, len(pcm), 1024):
        assert child.send(PIECE, segment, pcm[at : at + 1024])
    assert child.send(END, segment)


PARENT = """
import sys
from edge_mer.capture.asr.process import AsrProcess
from edge_mer.capture.asr.recogniser import Choice
child = AsrProcess(Choice("pocketsphinx"))
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_the_child_ends_with_the_process_that_was_killed_even_while_it_is_stopped() -> None:
    """Its end counts as the purge of both, and a stopped child does not notice that its pipe has closed."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        ended = os.pidfd_open(pid)
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
        assert select.select([ended], [], [], 20)[0], "the child outlived its parent"
        os.close(ended)


class TestPocketSphinx:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("pocketsphinx", reason="extra asr-lite is not installed")

    @pytest.mark.skipif(not SPEECH.is_dir(), reason="../shared/data/speech_clips is not there")
    def test_most_words_of_a_clean_sentence_are_recognised_with_times(self, start):
        with wave.open(str(SPEECH / "sb_spk1_snt5.wav")) as file:
            pcm = file.readframes(file.getnframes())
        child = start(Choice("pocketsphinx"))
        send_audio(child, pcm)
        found = wait_for(child, final)
        assert len(found) > 2, "partial words came before the final ones"
        words = found[-1].words
        spoken = ["sunday", "is", "the", "best", "part", "of", "the", "week"]
        assert len(set(spoken) & {w.text for w in words}) >= 6
        assert all(0 <= w.start_us < w.end_us <= len(pcm) / 32_000 * SECOND for w in words)
        assert [w.start_us for w in words] == sorted(w.start_us for w in words)
        assert not any(w.approx for w in words)
        others = found[-1].alternatives
        assert 0 < len(others) == len(set(others))
        assert " ".join(w.text for w in words) not in others

    def test_silence_has_no_words(self, start):
        child = start(Choice("pocketsphinx"))
        send_audio(child, bytes(32_000))
        assert wait_for(child, final)[-1].words == ()

    def test_a_killed_child_ends_at_once(self, start):
        child = start(Choice("pocketsphinx"))
        send_audio(child, bytes(64_000))
        child.kill()
        assert not child.alive
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)


class TestWhisper:
    def test_missing_extra_names_the_install_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingExtra, match=r"edge-mer\[asr\]"):
            asr_whisper.load("anything")

    def test_a_missing_model_is_named(self, tmp_path):
        pytest.importorskip("transformers", reason="extra asr is not installed")
        with pytest.raises(ModelError, match="nowhere"):
            asr_whisper.load(str(tmp_path / "nowhere"))

    def test_words_of_a_checkpoint_are_spread_over_the_segment(self, tmp_path):
        whisper = asr_whisper.load(tiny_whisper(tmp_path))
        whisper.begin()
        whisper.feed(np.zeros(16_000, np.int16).tobytes())
        assert whisper.partial() is None
        words = whisper.end()
        assert words, "a random model writes random words"
        assert all(w.approx for w in words)
        assert words[0].start_us == 0
        assert words[-1].end_us == SECOND


def tiny_whisper(directory: Path) -> str:
    """A checkpoint of Whisper's shape with random weights and a tokenizer of ten words."""
    torch = pytest.importorskip("torch", reason="extra asr is not installed")
    transformers = pytest.importorskip("transformers", reason="extra asr is not installed")
    torch.manual_seed(0)
    vocabulary = {chr(33 + i): i for i in range(60)} | {"Ġ": 60, "<|endoftext|>": 61}
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.WhisperTokenizer(str(directory / "vocab.json"), str(directory / "merges.txt"))
    config = transformers.WhisperConfig(
        vocab_size=62,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=80,
        decoder_start_token_id=1,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        max_target_positions=256,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config.eos_token_id = None
    model.save_pretrained(directory)
    features = transformers.WhisperFeatureExtractor()
    transformers.WhisperProcessor(features, tokenizer).save_pretrained(directory)
    return str(directory)


class WyomingServer:
    """A server of the protocol on loopback; it keeps the received audio."""

    def __init__(self, answers: bool = True) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.answers = answers
        self.kinds: list[str] = []
        self.audio = b""
        self.received = threading.Event()
        threading.Thread(target=self._serve, name="wyoming-server", daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self.socket.accept()
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                header = json.loads(line)
                self.kinds.append(header["type"])
                self.audio += stream.read(header.get("payload_length", 0))
                if header["type"] != "audio-stop":
                    continue
                self.received.set()
                if self.answers:
                    data = json.dumps({"text": "turn the light on"}).encode()
                    connection.sendall(asr_wyoming.event("info", {"unknown": 1}, b"skip me"))
                    connection.sendall(json.dumps({"type": "transcript", "data_length": len(data)}).encode() + b"\n")
                    connection.sendall(data)


class TestWyoming:
    def test_audio_is_sent_and_the_transcript_received(self, start):
        server = WyomingServer()
        child = start(Choice("wyoming", server.address))
        pcm = np.arange(32_000, dtype=np.int16).tobytes()
        send_audio(child, pcm)
        words = wait_for(child, final)[-1].words
        assert [w.text for w in words] == ["turn", "the", "light", "on"]
        assert words[-1].end_us == 2 * SECOND
        assert all(w.approx for w in words)
        assert server.kinds[:2] == ["transcribe", "audio-start"]
        assert server.kinds[-1] == "audio-stop"
        assert set(server.kinds[2:-1]) == {"audio-chunk"}
        assert server.audio == pcm

    def test_a_child_that_waits_for_a_server_is_killed_at_once(self, start):
        server = WyomingServer(answers=False)
        child = start(Choice("wyoming", server.address))
        send_audio(child, bytes(1024))
        assert server.received.wait(WAIT_S)
        assert child.alive
        child.kill()
        assert not child.alive

    def test_a_child_does_not_outlive_a_parent_that_is_killed(self):
        server = WyomingServer(answers=False)
        program = (
            "import sys, msgspec\n"
            "from edge_mer.capture.asr.process import AsrProcess\n"
            "from edge_mer.capture.asr.child import BEGIN, END\n"
            "from edge_mer.capture.asr.recogniser import Choice\n"
            f"child = AsrProcess(Choice('wyoming', '{server.address}'))\n"
            "child.send(BEGIN, 1); child.send(END, 1)\n"
            "print(child.pid, flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            ended = os.pidfd_open(int(parent.stdout.readline()))
            assert server.received.wait(WAIT_S)
            parent.kill()
            assert select.select([ended], [], [], WAIT_S / 3)[0], "otherwise it waits 30 s for the answer"
            os.close(ended)

    def test_without_a_server_the_segment_ends_with_the_reason(self, start):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        child = start(Choice("wyoming", f"127.0.0.1:{port}"))
        send_audio(child, bytes(1024))
        assert "no Wyoming server answers" in (wait_for(child, final)[-1].error or "")
        assert child.alive, "the next segment may succeed"

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"not json\n",
            b"[]\n",
            b'{"type": 5}\n',
            b'{"type": "x", "data_length": -1}\n',
            b"{" * 100,
            b'{"type": "error", "data": {"text": "no model"}}\n',
        ],
    )
    def test_an_invalid_answer_raises_a_device_error(self, answer):
        near, far = socket.socketpair()
        client = asr_wyoming.Wyoming("there", 1)
        client._socket = near
        far.sendall(answer)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(DeviceError, match="there:1"):
            client.end()
        far.close()

    def test_a_separate_consent_is_required(self, tmp_path):
        privacy = {"state": str(tmp_path / "state")}
        config = Config.model_validate({"text": {"source": "wyoming", "wyoming": "hub:10300"}, "privacy": privacy})
        with pytest.raises(ConfigError, match="--consent wyoming"):
            choose(config)
        agree(privacy["state"], ("audio", "text", "wyoming"), "Anna", TODAY)
        assert choose(config) == Choice("wyoming", "hub:10300")

    @pytest.mark.parametrize("address", [None, "hub", ":1", "hub:many"])
    def test_an_address_without_host_or_port_is_refused(self, address, tmp_path):
        agree(str(tmp_path / "state"), ("text", "wyoming"), "Anna", TODAY)
        privacy = {"state": str(tmp_path / "state")}
        config = Config.model_validate({"text": {"source": "wyoming", "wyoming": address}, "privacy": privacy})
        with pytest.raises(ConfigError, match="host:port"):
            choose(config)


def test_whisper_needs_a_model():
    with pytest.raises(ConfigError, match=r"text\.model"):
        choose(Config.model_validate({"text": {"source": "asr", "engine": "whisper"}}))


def test_a_recogniser_that_cannot_load_reports_the_error_and_ends(start, tmp_path):
    child = start(Choice("whisper", str(tmp_path / "nowhere")))
    found = wait_for(child, lambda found: bool(found))
    assert found[0].error
    assert found[0].segment == -1


def test_recognisers_are_loaded_by_name():
    assert isinstance(load(Choice("wyoming", "hub:1")), asr_wyoming.Wyoming)


class RepeatedWord:
    """Recognises no word, then the same word repeatedly."""

    def __init__(self) -> None:
        self.words: tuple[WordTime, ...] = ()

    def begin(self) -> None:
        self.words = ()

    def feed(self, pcm: bytes) -> None:
        self.words = (WordTime("so", 0, 1),)

    def partial(self) -> tuple[WordTime, ...]:
        return self.words

    def end(self) -> tuple[WordTime, ...]:
        return self.words


def test_partial_words_are_sent_only_when_they_change():
    near, far = os.pipe()
    sent: list[Hypothesis] = []
    with os.fdopen(near, "rb") as orders, os.fdopen(far, "wb") as pen:
        pen.write(frame(BEGIN, 7))
        for _ in range(40):
            pen.write(frame(PIECE, 7, bytes(1024)))
        pen.write(frame(END, 7))
        pen.close()
        serve(RepeatedWord(), orders, sent.append)
    assert [(h.segment, h.final) for h in sent] == [(7, False), (7, True)]
