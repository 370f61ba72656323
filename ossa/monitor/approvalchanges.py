"""What has happened between two states of an Approval: pure, and told as that of an Execution is (changes.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ossa.api.base import JSONObject
from ossa.bus.messages import Event
from ossa.monitor.changes import DELETED, identifier, short
from ossa.monitor.steps import moment


def approval_events(before: JSONObject | None, now: JSONObject | None, *, version: int, seen: datetime) -> list[Event]:
    """What became of an Approval: its state, and who decided what. Times and versions as in changes.py."""
    if now is None:
        return _gone(before, version, seen)
    status, uid = now.get("status") or {}, now["metadata"]["uid"]
    state, old = status.get("state", "Pending"), ((before or {}).get("status") or {}).get("state", "Pending")
    common = _asked(now, version)
    events = [
        Event(
            id=identifier(uid, "decision", user),
            type="decision",
            time=seen,
            phase=decision.get("verdict", ""),
            user=user,
            reason=decision.get("reason") or None,
            **common,
        )
        for user, decision in (now.get("decisions") or {}).items()
        if user not in ((before or {}).get("decisions") or {})
    ]
    if before is None or state != old:
        at = moment(status.get("decidedAt") or (now["metadata"]["creationTimestamp"] if state == "Pending" else None))
        message = status.get("message") or now["spec"].get("message")
        events.append(
            Event(
                id=identifier(uid, "approval", state),
                type="approval",
                time=at or seen,
                phase=state,
                previous=old if before is not None else None,
                message=short(message),
                **common,
            )
        )
    return events


def _gone(before: JSONObject | None, version: int, seen: datetime) -> list[Event]:
    """Of an Approval that was deleted undecided, as it is with its Execution."""
    if before is None or ((before.get("status") or {}).get("state") or "Pending") != "Pending":
        return []
    name = identifier(before["metadata"]["uid"], "approval", DELETED)
    return [
        Event(id=name, type="approval", time=seen, phase=DELETED, previous="Pending", **_asked(before, version)),
    ]


def _asked(approval: JSONObject, version: int) -> dict[str, Any]:
    spec = approval["spec"]
    return {
        "source": "resource",
        "namespace": approval["metadata"]["namespace"],
        "execution": spec["execution"]["name"],
        "uid": spec["execution"]["uid"],
        "task": spec["task"],
        "round": spec.get("round", 1),
        "attempt": spec.get("attempt", 1),
        "sequence": version,
    }
