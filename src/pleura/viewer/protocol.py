"""HTTP connections with time limits, so that slow clients do not occupy them."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimeLimitedProtocol(H11Protocol):
    """HTTP protocol of uvicorn that closes connections whose request arrives too slowly.

    It writes no access log, which would contain the token. Both are set on the connection:
    uvicorn's class and its loggers are not changed.
    """

    header_timeout: float = 10.0
    """Seconds from the start of a connection or request to the end of the header."""

    body_timeout: float = 60.0
    """Seconds between two parts of a body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False
        self._timer: asyncio.TimerHandle | None = None
        self._awaited: object = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        state: object = self.conn.their_state
        if state is h11.IDLE and self._awaited is state:
            return  # a part of a header does not extend its time
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._awaited = state
        timeouts: dict[object, float] = {
            h11.IDLE: self.header_timeout,
            h11.SEND_BODY: self.body_timeout,
        }
        timeout = timeouts.get(state)
        if timeout is not None:
            self._timer = self.loop.call_later(timeout, self._close_late_request)

    def _close_late_request(self) -> None:
        if self._awaited is h11.SEND_BODY and self.flow.read_paused:  # the server is slower
            self._timer = self.loop.call_later(self.body_timeout, self._close_late_request)
        elif not self.transport.is_closing():
            self.transport.close()
