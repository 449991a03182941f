"""A listening socket that counts its connections from accept to close, so also those in an unfinished TLS handshake."""

from __future__ import annotations

import socket
from typing import Any

# A server accepts until nothing waits; after so many it is told that nothing does, so that a flood of connections, each
# of which costs a TLS context, does not keep it from its other work.
AT_ONCE = 4


class ListeningSocket(socket.socket):
    """Accepts at most ``most`` connections at once and closes further ones. ``refused`` counts these."""

    def __init__(self, address: Any, family: int, most: int, backlog: int) -> None:
        """Bind and listen. Raises OSError when the address cannot be used."""
        super().__init__(family, socket.SOCK_STREAM)
        self.most, self.refused, self._left = most, 0, AT_ONCE
        self._accepted: set[_Accepted] = set()
        try:
            self.setblocking(False)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.bind(address)
            self.listen(backlog)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """As ``socket.accept``. Raises ConnectionAbortedError, which servers ignore, for one connection too many."""
        if not self._left:
            self._left = AT_ONCE
            raise BlockingIOError
        plain, address = super().accept()
        self._left -= 1
        if len(self._accepted) >= self.most:
            plain.close()
            self.refused += 1
            raise ConnectionAbortedError("too many connections")
        return _Accepted(plain, self._accepted), address


class _Accepted(socket.socket):
    """Leaves the set of its listener when it is closed."""

    def __init__(self, plain: socket.socket, among: set[_Accepted]) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._among = among
        among.add(self)

    def close(self) -> None:
        self._among.discard(self)
        super().close()
