"""A request as it came: its id, and where in a trace it stands."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from starlette.types import Scope

from ossa.gateway.tracing import Trace


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came: its id (never the client's choice: audit entries are told apart by it) and its trace."""

    id: str
    trace: Trace


def request_id(now: float | None = None) -> str:
    """A UUID of version 7 (RFC 9562): those of a later millisecond are greater."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def arrival_of(scope: Scope) -> Arrival:
    """What `Frame` knows of a request."""
    arrival = scope["ossa.arrival"]
    if not isinstance(arrival, Arrival):
        raise TypeError("the request did not pass Frame")
    return arrival


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this name (lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)
