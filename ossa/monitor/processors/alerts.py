"""The alert processor: events, and how the bus itself does, to alerts that fire and are resolved.

Redis holds what fires (hash ossa:alerts:firing, an Alert as JSON by key), and the stream ossa:alerts tells each time
that one begins or ends. Both change in one script, so that any number of monitors may say the same, in any order.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from redis.asyncio import Redis

from ossa.bus.connection import reaching
from ossa.bus.group import Standing
from ossa.bus.messages import ALERTS, Alert, Event, parked_stream
from ossa.bus.publisher import LENGTHS
from ossa.monitor.changes import identifier
from ossa.monitor.rules import FORGOTTEN, Severity, Transition, bounded, transitions

FIRING = "ossa:alerts:firing"
# Sequence of the last word about each key: one that comes late changes nothing.
SEQUENCES = "ossa:alerts:sequences"
# Approvals that nobody has decided about, by the time of their question; and those that are decided, for a day.
WAITING, DECIDED = "ossa:alerts:waiting", "ossa:alerts:decided:"
DECIDED_SECONDS = 86400

_CHANGE = """
if ARGV[2] ~= '' then
  local last = redis.call('HGET', KEYS[2], ARGV[1])
  if last and tonumber(last) > tonumber(ARGV[2]) then return 0 end
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
if ARGV[3] == 'firing' then
  if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[4]) == 0 then return 0 end
else
  if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', 'message', ARGV[4])
return 1
"""
_WAIT = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
return redis.call('ZADD', KEYS[1], 'NX', ARGV[1], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something is an alert."""

    approval_waits: float = 3600.0  # seconds
    lag: int = 50_000  # entries of a stream that a group has not read


class AlertProcessor:
    """Handles events, and is asked to look at the clock and the streams now and then."""

    def __init__(self, client: Redis, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._change: Any = client.register_script(_CHANGE)
        self._wait: Any = client.register_script(_WAIT)

    async def __call__(self, events: Sequence[Event]) -> None:
        """Handles a batch. Raises BusUnavailable."""
        with reaching("alerts cannot be written"):
            for event in events:
                await self._approval(event)
            for transition in transitions(events):
                await self.put(transition)

    async def look(self, standings: Iterable[Standing], parked: Iterable[tuple[str, int]]) -> None:
        """Alerts that come of time passing, and of the streams: parked messages by stream, and groups that lag.

        Raises:
            BusUnavailable
        """
        with reaching("alerts cannot be written"):
            await self._late_approvals()
            for stream, count in parked:
                summary = f"{count} messages of {stream} could not be handled: look at {parked_stream(stream)}"
                await self._say(f"parked/{stream}", count > 0, "critical", summary)
            for one in standings:
                if one.lag is None:
                    continue
                summary = f"group {one.group} of {one.stream} has {one.lag} messages to read"
                await self._say(f"lag/{one.stream}/{one.group}", one.lag > self._limits.lag, "warning", summary)
            await self._forget()

    async def firing(self) -> list[Alert]:
        """What fires now. Raises BusUnavailable."""
        with reaching("alerts cannot be read"):
            found: dict[Any, Any] = await self._client.hgetall(FIRING)
        return [Alert.model_validate_json(text) for text in found.values()]

    async def put(self, transition: Transition) -> None:
        """Says that an alert fires or is resolved, unless a later word about it was said."""
        alert, sequence = transition.alert, transition.sequence
        arguments = [
            alert.key,
            "" if sequence is None else sequence,
            alert.state,
            alert.model_dump_json(),
            LENGTHS[ALERTS],
        ]
        await self._change(keys=[FIRING, SEQUENCES, ALERTS], args=arguments)

    async def _approval(self, event: Event) -> None:
        if event.type == "execution" and event.final:
            asked: list[Any] = await self._client.zrange(WAITING, 0, -1)
            for member in (name.decode() for name in asked):
                if member.split("/")[0] == event.uid:
                    await self._answered(member)
        if event.type != "approval":
            return
        member = "/".join(
            [event.uid, event.task or "", str(event.round), str(event.attempt), event.namespace, event.execution]
        )
        if event.phase == "Pending":
            await self._wait(keys=[WAITING, DECIDED + member], args=[event.time.timestamp(), member])
        else:
            await self._answered(member)

    async def _answered(self, member: str) -> None:
        await self._client.set(DECIDED + member, "1", ex=DECIDED_SECONDS)
        await self._client.zrem(WAITING, member)
        await self._say(f"approval-waits/{member}", False, "warning", "the approval is decided, or asked for no more")

    async def _late_approvals(self) -> None:
        now = time.time()
        await self._client.zremrangebyscore(WAITING, 0, now - FORGOTTEN)
        late: list[Any] = await self._client.zrangebyscore(WAITING, 0, now - self._limits.approval_waits)
        for member in late:
            name = member.decode()
            _, task, _, _, namespace, execution = name.split("/")
            summary = f"Task {task} of execution {namespace}/{execution} waits for an approval"
            await self._say(f"approval-waits/{name}", True, "warning", summary)

    async def _say(self, key: str, fires: bool, severity: Severity, summary: str) -> None:
        """What is looked at anew each time has no sequence: it is so now."""
        now = datetime.now(UTC)
        state: Literal["firing", "resolved"] = "firing" if fires else "resolved"
        alert = Alert(
            id=identifier(key, state, now.timestamp()),
            time=now,
            source="monitor",
            key=bounded(key),
            severity=severity,
            state=state,
            summary=summary[:1024],
        )
        await self.put(Transition(alert, None))

    async def _forget(self) -> None:
        oldest = datetime.now(UTC).timestamp() - FORGOTTEN
        for alert in await self.firing():
            if alert.time.timestamp() < oldest:
                await self._client.hdel(FIRING, alert.key)
