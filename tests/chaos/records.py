"""What is noted while it runs. Times are seconds of the monotonic clock of this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSONObject = dict[str, Any]

Outcome = Literal["running", "succeeded", "failed", "killed"]


@dataclass(slots=True)
class Run:
    """One pod as its node ran it: the independent record of what ran, whatever the status says."""

    pod: str
    uid: str
    execution: str
    execution_uid: str
    task: str
    index: int
    round: int
    attempt: int
    lost: int
    epoch: int
    locks: tuple[str, ...]
    node: str
    started: float
    ended: float | None = None
    outcome: Outcome = "running"

    @property
    def counted(self) -> tuple[int, int]:
        """The attempt of the Execution, and of the task without those that were lost."""
        return self.round, self.attempt - self.lost

    def end(self, outcome: Outcome, at: float | None = None) -> None:
        """The first end counts."""
        if self.ended is None:
            self.ended, self.outcome = time.monotonic() if at is None else at, outcome


@dataclass(slots=True)
class PodSeen:
    """A worker pod as a watch told of it. created: its first resourceVersion where its creation was seen itself."""

    name: str
    uid: str
    execution_uid: str
    epoch: int
    created: int | None


@dataclass(slots=True)
class ExecutionSeen:
    """An Execution. versions: phase -> the resourceVersion at which it was seen first."""

    item: JSONObject
    first_seen: float
    created: int | None
    phases: list[tuple[str, float, int]] = field(default_factory=list)
    gone: bool = False

    @property
    def name(self) -> str:
        """metadata.name"""
        return str(self.item["metadata"]["name"])

    @property
    def uid(self) -> str:
        """metadata.uid"""
        return str(self.item["metadata"]["uid"])

    @property
    def status(self) -> JSONObject:
        """As it was seen last."""
        return self.item.get("status") or {}

    @property
    def finished(self) -> bool:
        """Whether it has ended, by its condition."""
        held = self.status.get("conditions") or []
        return any(c["type"] == "Finished" and c["status"] == "True" for c in held)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    rule: str
    where: str
    expected: str
    found: str
    at: float | None = None


@dataclass(slots=True)
class FaultLog:
    """What was done to the cluster, and to whom."""

    began: float = field(default_factory=time.monotonic)
    injected: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)  # kind -> why
    lines: list[str] = field(default_factory=list)
    pods: dict[str, float] = field(default_factory=dict)  # UID -> when it was first taken away or its node lost
    forced: set[str] = field(default_factory=set)  # UIDs of those that are over at that moment
    posts: Counter[str] = field(default_factory=Counter)  # pod name -> creations that were answered wrongly
    leaders: list[float] = field(default_factory=list)  # when a reconciler ended, or was cut off
    renewals: list[float] = field(default_factory=list)  # when a leader wrote the Lease
    leases_lost: int = 0  # reconcilers that ended for it
    cancelled: set[str] = field(default_factory=set)  # names of Executions
    findings: list[Finding] = field(default_factory=list)  # what was found on the way

    def note(self, kind: str, what: str = "") -> None:
        """One fault."""
        self.injected[kind] += 1
        self.lines.append(f"{time.monotonic() - self.began:8.2f} {kind} {what}".rstrip())

    def took(self, uid: str, *, at_once: bool) -> None:
        """A pod was taken away; `at_once`: it counts as over from now on."""
        self.pods.setdefault(uid, time.monotonic())
        if at_once:
            self.forced.add(uid)


@dataclass(slots=True)
class Evidence:
    """All that is known when it is over. launched: name -> (workflow, inputs)."""

    runs: list[Run]
    pods: Mapping[str, PodSeen]
    executions: Mapping[str, ExecutionSeen]  # by UID
    faults: FaultLog
    launched: Mapping[str, JSONObject]
    left: list[JSONObject] = field(default_factory=list)  # worker pods that are there in the end
