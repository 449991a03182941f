"""TCP forwarders with delay and loss, for hosts whose kernel has no netem: ``python -m edge_mer.bench.slow_link``.

A lost segment is modelled by what TCP makes of it: it and all that follows in its direction come one retransmission
later (Linux: at least 200 ms, here with one round trip on top).
"""

from __future__ import annotations

import asyncio
import random
import sys

CHUNK = 65536
RETRANSMIT_S = 0.2


class Link:
    """``delay_s`` in each direction; ``loss``: share of chunks that are sent twice."""

    def __init__(self, delay_s: float, loss: float, port: int) -> None:
        self._delay_s, self._loss, self._port = delay_s, loss, port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, due = asyncio.get_running_loop(), 0.0
        try:
            while data := await reader.read(CHUNK):
                late = RETRANSMIT_S + 2 * self._delay_s if random.random() < self._loss else 0.0
                due = max(due, loop.time() + self._delay_s + late)
                loop.call_at(due, _write, writer, data)
        except OSError:
            pass
        finally:
            loop.call_at(max(due, loop.time()), writer.close)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


async def _serve(delay_s: float, loss: float, places: list[str]) -> None:
    servers = []
    for place in places:
        listen, port = map(int, place.split(":"))
        servers.append(await asyncio.start_server(Link(delay_s, loss, port).serve, "127.0.0.1", listen))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """``DELAY_MS LOSS LISTEN:PORT...``"""
    asyncio.run(_serve(float(sys.argv[1]) / 1000, float(sys.argv[2]), sys.argv[3:]))


if __name__ == "__main__":
    main()
