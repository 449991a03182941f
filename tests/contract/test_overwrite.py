"""Content is overwritten where Python allows it: in live buffers, at any depth, and never in what others share."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
from msgspec import Struct
from numpy.typing import NDArray

from edge_mer.contract.overwrite import overwrite

# A device's queue holds a marker of 64 random bytes; the process looks for it in its own memory (/proc/self/mem) while
# it is held, and after the device was aborted or the queue was only dropped.
SCAN = """
import os, sys
from collections import Counter
import numpy as np
from edge_mer.capture.device import Captured
from edge_mer.capture.threaded import DeviceThread
from edge_mer.contract.messages import RawVideo

key = os.urandom(64)
thread = DeviceThread(4, os.eventfd(0), Counter())
payload = np.bitwise_xor(np.frombuffer(key, np.uint8), 0x55)
body = RawVideo(frame=0, width=1, height=1, mask_epoch=0)
for n in range(3):
    thread.put(Captured(0, 0, body, (np.frombuffer(bytearray(payload) + bytearray(60_000), np.uint8),)))
payload.fill(0)

def found():
    wanted, count = bytes(b ^ 0x55 for b in key), 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            low, high = (int(x, 16) for x in span.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                memory.seek(low)
                count += memory.read(high - low).count(wanted)
    return count - 1  # the wanted bytes themselves

held = found()
if sys.argv[1] == "abort":
    thread.abort()
else:
    thread._blocks.clear()
print(held, found())
"""


@dataclass(frozen=True)
class State:
    samples: NDArray[np.float32]
    parts: tuple[object, ...] = ()


class Piece(Struct):
    values: NDArray[np.int16]


def test_every_writable_buffer_is_overwritten_at_any_depth() -> None:
    arrays = [np.ones(3, np.int16) for _ in range(4)]
    raw, viewed = bytearray(b"word"), bytearray(b"view")
    held = State(
        np.ones(5, np.float32),
        (arrays[0], {"a": arrays[1]}, deque([Piece(arrays[2])]), [raw, memoryview(viewed)], State(arrays[3]), "text"),  # type: ignore[arg-type]
    )
    assert overwrite(held) == 5 * 4 + 4 * 6 + 4 + 4
    assert not held.samples.any()
    assert not any(a.any() for a in arrays)
    assert raw == viewed == bytes(4)


def test_a_view_takes_the_whole_array_with_it() -> None:
    whole = np.ones(10, np.float32)
    overwrite(whole[3:5][::-1])
    assert not whole.any()
    block = bytearray(b"\x01" * 8)
    overwrite(np.frombuffer(block, np.int16)[:1])
    assert block == bytes(8)


def test_what_is_read_only_or_kept_stays() -> None:
    constant, silence = np.ones(3), np.ones(3)
    constant.flags.writeable = False
    received = np.frombuffer(b"\x01\x02", np.uint8)
    held = [constant, received, silence[:2], b"bytes", memoryview(b"bytes")]
    assert overwrite(held, keep=State(silence)) == 0  # type: ignore[arg-type]
    assert constant.all()
    assert silence.all()
    assert received.tolist() == [1, 2]


@pytest.mark.parametrize(("end", "left"), [("abort", 0), ("drop", 3)])
def test_an_aborted_device_leaves_no_block_in_the_memory_of_its_process(end: str, left: int) -> None:
    printed = subprocess.run([sys.executable, "-c", SCAN, end], check=True, capture_output=True, text=True).stdout
    before, after = map(int, printed.split())
    assert before == 3
    assert after == left if end == "abort" else after > 0
