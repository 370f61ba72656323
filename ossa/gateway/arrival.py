"""A request as it came: its id, and where in a trace it stands."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass

from starlette.types import Scope

# W3C Trace Context; a version that we do not know is read as 00, ff is none.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in a trace a request stands: 32 and 16 hex digits; `parent` is the caller's span, where there is one."""

    trace_id: str
    span_id: str
    parent: str | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """As the header and the annotation have it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


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


def trace_from(header: bytes | None) -> Trace:
    """The caller's trace, where the header traceparent holds one, else a new one; with a span of our own."""
    span = os.urandom(8).hex()
    found = _TRACEPARENT.fullmatch(header) if header is not None and len(header) <= 512 else None
    if found is None:
        return Trace(os.urandom(16).hex(), span)
    trace_id, parent, flags, _ = found.groups()
    return Trace(trace_id.decode(), span, parent.decode(), bool(int(flags, 16) & 1))


def arrival_of(scope: Scope) -> Arrival:
    """What `Frame` knows of a request."""
    arrival = scope["ossa.arrival"]
    if not isinstance(arrival, Arrival):
        raise TypeError("the request did not pass Frame")
    return arrival


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this name (lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)
