"""Events over a connection that may break: what to ask for, and what a frame means. Neither connects nor waits."""

from __future__ import annotations

import importlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from types import ModuleType
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from ossa.api.gateway import EVENTS
from ossa.bus.frames import (
    RESUMABLE,
    SERVER_FRAMES,
    SERVER_TYPES,
    Close,
    EventFrame,
    Hello,
    Ping,
    Reset,
    Snapshot,
    Standing,
    Start,
    Token,
)
from ossa.bus.messages import Event, EventType
from ossa.client.errors import EventsClosed, GatewayError, UnexpectedAnswer, Unreachable

# What `wait` has to hear of.
EXECUTION_ALONE: tuple[EventType, ...] = ("execution",)
# Ids of events that are remembered, to tell each once.
_REMEMBERED = 4096
# Heartbeats that may be missing.
_MISSING = 2.5


@dataclass(frozen=True, slots=True)
class Occurred:
    """Something happened. `position` is where to resume."""

    position: str
    event: Event


@dataclass(frozen=True, slots=True)
class Anew:
    """Events were missed: what is known is to be thrown away, and this is how things stand instead.

    `complete`: false where there are more Executions than are told of here.
    """

    position: str
    reason: str
    executions: tuple[Standing, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Beat:
    """The connection lives; nothing happened that was asked for."""

    position: str


Change = Occurred | Anew


@dataclass(slots=True)
class Following:
    """Where one follower is; outlives its connections."""

    namespace: str = ""
    execution: str = ""
    types: Collection[EventType] = ()
    after: str | None = None
    give_up: float = 60.0  # seconds in which nothing was heard, after which there is no gateway
    failures: int = 0  # since something was heard
    patience: float = 30.0  # seconds without a frame, after which the connection is dead
    _heard: float = field(default_factory=time.monotonic)
    _token: str = field(default="", repr=False)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False)
    _reset: Reset | None = None
    _standing: list[Standing] = field(default_factory=list, repr=False)

    def start(self, token: str) -> str:
        """The first frame of a connection."""
        self._token, self._reset, self._standing = token, None, []
        start = Start(
            token=token,
            namespace=self.namespace,
            execution=self.execution,
            types=frozenset(self.types),
            after=self.after,
        )
        return start.model_dump_json(exclude_none=True)

    def renewed(self, token: str) -> str | None:
        """A frame that brings a newer token, where there is one."""
        if token == self._token:
            return None
        self._token = token
        return Token(token=token).model_dump_json()

    def take(self, text: str | bytes) -> Change | Beat | None:
        """What a frame tells; None: nothing yet. Raises UnexpectedAnswer."""
        frame = _read(text)
        self.failures, self._heard = 0, time.monotonic()
        match frame:
            case Hello():
                self.patience = frame.heartbeat * _MISSING
                self.after = self.after or frame.id
            case Ping():
                self.after = frame.id
                return Beat(frame.id)
            case EventFrame():
                self.after = frame.id
                return Occurred(frame.id, frame.event) if self._is_new(frame.event.id) else None
            case Reset():
                self._reset, self._standing = frame, []
            case Snapshot() if self._reset is not None:
                self._standing.extend(frame.executions)
                if frame.last:
                    return self._anew(self._reset, complete=frame.complete)
        return None

    def closed(self, code: int, reason: str) -> bool:
        """Whether a new token is needed before connecting again.

        Raises EventsClosed where that makes no sense, Unreachable where nothing was heard for too long.
        """
        self.failures += 1
        if code == Close.UNAUTHENTICATED and self.failures < 2:
            return True
        if code not in RESUMABLE:
            raise EventsClosed(code, reason)
        if time.monotonic() - self._heard > self.give_up:
            raise Unreachable(f"no events within {self.give_up:g} s: {reason or f'closed with code {code}'}")
        return False

    def _anew(self, reset: Reset, *, complete: bool) -> Anew:
        # Only now: a connection that breaks within the snapshots has to be told them again.
        self.after, self._reset = reset.id, None
        standing, self._standing = tuple(self._standing), []
        return Anew(reset.id, reset.reason, standing, complete)

    def _is_new(self, event: str) -> bool:
        if event in self._seen:
            return False
        self._seen[event] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True


def events_url(url: str) -> str:
    """Of a gateway's URL, http(s)://…, the one of its events."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + EVENTS, "", ""))


def has_ended(change: Change, execution: str) -> bool:
    """Whether it tells that an Execution may have ended, so that it makes sense to look."""
    if isinstance(change, Anew):
        return any(one.execution.name == execution and one.execution.finished for one in change.executions)
    event = change.event
    return event.execution == execution and event.type == "execution" and event.phase in ("Completed", "Failed")


def _read(text: str | bytes) -> Hello | Ping | EventFrame | Reset | Snapshot | None:
    try:
        frame = json.loads(text)
        if not isinstance(frame, dict) or frame.get("type") not in SERVER_TYPES:
            return None  # of a newer gateway
        parsed = SERVER_FRAMES.validate_python(frame)
    except (ValueError, ValidationError) as error:
        raise UnexpectedAnswer(f"a frame is not understood: {error}") from error
    return parsed if isinstance(parsed, Hello | Ping | EventFrame | Reset | Snapshot) else None


def remaining(deadline: float | None) -> float:
    """Seconds until then, by the monotonic clock."""
    return math.inf if deadline is None else deadline - time.monotonic()


def load_sockets() -> ModuleType:
    """What needs `websockets`. Raises GatewayError where that is not installed."""
    try:
        return importlib.import_module("ossa.client.sockets")
    except ModuleNotFoundError as error:
        raise GatewayError("events need the package websockets: pip install 'ossa[client]'") from error
