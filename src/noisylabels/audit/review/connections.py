"""Connections of the review's server: few at a time, and none waits for a request that does not come."""

from __future__ import annotations

import asyncio
from typing import Any

REQUEST_SECONDS = 15.0
"""Seconds in which a request must have arrived completely, after the connection or its first byte."""

MOST_CONNECTIONS = 100
"""Connections at a time; a browser opens six."""


def connection_class(
    seconds: float = REQUEST_SECONDS, most: int = MOST_CONNECTIONS
) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with a deadline for each request, and a limit on the connections.

    Uvicorn waits without end for the rest of a request that has begun, so that a program of another user of
    the machine could hold every connection of the server.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
                return
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Start the deadline while a request is awaited or incomplete; end it when it has arrived."""
            cycle = self.cycle
            if cycle is not None and not cycle.more_body and not cycle.response_complete:
                self._forget()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self._end)

        def _end(self) -> None:
            self._deadline = None
            cycle = self.cycle
            if cycle is None or cycle.more_body or cycle.response_complete:
                self.transport.close()

        def _forget(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Connection
