"""Connections for events: how they are opened, and why they broke. The one module that needs `websockets`."""

from __future__ import annotations

import math
from typing import Any

from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_sync
from websockets.typing import Subprotocol

from ossa.api.gateway import ProblemDocument
from ossa.api.problem import problem_detail
from ossa.bus.frames import SUBPROTOCOL, Close
from ossa.client.errors import refusal
from ossa.client.following import events_url

# A connection that does not come about, or ends; TimeoutError is one of OSError's.
BREAKS = (OSError, WebSocketException)
_OPEN = 10.0  # seconds for a handshake
_ABNORMAL = 1006
_LATER = frozenset({429, 502, 503, 504})


def options(seconds: float) -> dict[str, Any]:
    """What both kinds of connections are opened with. Compression would cost the gateway memory for each of many."""
    # The gateway sends its own heartbeats, and answers no pings while it is slow.
    return {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "compression": None,
        "open_timeout": min(_OPEN, seconds) if not math.isinf(seconds) else _OPEN,
        "close_timeout": 2.0,
        "max_size": 16 << 20,
    }


def connect(url: str, seconds: float) -> ClientConnection:
    """A synchronous connection to the events of a gateway."""
    connection: ClientConnection = connect_sync(events_url(url), **options(seconds))
    return connection


def opening(url: str, seconds: float) -> connect_async:
    """An asynchronous one."""
    return connect_async(events_url(url), **options(seconds))


def reason_of(error: Exception) -> tuple[int, str]:
    """A close code, and the words. Raises Refused where the handshake was, for good."""
    if isinstance(error, ConnectionClosed):
        return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (_ABNORMAL, str(error))
    if isinstance(error, InvalidStatus):
        answer = error.response
        words = problem_detail(bytes(answer.body or b""))
        if answer.status_code in _LATER:
            return Close.TRY_LATER, words
        raise refusal(answer.status_code, ProblemDocument(status=answer.status_code, detail=words)) from error
    return _ABNORMAL, str(error) or type(error).__name__
