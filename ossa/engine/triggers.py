"""What the triggers of a workflow ask for now: Executions to make, to cancel and to delete.

A scheduled time is done with once its Execution is there or the status says so. The status is written after the
Execution was made, whose name holds the time: whoever dies in between finds it there, and nothing is made twice. An
Execution is deleted for the sake of the history only after the status has recorded its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ossa.api.base import JSONObject
from ossa.api.trigger import MAX_CATCH_UP, Trigger, TriggerStatus
from ossa.engine.clock import from_text, to_text
from ossa.engine.cron import parse_schedule
from ossa.engine.names import triggered_name

# How far the recorded times may be ahead of the clock before it is worth telling.
_CLOCK_SLACK = timedelta(minutes=1)

Standing = Literal["Published", "Draft", "Withheld"]
_HELD_BACK: Mapping[Standing, str] = {
    "Draft": "nothing is started while the Workflow is a Draft; what is missed is made up for as catchUp says",
    "Withheld": "nothing is started while spec.published is false",
}


@dataclass(frozen=True, slots=True)
class Run:
    """An Execution that a trigger made, as far as triggers care."""

    name: str
    uid: str
    trigger: str
    scheduled_at: datetime
    finished: bool = False
    succeeded: bool = False
    cancelled: bool = False  # spec.cancel is true
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class NewRun:
    """An Execution to make. Of one trigger the earlier comes first, and where it fails the later has to wait."""

    name: str
    trigger: str
    scheduled_at: datetime
    inputs: JSONObject


@dataclass(frozen=True, slots=True)
class TriggerDecision:
    """What to do. `status` is of what is there now: decide again once Executions were made.

    wake_at: when to decide again even if nothing happens.
    """

    status: Mapping[str, TriggerStatus]
    create: tuple[NewRun, ...] = ()
    cancel: tuple[Run, ...] = ()
    delete: tuple[Run, ...] = ()
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where one trigger stands: what is recorded, what is there, and what its schedule says now.

    runs: its Executions, by scheduled time. since: times up to it do not count; None while nothing is started.
    last: the newest time that is done with. pending: times to start now. missed: the newest that came too late.
    """

    trigger: Trigger
    runs: Sequence[Run]
    since: datetime | None = None
    last: datetime | None = None
    pending: Sequence[datetime] = ()
    missed: datetime | None = None
    next: datetime | None = None

    @property
    def active(self) -> list[Run]:
        """Its Executions that have not ended."""
        return [run for run in self.runs if not run.finished]


def due(  # noqa: PLR0913 - a snapshot's parts, each by name
    workflow: str,
    triggers: Sequence[Trigger],
    *,
    status: Mapping[str, TriggerStatus],
    runs: Iterable[Run],
    standing: Standing,
    now: datetime,
) -> TriggerDecision:
    """What the triggers of `workflow` ask for, given the status as it is written and the Executions that are there."""
    ordered = sorted(runs, key=lambda run: run.scheduled_at)
    create: list[NewRun] = []
    cancel: list[Run] = []
    delete: list[Run] = []
    told: dict[str, TriggerStatus] = {}
    wakes: list[datetime] = []
    for trigger in triggers:
        old = status.get(trigger.name, TriggerStatus())
        held = _look(trigger, old, [run for run in ordered if run.trigger == trigger.name], standing, now)
        create += [
            NewRun(triggered_name(workflow, trigger.name, time), trigger.name, time, trigger.inputs)
            for time in _wanted(held)
        ]
        cancel += _replaced(held)
        delete += _beyond_history(held, old)
        told[trigger.name] = _told(held, standing, now)
        wakes += [held.next] if held.next is not None else []
    return TriggerDecision(told, tuple(create), tuple(cancel), tuple(delete), min(wakes, default=None))


def _look(trigger: Trigger, old: TriggerStatus, runs: Sequence[Run], standing: Standing, now: datetime) -> _Standing:
    since = _since(trigger, old, standing, now)
    recorded = [from_text(old.last_schedule_time)] if old.last_schedule_time is not None else []
    last = max([*recorded, *(run.scheduled_at for run in runs)], default=None)
    if since is None or standing != "Published":
        return _Standing(trigger, runs, since, last)
    schedule = parse_schedule(trigger.cron, trigger.time_zone)
    done = max(since, last) if last is not None else since
    deadline = trigger.starting_deadline_seconds
    # A time of exactly the deadline's age may still start.
    too_late = now - timedelta(seconds=deadline, microseconds=1) if deadline is not None else done
    limit = MAX_CATCH_UP if trigger.catch_up == "All" and trigger.concurrency_policy != "Replace" else 1
    pending = schedule.latest(max(done, too_late), now, limit)
    missed = schedule.latest(done, too_late, 1) if too_late > done and not pending else []
    upcoming = schedule.next_after(max(now, done))
    return _Standing(trigger, runs, since, last, pending, missed[0] if missed else None, upcoming)


def _since(trigger: Trigger, old: TriggerStatus, standing: Standing, now: datetime) -> datetime | None:
    """From when on times count: the trigger was seen on a published workflow, with this schedule, not suspended."""
    if trigger.suspend or standing == "Withheld":
        return None
    if old.since is None or old.schedule != _schedule_text(trigger):
        return now if standing == "Published" else None
    # A clock that was ahead when this was recorded must not keep the trigger waiting; what was made is known by `last`.
    return min(from_text(old.since), now)


def _wanted(held: _Standing) -> Sequence[datetime]:
    """The times whose Executions are to be made now, oldest first."""
    if held.trigger.concurrency_policy != "Forbid":
        return held.pending
    return held.pending[:1] if not held.active else ()


def _replaced(held: _Standing) -> list[Run]:
    """What runs beside a newer one that is there: a new one that could not be made replaces nothing."""
    if held.trigger.concurrency_policy != "Replace":
        return []
    newest = held.runs[-1:]
    return [run for run in held.active if run not in newest and not (run.cancelled or run.deleting)]


def _beyond_history(held: _Standing, old: TriggerStatus) -> list[Run]:
    """Executions that ended and are beyond the limits. One whose time is not recorded yet is all that tells of it."""
    recorded = [
        run
        for run in reversed(held.runs)
        if run.finished and old.last_schedule_time is not None and run.scheduled_at <= from_text(old.last_schedule_time)
    ]
    good = [run for run in recorded if run.succeeded][held.trigger.successful_history_limit :]
    bad = [run for run in recorded if not run.succeeded][held.trigger.failed_history_limit :]
    return [run for run in (*good, *bad) if not run.deleting]


def _told(held: _Standing, standing: Standing, now: datetime) -> TriggerStatus:
    return TriggerStatus(
        schedule=_schedule_text(held.trigger),
        since=_text(held.since),
        last_schedule_time=_text(held.last),
        next_schedule_time=_text(held.next),
        active=len(held.active),
        message=_message(held, standing, now),
    )


def _message(held: _Standing, standing: Standing, now: datetime) -> str | None:
    """Why nothing is started, in words; None where all is as the schedule says."""
    if held.trigger.suspend:
        return "nothing is started while suspend is true"
    if standing != "Published":
        return _HELD_BACK[standing]
    if held.last is not None and held.last > now + _CLOCK_SLACK:
        return f"the clock has gone back behind {to_text(held.last)}; what was started until then is not started again"
    if held.pending and held.trigger.concurrency_policy == "Forbid" and held.active:
        names = ", ".join(run.name for run in held.active[:3])
        return f"the run of {to_text(held.pending[0])} waits for the end of {names} (concurrencyPolicy Forbid)"
    if held.missed is not None:
        late = f"could not start within startingDeadlineSeconds ({held.trigger.starting_deadline_seconds})"
        return f"the run of {to_text(held.missed)} was missed: it {late}"
    return None


def _schedule_text(trigger: Trigger) -> str:
    return f"{trigger.cron} {trigger.time_zone}"


def _text(moment: datetime | None) -> str | None:
    return to_text(moment) if moment is not None else None
