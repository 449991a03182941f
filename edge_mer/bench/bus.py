"""The bus compared with raw pyzmq, in the same run, between two processes over ``ipc://``.

Run as a program, this module is the sender: ``python -m edge_mer.bench.bus DIRECTORY``.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import zmq

from edge_mer.bench.result import Figure, percentile, spread
from edge_mer.bus import Reader, ZmqBus
from edge_mer.client.instance import temporary_place
from edge_mer.contract.clock import SECOND, SystemClock
from edge_mer.contract.errors import Stale
from edge_mer.contract.messages import RawVideo

SIZES = {"1 kB": 1_000, "100 kB": 100_000, "1 MB": 1_000_000}
BLOCKS, BLOCK, WARM_UP = 12, 60, 10
SPACING_S, BYTES_PER_S = 0.003, 1e8
FPS, STALL_S, FRAME_BYTES = 15, 3.0, 30_000
RATIO_TARGET = 1.3
SETTLE_S, DEADLINE_US = 0.5, 10 * SECOND
RAW_HOP, RAW_STALL = "raw_hop", "raw_stall"
TOPIC = "raw/video"


def measure() -> list[Figure]:
    with temporary_place() as place:
        directory = Path(place)
        bus, context = ZmqBus(directory), zmq.Context()
        hop = _subscriber(context, directory, RAW_HOP, 1000)
        stall = _subscriber(context, directory, RAW_STALL, 2)
        ours = bus.reader(TOPIC)
        sender = subprocess.Popen([sys.executable, "-m", "edge_mer.bench.bus", place])
        try:
            figures = _hops(bus, ours, hop)
            figures += _after_stall(ours, stall)
        finally:
            sender.kill()
            sender.wait()
            bus.close()
            context.destroy(linger=0)
    return figures


def _subscriber(context: zmq.Context[zmq.Socket[bytes]], directory: Path, name: str, mark: int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, mark)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(f"ipc://{directory / name}")
    return socket


def _hops(bus: ZmqBus, ours: Reader, raw: zmq.Socket[bytes]) -> list[Figure]:
    """Time from sending to receiving a message, with envelope and checks. Both buses alternate in blocks."""
    figures = []
    for name, size in SIZES.items():
        ours_us, raw_us = list[float](), list[float]()
        for _ in range(BLOCKS):
            ours_us += _our_block(bus, ours, size)[WARM_UP:]
            raw_us += _raw_block(raw)[WARM_UP:]
        figures += spread(f"bus hop {name}", ours_us, "us")
        figures += spread(f"raw pyzmq hop {name}", raw_us, "us")
        ratio = percentile(ours_us, 0.95) / percentile(raw_us, 0.95)
        figures.append(Figure(f"bus hop {name}, p95 against raw pyzmq", round(ratio, 3), "x", RATIO_TARGET))
    return figures


def _our_block(bus: ZmqBus, reader: Reader, size: int) -> list[float]:
    took: list[float] = []
    deadline = bus.clock.now_us() + DEADLINE_US
    while len(took) < BLOCK and bus.clock.now_us() < deadline:
        bus.wait(SECOND)
        for message in reader.drain():
            if message.payload[0].nbytes == size:
                took.append(bus.clock.now_us() - message.envelope.created_us)
    return took


def _raw_block(socket: zmq.Socket[bytes]) -> list[float]:
    took: list[float] = []
    clock = SystemClock()
    while len(took) < BLOCK and socket.poll(DEADLINE_US // 1000):
        _, stamp, _ = socket.recv_multipart()
        took.append(clock.now_us() - struct.unpack("q", stamp)[0])
    return took


def _after_stall(ours: Reader, raw: zmq.Socket[bytes]) -> list[Figure]:
    """Age of the next message after both readers paused for 3 s of frames."""
    clock = SystemClock()
    raw.recv_multipart()  # wait until the stream runs
    ours.drain()
    time.sleep(STALL_S)
    try:
        newest = ours.read_latest(TOPIC, 60 * SECOND)
        age = float(clock.now_us() - newest.envelope.created_us)
    except Stale:
        age = STALL_S * SECOND
    _, stamp, _ = raw.recv_multipart()
    raw_age = clock.now_us() - struct.unpack("q", stamp)[0]
    interval = SECOND / FPS
    return [
        Figure("next read after a 3 s stall, in frame intervals", round(age / interval, 2), "x", 2.0),
        Figure("the same, raw SUB with a high-water mark of 2", round(raw_age / interval, 2), "x"),
    ]


def send(directory: Path) -> None:
    """The sender: hops of every size, alternating both buses, then a steady stream until it is killed."""
    bus, context, clock = ZmqBus(directory), zmq.Context(), SystemClock()
    hop, stall = context.socket(zmq.PUB), context.socket(zmq.PUB)
    stall.setsockopt(zmq.SNDHWM, 2)
    hop.bind(f"ipc://{directory / RAW_HOP}")
    stall.bind(f"ipc://{directory / RAW_STALL}")
    ours = bus.publisher(TOPIC, "bench")
    body = RawVideo(frame=0, width=640, height=480, mask_epoch=1)
    time.sleep(SETTLE_S)
    for size in SIZES.values():
        payload, spacing = np.zeros(size, np.uint8), max(SPACING_S, size / BYTES_PER_S)
        for _ in range(BLOCKS):
            for _ in range(BLOCK):
                time.sleep(spacing)
                ours.send(body, (payload,), origin_us=clock.now_us())
            for _ in range(BLOCK):
                time.sleep(spacing)
                stamp = struct.pack("q", clock.now_us())
                hop.send_multipart([b"raw/video", stamp, payload.tobytes()])
    frame = np.zeros(FRAME_BYTES, np.uint8)
    while True:
        ours.send(body, (frame,), origin_us=clock.now_us())
        stall.send_multipart([b"raw/video", struct.pack("q", clock.now_us()), frame.tobytes()])
        time.sleep(1 / FPS)


if __name__ == "__main__":
    send(Path(sys.argv[1]))
