"""Connections that clients cannot hold for nothing.

uvicorn closes a connection that is idle between two answered requests, and no other: a client may take for ever over
its headers (also after a first answer: any byte ends the idle time), send headers of any size, leave an answer unread,
or go on sending a body that was refused. Here each of these has its end. The body itself is bounded by `BodyGuard`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ossa.gateway.metrics import Metrics
from ossa.gateway.problems import MEDIA_TYPE, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of a connection. Bytes, seconds."""

    max_headers: int
    header_timeout: float
    write_timeout: float
    linger: float


class GuardedHttp(HttpToolsProtocol):
    """uvicorn's protocol with deadlines. `guarded` makes the class that uvicorn is given."""

    limits: Limits
    metrics: Metrics

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection has to send headers."""
        super().connection_made(transport)
        self._in_head, self._head = True, 0
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._await("headers", self.limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._cease()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whatever comes between two requests begins the next one, a line feed too."""
        if self._in_head:
            self._head += len(data)
            if self._reading is None and self._is_idle():
                self._await("headers", self.limits.header_timeout)
        super().data_received(data)
        if self._in_head and self._head > self.limits.max_headers and not self.transport.is_closing():
            self.metrics.dropped.labels("size").inc()
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"headers and the first line may have {self.limits.max_headers} bytes together; send fewer cookies",
            )

    def on_headers_complete(self) -> None:
        """The application takes over, and its bound of the body's time."""
        self._in_head = False
        self._cease()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another request."""
        self._in_head, self._head = True, 0
        self._cease()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Answered before the body was all there: the rest is dropped as it comes, for a while."""
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._await("body", self.limits.linger)

    def pause_writing(self) -> None:
        """The client does not read what it asked for."""
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self.limits.write_timeout, self._abort)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await(self, cause: str, seconds: float) -> None:
        self._cease()
        self._reading = self.loop.call_later(seconds, self._give_up, cause)

    def _cease(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _give_up(self, cause: str) -> None:
        self._reading = None
        if self.transport.is_closing():
            return
        self.metrics.dropped.labels(cause).inc()
        if cause == "headers" and self._head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"headers must come within {self.limits.header_timeout:g} s")
        else:
            self.transport.close()

    def _abort(self) -> None:
        # What is written and not read would keep a closing transport open.
        self._writing = None
        self.metrics.dropped.labels("write").inc()
        self.transport.abort()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """An answer that no application gave."""
        body = json.dumps(Problem(status, detail).document()).encode()
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


def guarded(limits: Limits, metrics: Metrics) -> type[asyncio.Protocol]:
    """The class for `uvicorn.Config(http=…)`."""
    return type("Guarded", (GuardedHttp,), {"limits": limits, "metrics": metrics})
