"""What a turn asks for besides the status that it comes to."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ossa.api.artifact import ArtifactRef
from ossa.engine.decision import (
    Announcement,
    ApprovalRequest,
    ChildChange,
    ChildRequest,
    PodRequest,
    Retry,
    Verdict,
)
from ossa.engine.outcome import earliest
from ossa.engine.rulings import Point, Ruled
from ossa.engine.units import Unit
from ossa.engine.values import shorten

_EVENT_MESSAGE = 1024


class Wishes:
    """Gathered in the course of a turn."""

    def __init__(self) -> None:
        self._create: list[PodRequest] = []
        self._children: list[ChildRequest] = []
        self._approvals: list[ApprovalRequest] = []
        self._change: list[ChildChange] = []
        self._verdicts: list[Verdict] = []
        self._events: dict[Announcement, None] = {}  # in order; the same words are one
        self._need_logs: list[str] = []
        self._need_values: dict[str, ArtifactRef] = {}
        self._wake_at: datetime | None = None
        self._first = False
        self.starved = False
        self.wants: set[str] = set()
        self.retries: list[Retry] = []
        self.rulings: dict[tuple[Point, Unit | None], Ruled] = {}

    def announce(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Adds a Kubernetes Event."""
        self._events[Announcement(kind, reason, shorten(message, _EVENT_MESSAGE))] = None

    def want_approval(self, request: ApprovalRequest) -> None:
        """Asks for an Approval."""
        self._approvals.append(request)

    def want_verdict(self, verdict: Verdict) -> None:
        """Asks that an Approval say what was decided."""
        self._verdicts.append(verdict)

    def want_log(self, pod: str) -> None:
        """Asks for the log of a pod."""
        self._need_logs.append(pod)

    def change_child(self, change: ChildChange) -> None:
        """Asks that a child Execution be told something."""
        self._change.append(change)

    def wake(self, moment: datetime | None) -> None:
        """Asks to be looked at again at a moment, at the latest."""
        self._wake_at = earliest((self._wake_at, moment))

    def write_first(self) -> None:
        """The status must be written before anything is created."""
        self._first = True
