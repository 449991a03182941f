"""The parent's side of the decoding child: never blocks, and kills it immediately."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress

import msgspec

from edge_mer.capture.asr.child import Hypothesis, frame
from edge_mer.capture.asr.recogniser import Choice
from edge_mer.host.launcher import die_with_parent
from edge_mer.host.readable import readable

# 32 s of audio: more than two segments of 8 s, the most that may wait.
PIPE_BYTES = 1 << 20
KILL_S = 0.05
_DECODER = msgspec.json.Decoder(Hypothesis)


class AsrProcess:
    """One run of the child. After ``kill`` it delivers no more results."""

    def __init__(self, choice: Choice) -> None:
        command = [sys.executable, "-m", "edge_mer.capture.asr.child", msgspec.json.encode(choice).decode()]
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            preexec_fn=die_with_parent(signal.SIGKILL),  # the end of this process is the end of what it decodes
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        with suppress(OSError):
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._partial = b""

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def wake(self) -> int:
        return self._out

    def send(self, order: int, segment: int, pcm: bytes = b"") -> bool:
        """Whether the order was written: not when the child has ended or its pipe is full."""
        try:
            os.write(self._in, frame(order, segment, pcm))
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def receive(self) -> list[Hypothesis]:
        data = self._partial
        with suppress(BlockingIOError):
            while chunk := os.read(self._out, 65_536):
                data += chunk
        *lines, self._partial = data.split(b"\n")
        return [_DECODER.decode(line) for line in lines]

    def kill(self) -> None:
        """SIGKILL; the child has nearly always ended when this returns (see ``alive``)."""
        if self.alive:
            ended = os.pidfd_open(self._popen.pid)  # readable once it has ended
            self._popen.kill()
            readable(ended, KILL_S)
            os.close(ended)
            self._popen.poll()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
