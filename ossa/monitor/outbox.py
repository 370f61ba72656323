"""What is still to be written to one sink: the newest state of each object that has changed.

Each sink has an outbox of its own, so that one that is down holds up no other. An outbox is never larger than the
resources themselves: a newer state takes the place of an older one that was not written yet. What was deleted is kept
besides, with the last that was seen of it; of more than `DELETED` such objects the oldest lose that, and are then only
marked as deleted.

At the start, and whenever the sink has been away, what it has is compared with the resources, by UID and
resourceVersion: a process may have died, and a database may have been restored, at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ossa.api.base import JSONObject
from ossa.backoff import backoff
from ossa.monitor.states import State, about

log = logging.getLogger(__name__)

# Seconds that is waited for more to write together.
LINGER = 0.1
BATCH, BATCH_BYTES = 200, 1 << 20  # objects, and bytes of their compressed JSON
BACKOFF_FIRST, BACKOFF_MOST = 0.2, 5.0
DELETED = 20_000


class SinkUnavailable(Exception):
    """It cannot be written to just now; the same is tried again later. What was written before stays."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one object.

    kind: plural of the resource: agents, workflows, executions, approvals, agentpolicies.
    version: resourceVersion of `now`, or of the deletion.
    before: what this sink wrote last; None where that is not known any more, or nothing was.
    now: None where the object is gone.
    """

    kind: str
    uid: str
    version: int
    before: JSONObject | None
    now: JSONObject | None


class Sink(Protocol):
    """Where changes are written to."""

    async def write(self, changes: Sequence[Change]) -> None:
        """Writes them, in their order; the same may come again, and an older one after a newer one.

        Raises:
            SinkUnavailable: all of them are to come again.
        """

    async def recorded(self) -> Mapping[str, Mapping[str, int]]:
        """By kind, resourceVersion by UID of what it has and does not know to be deleted.

        Raises:
            SinkUnavailable: as above.
        """


class Outbox:
    """Of one sink. `put` takes in, `run` writes."""

    def __init__(self, name: str, sink: Sink, *, linger: float | None = None) -> None:
        """linger: seconds that changes wait for others to be written with them; LINGER where it is None."""
        self.name = name
        self._linger = LINGER if linger is None else linger
        self.failures = 0  # since the last time that it went well
        self._sink = sink
        self._pending: dict[str, State] = {}
        self._since: dict[str, float] = {}  # when the oldest change that was not written came
        self._written: dict[str, State] = {}
        self._deleted: dict[str, None] = {}
        self._more = asyncio.Event()
        self._compare = True

    @property
    def pending(self) -> int:
        """How many objects are to be written."""
        return len(self._pending)

    @property
    def lag(self) -> float:
        """Seconds for which the oldest change has not been written; 0 where all is written."""
        first = next(iter(self._since.values()), None)
        return time.monotonic() - first if first is not None else 0.0

    def put(self, state: State) -> None:
        """An object has changed, or is gone. An older state never replaces a newer one."""
        held = self._pending.get(state.uid)
        if held is not None and (held.deleted or held.version > state.version):
            return
        self._since.setdefault(state.uid, time.monotonic())
        self._pending[state.uid] = state
        if state.deleted and state.data:
            self._deleted[state.uid] = None
            self._bound()
        self._more.set()

    async def run(self, current: Mapping[str, State]) -> None:
        """Writes until cancelled. `current`: the newest state of each object, by UID, all of them listed."""
        while True:
            try:
                if self._compare:
                    self._take_up(await self._sink.recorded(), current)
                    self._compare = False
                await self._more.wait()
                await asyncio.sleep(self._linger if len(self._pending) < BATCH else 0.0)
                await self._write(self._batch())
                self.failures = 0
            except SinkUnavailable as error:
                self.failures, self._compare = self.failures + 1, True
                pause = backoff(self.failures, first=BACKOFF_FIRST, most=BACKOFF_MOST)
                told = {"sink": self.name, "pending": self.pending, "error": str(error), "pause": pause}
                log.warning("a sink is away, what changes is kept for it", extra=told)
                await asyncio.sleep(pause)

    def _take_up(self, recorded: Mapping[str, Mapping[str, int]], current: Mapping[str, State]) -> None:
        """What the sink has not got is to be written."""
        versions = {uid: version for held in recorded.values() for uid, version in held.items()}
        for uid, state in current.items():
            if versions.get(uid) == state.version:
                self._done(state)
            else:
                self._written.pop(uid, None)
                self.put(state)
        for plural, held in recorded.items():
            for uid, version in held.items():
                if uid not in current:
                    self.put(State.gone(plural, uid, version))

    def _batch(self) -> list[State]:
        """The next ones, the oldest first."""
        taken: list[State] = []
        size = 0
        for uid in self._since:
            state = self._pending[uid]
            size += len(state.data)
            if taken and (len(taken) == BATCH or size > BATCH_BYTES):
                break
            taken.append(state)
        return taken

    async def _write(self, batch: Sequence[State]) -> None:
        changes = [change for state in batch for change in self._changes(state)]
        await self._sink.write(changes)
        for state in batch:
            self._done(state)
        if not self._pending:
            self._more.clear()

    def _changes(self, state: State) -> list[Change]:
        held = self._written.get(state.uid)
        before, now = held.read() if held is not None else None, state.read()
        changes = [] if now is None else [Change(state.plural, state.uid, state.version, before, now)]
        if state.deleted:
            changes.append(Change(state.plural, state.uid, state.version, now or before, None))
        return changes

    def _done(self, state: State) -> None:
        if state.deleted:
            self._written.pop(state.uid, None)
        else:
            self._written[state.uid] = state
        pending = self._pending.get(state.uid)
        if pending is state:
            del self._pending[state.uid], self._since[state.uid]
            self._deleted.pop(state.uid, None)
        elif pending is not None:  # it has changed meanwhile, and takes its turn after the others
            del self._since[state.uid]
            self._since[state.uid] = time.monotonic()

    def _bound(self) -> None:
        while len(self._deleted) > DELETED:
            oldest = next(iter(self._deleted))
            del self._deleted[oldest]
            lost = self._pending[oldest]
            self._pending[oldest] = replace(lost, data=b"")
            told = about(lost.plural, oldest, lost.read())
            log.error("too many deleted objects wait to be written: the last state of one is lost", extra=told)
