"""HTTP connections with time limits: a client that sends slowly does not hold one for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""From the first byte of a request, or a connection's start, to the end of its header."""

BODY_SECONDS = 60.0
"""Between two pieces of a body."""


class TimedProtocol(H11Protocol):
    """Closes connections whose request header or body does not arrive in time."""

    _timer: asyncio.TimerHandle | None = None
    _awaited: object = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        state: object = self.conn.their_state
        if state is h11.IDLE and self._awaited is state:
            return  # the header's time runs on
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._awaited = state
        limits: dict[object, float] = {h11.IDLE: HEADER_SECONDS, h11.SEND_BODY: BODY_SECONDS}
        seconds = limits.get(state)
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self._awaited is h11.SEND_BODY and self.flow.read_paused:
            self._timer = self.loop.call_later(BODY_SECONDS, self._late)  # the server is behind
        elif not self.transport.is_closing():
            self.transport.close()
