"""What a person should look at: rules as data, and what a batch of events says by them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ossa.bus.messages import Alert, Event

Severity = Literal["info", "warning", "critical"]
# Seconds after which an alert that nothing resolves is taken back: nobody will come for it any more.
FORGOTTEN = 7 * 86400.0
MAX_KEY = 256


@dataclass(frozen=True, slots=True)
class Match:
    """Events of a type in one of some phases. attempts: at least so many of the task. reason: with this one."""

    type: Literal["execution", "task", "approval", "decision"]
    phases: tuple[str, ...]
    final: bool = False
    attempts: int = 0
    reason: str | None = None

    def __call__(self, event: Event) -> bool:
        """Whether an event is one of these."""
        return (
            event.type == self.type
            and event.phase in self.phases
            and (event.final or not self.final)
            and (event.attempt or 0) >= self.attempts
            and (self.reason is None or event.reason == self.reason)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert fires with one event and is resolved with another one of the same scope (fields of the event)."""

    name: str
    severity: Severity
    fires: Match
    resolves: Match
    scope: tuple[str, ...]
    summary: str

    def key(self, event: Event) -> str:
        """Names the trouble: the same for each event of one scope."""
        return "/".join([self.name, *(str(getattr(event, name) or "") for name in self.scope)])


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert that fires or is resolved. Of one key only what has the highest sequence counts; None always does."""

    alert: Alert
    sequence: int | None


_COMPLETED = Match("execution", ("Completed",), final=True)
RULES = (
    Rule(
        "execution-failed", "critical", Match("execution", ("Failed",), final=True), _COMPLETED,
        ("namespace", "workflow"), "Execution {execution} of workflow {workflow} failed: {message}",
    ),
    Rule(
        "retries-exhausted", "warning", Match("task", ("Failed",), attempts=2), Match("task", ("Completed",)),
        ("namespace", "workflow", "task"), "Task {task} of {execution} failed {attempt} times, {reason}: {message}",
    ),
    Rule(
        "policy-denied", "warning", Match("decision", ("Denied",)), _COMPLETED,
        ("namespace", "workflow"), "Policy {policy} denied {execution} {task}: {message}",
    ),
)  # fmt: skip


def transitions(events: Iterable[Event], rules: Sequence[Rule] = RULES) -> list[Transition]:
    """What a batch says: of each key its newest word."""
    newest: dict[str, tuple[int, Transition]] = {}
    for event in events:
        for rule in rules:
            state: Literal["firing", "resolved"] | None = None
            if rule.fires(event):
                state = "firing"
            elif rule.resolves(event):
                state = "resolved"
            if state is None:
                continue
            alert = _alert(rule, event, state)
            held = newest.get(alert.key)
            if held is None or held[0] <= event.sequence:
                newest[alert.key] = event.sequence, Transition(alert, event.sequence)
    return [transition for _, transition in newest.values()]


def bounded(key: str) -> str:
    """A key that is no longer than an Alert's may be, and still its own."""
    if len(key) <= MAX_KEY:
        return key
    return f"{key[: MAX_KEY - 33]}-{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


def _alert(rule: Rule, event: Event, state: Literal["firing", "resolved"]) -> Alert:
    values = {name: value if value is not None else "" for name, value in event.model_dump(mode="json").items()}
    return Alert(
        id=f"{event.id}/{rule.name}/{state}",
        time=event.time,
        source="monitor",
        trace_id=event.trace_id,
        key=bounded(rule.key(event)),
        severity=rule.severity,
        state=state,
        summary=rule.summary.format_map(values)[:1024] if state == "firing" else f"{rule.name}: it went well again",
        namespace=event.namespace,
        execution_uid=event.uid,
    )
