"""The bus: publishers and readers over ZeroMQ ``ipc://``, with an in-memory implementation for deterministic tests.

Latest topics (PUB/SUB): the reader's high-water mark covers its longest stall, it drains every turn, and
``read_latest(max_age_us)`` raises when stale. Reliable topics (ROUTER/DEALER): acknowledged, resent, gap-checked.
"""

from edge_mer.bus.contract import Bus
from edge_mer.bus.control_channel import Client, Server
from edge_mer.bus.memory import MemoryBroker, MemoryBus
from edge_mer.bus.publisher import Publisher
from edge_mer.bus.reader import Reader
from edge_mer.bus.reliable import ReliablePublisher, ReliableReader
from edge_mer.bus.zeromq import ZmqBus, runtime_directory

__all__ = [
    "Bus",
    "Client",
    "MemoryBroker",
    "MemoryBus",
    "Publisher",
    "Reader",
    "ReliablePublisher",
    "ReliableReader",
    "Server",
    "ZmqBus",
    "runtime_directory",
]
