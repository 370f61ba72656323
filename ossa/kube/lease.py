"""Who leads: pure decisions about a Lease, for the thread in ossa/kube/elector.py.

A record of the Lease is compared with the one that was seen before, and timed by the own clock alone: what another
machine wrote as its time of day is never read. `leaseTransitions` is the epoch: every acquisition raises it, so that
an epoch is one life of one process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from ossa.api.base import JSONObject


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. All processes that share a Lease have the same."""

    # Others take the Lease when they have seen no renewal for as long as this.
    lease: float = 10.0
    # The holder gives up so long after it sent the last renewal that went through. What is left until the others take
    # over is for requests that it sent at the last moment.
    hold: float = 8.0
    renew: float = 2.0
    # So often do the others look: what is lost when the Lease is released.
    look: float = 1.0
    # After no answer or a refusal.
    again: float = 0.5


PACE = Pace()
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


class Step(Enum):
    """What to do next with the Lease."""

    WAIT = "wait"
    ACQUIRE = "acquire"
    RENEW = "renew"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says. `renewed` is its holder's time of day: compared, never read."""

    holder: str | None
    epoch: int
    seconds: float
    renewed: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A record, and the own clock's time at which it was first seen as it is. None in place of a record: no Lease."""

    record: Record | None
    since: float


@dataclass(frozen=True, slots=True)
class Held:
    """The Lease is ours, under this epoch, until the own clock's time `until`."""

    epoch: int
    until: float


def record_of(lease: Mapping[str, Any]) -> Record:
    """The fields that count of a Lease as the API server gives it; all of them may be missing."""
    spec = lease.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or None,
        epoch=int(spec.get("leaseTransitions") or 0),
        seconds=float(spec.get("leaseDurationSeconds") or 0),
        renewed=spec.get("renewTime"),
    )


def see(seen: Seen | None, lease: Mapping[str, Any] | None, now: float) -> Seen:
    """What is known after the answer `lease` (None: there is none) has come at `now`."""
    record = record_of(lease) if lease is not None else None
    return seen if seen is not None and seen.record == record else Seen(record, now)


def decide(seen: Seen, held: Held | None, *, identity: str, now: float, pace: Pace = PACE) -> Step:
    """The next step of the process `identity`, which holds `held`, where `seen` is the newest answer.

    One that finds itself as the holder without having been told so (the answer was lost) acquires anew, with an epoch
    that no request of its own has carried yet.
    """
    record = seen.record
    if held is not None:
        return Step.RENEW if is_ours(record, held, identity=identity) and now < held.until else Step.LOST
    if record is None or record.holder is None or record.holder == identity:
        return Step.ACQUIRE
    return Step.ACQUIRE if now - seen.since >= max(record.seconds, pace.lease) else Step.WAIT


def is_ours(record: Record | None, held: Held, *, identity: str) -> bool:
    """Whether a record is of the very acquisition `held`: a Lease that another has taken is not ours to release."""
    return record is not None and (record.holder, record.epoch) == (identity, held.epoch)


def first_epoch(at: datetime) -> int:
    """The epoch of a Lease that is made from nothing: above all that one deleted before it may have had.

    Seconds since `BEGINNING`: nobody acquires more often than that for long, and 31 bits hold it until 2088.
    """
    return int((at - BEGINNING).total_seconds())


# --- the objects ---


def new_lease(namespace: str, name: str) -> JSONObject:
    """A Lease that nobody holds, as it is before its first acquisition."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
    }


def acquired(lease: Mapping[str, Any], identity: str, at: datetime, *, pace: Pace = PACE) -> JSONObject:
    """The Lease as `identity` takes it; `at` is for people who read it."""
    time = _micro_time(at)
    made = "resourceVersion" not in lease["metadata"]
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": math.ceil(pace.lease),
        "acquireTime": time,
        "renewTime": time,
        "leaseTransitions": first_epoch(at) if made else record_of(lease).epoch + 1,
    }
    return _with_spec(lease, spec)


def renewed(lease: Mapping[str, Any], at: datetime) -> JSONObject:
    """The Lease with another time of renewal."""
    return _with_spec(lease, {"renewTime": _micro_time(at)})


def released(lease: Mapping[str, Any], at: datetime) -> JSONObject:
    """The Lease without a holder: the next one need not wait. The epoch stays, for the next one to raise it."""
    return _with_spec(lease, {"holderIdentity": None, "renewTime": _micro_time(at)})


def _with_spec(lease: Mapping[str, Any], changes: JSONObject) -> JSONObject:
    return {**lease, "spec": {**(lease.get("spec") or {}), **changes}}


def _micro_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
