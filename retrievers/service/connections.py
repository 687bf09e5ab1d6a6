"""Connections of the service: how many there may be, how long each may take, and how much is read of a request.

All of this holds before a token is checked, so that `/healthz` is answered whatever comes from elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 16 * 2**10
"""Bytes of the path and the headers of a request; more is answered 400."""
SECONDS = {"head": 10.0, "body": 60.0, "answer": 60.0}
"""What a client may take to send the path and headers, to send the body, and to take the answer."""

READING = (h11.IDLE, h11.SEND_BODY)


class Connections:
    """Makes the connections of one service. One more than `most` closes the one that waits longest for its client."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.burst = min(32, max(most // 8, 1))
        """How many may be accepted in one turn of the event loop, before the first is counted."""
        self.waiting: dict[_Connection, None] = {}  # for their clients, the longest first

    def __call__(self, **given: Any) -> asyncio.Protocol:
        """A connection, as uvicorn asks for one."""
        return _Connection(self, **given)


class _Connection(H11Protocol):
    """uvicorn's connection, with bounds. It waits for its client or answers; only while it waits can it be closed."""

    def __init__(self, all_of_them: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._all = all_of_them
        self._awaited: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for("head")
        if len(self.connections) > self._all.most:
            next(iter(self._all.waiting))._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data:
            if self.transport.is_closing():
                return
            if self.conn.their_state not in READING:  # a next request, before the answer to this one
                self.cycle.keep_alive = False
                return
            # h11 measures what it has only while that is not a whole request: it gets one byte more than it may have.
            most = max(HEAD + 1 - len(self.conn.trailing_data[0]), 1)
            super().data_received(data[:most])
            data = data[most:]
        self._follow()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(f"{msg} Its path and headers must be HTTP and at most {HEAD} bytes.")
        else:  # answered already, before its body ended
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._follow()

    def _follow(self) -> None:
        """Waits for what the client has to do now, if anything."""
        if self.flow.write_paused:
            self._wait_for("answer")
        elif self.conn.their_state is h11.SEND_BODY:
            self._wait_for("body")
        elif self.conn.their_state is h11.IDLE:
            begun = self.conn.trailing_data[0] or (self._awaited == "head" and self.cycle is None)
            self._wait_for("head" if begun else "next")
        else:
            self._wait_for(None)

    def _wait_for(self, what: str | None) -> None:
        if what == self._awaited or (what and self.transport.is_closing()):
            return
        self._awaited = what
        self._all.waiting.pop(self, None)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if what:
            self._all.waiting[self] = None
        if what in SECONDS:
            self._timer = self.loop.call_later(SECONDS[what], self._close)

    def _close(self) -> None:
        self._wait_for(None)
        self.transport.abort()
