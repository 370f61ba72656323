"""The working copy of one decision: what has been changed, and what is to be done."""

from __future__ import annotations

from datetime import datetime

from ossa.api.agent import Classification
from ossa.api.contract import TaskIdentity
from ossa.api.execution import MAX_LINEAGE, AttemptStatus, TaskStatus
from ossa.api.task import Task
from ossa.engine.authors import approvers_of
from ossa.engine.classification import highest
from ossa.engine.clock import to_exact_text, to_text
from ossa.engine.decision import (
    ChildChange,
    ChildRequest,
    Decision,
    PodRequest,
    Retry,
)
from ossa.engine.judgedby import with_versions
from ossa.engine.names import approval_name, pod_name
from ossa.engine.outcome import Failure
from ossa.engine.snapshot import ChildView, PodView, Snapshot
from ossa.engine.start import CannotStart, Start, Unread
from ossa.engine.states import TASK_TERMINAL
from ossa.engine.strays import stray_children, stray_pods
from ossa.engine.units import Unit, active_units
from ossa.engine.values import shorten
from ossa.engine.whole import Whole


class Turn(Whole):
    """One pass over one Execution."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        super().__init__(snapshot, now)
        self.slots = snapshot.slots
        self.started: set[str] = set()  # pods and children that this turn asks for: nobody can have seen them yet
        self.adopted = False  # whether an attempt was taken over that was not looked at yet
        self.waits = False  # whether a failure waits to be explained by its log
        self.set(observed_generation=snapshot.execution.metadata.generation)

    # --- its tasks ------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> dict[str, TaskStatus]:
        """The statuses of the tasks as they are by now."""
        return self.ledger.tasks

    def start_unit(self, unit: Unit, start: Start, locks: tuple[str, ...], judged: tuple[str, ...]) -> None:
        """Records the next attempt of a unit, and asks for its pod. judged: versions of policies that let it pass."""
        identity = self._begin(unit, locks, judged)
        request = PodRequest(
            name=pod_name(identity),
            task=unit.task,
            attempt=identity.attempt,
            input=start.input,
            identity=identity,
            large=start.large,
        )
        self._create.append(request)

    def start_child(
        self, unit: Unit, start: Start, locks: tuple[str, ...], judged: tuple[str, ...], task: Task
    ) -> None:
        """Records the next attempt of a unit, and asks for a child Execution."""
        identity = self._begin(unit, locks, judged)
        request = ChildRequest(
            name=pod_name(identity),
            task=unit.task,
            attempt=identity.attempt,
            workflow=task.workflow or "",
            inputs=start.input,
            identity=identity,
            large=start.large,
            priority=self.snapshot.execution.spec.priority,
            pending_timeout=task.pending_timeout,
        )
        self._children.append(request)

    def ask(self, unit: Unit) -> None:
        """Records that people are asked to approve; `observe` then asks for the Approval."""
        identity = self.identity(unit, self.ledger.unit(unit), ())
        self.ledger.set_unit(
            unit,
            phase="Waiting",
            attempt=identity.attempt,
            pod=approval_name(identity),
            started_at=self.now_text,
        )
        self.write_first()  # when it expires is reckoned from its start

    def _begin(self, unit: Unit, locks: tuple[str, ...], judged: tuple[str, ...]) -> TaskIdentity:
        before = self.ledger.unit(unit)
        if unit.index is None and before.phase == "Retrying" and before.retry_at is None:
            text = f"Task {unit.task!r} is started again as attempt {before.attempt + 1}: {before.message}"
            self.announce("Warning", "TaskRestarted", text)
        identity = self.identity(unit, before, locks, judged)
        name = pod_name(identity)
        self.started.add(name)
        self.ledger.run(unit, attempt=identity.attempt, pod=name, started_at=self.now_text, locks=locks)
        self.judged(unit, identity.attempt, judged)
        return identity

    def classify(self, unit: Unit, given: Classification | None) -> None:
        """A child gives data that is so confidential: its task does, and with it this Execution."""
        if given is not None:
            self.ledger.classify(unit.task, given)
            self.set(classification=highest((self.get("classification"), given)))

    def approved(self, unit: Unit, by: tuple[str, ...], *, in_child: bool = False) -> None:
        """People approved, in a task or in the child that did it."""
        if not by:
            return
        if in_child:
            self.ledger.approved(unit.task, by)
        self.set(approved_by=approvers_of(self.get("approved_by") or (), by))

    def judged(self, unit: Unit, attempt: int, versions: tuple[str, ...], *, at_end: bool = False) -> None:
        """Records which versions of policies judged an attempt."""
        if versions:
            self.ledger.judged(unit, self.policies_key(versions), attempt, at_end=at_end)

    def policies_key(self, versions: tuple[str, ...]) -> str:
        """The key of a set of versions, which the status has from then on."""
        policies, key = with_versions(self.get("policies") or {}, versions)
        self.set(policies=policies)
        return key

    def adopt(self, unit: Unit, found: PodView | ChildView) -> None:
        """Takes over an attempt that was started before the status that records it was written."""
        self.adopted = True
        started_at = to_text(found.created_at)
        self.ledger.run(unit, attempt=found.attempt, pod=found.name, started_at=started_at, locks=found.locks)
        self.ledger.set_unit(unit, lost=max(self.ledger.unit(unit).lost, found.lost))
        self.judged(unit, found.attempt, found.judged)

    def retry_unit(self, unit: Unit, failure: Failure, at: datetime) -> None:
        """Records that a failed attempt is followed by another one at a moment."""
        before = self.ledger.unit(unit)
        self.retries.append(Retry("task", failure.reason))
        self.ledger.set_unit(
            unit,
            phase="Retrying",
            reason=failure.reason,
            exit_code=failure.exit_code,
            message=shorten(f"attempt {before.attempt} failed: {failure.message}", 1000),
            retry_at=to_exact_text(at),
            locks=None,
        )
        if unit.index is None:
            text = f"Task {unit.task!r}: attempt {before.attempt} failed ({failure.reason}): {failure.message}"
            self.announce("Warning", "TaskRetrying", f"{text}; it is tried again")

    def lose_unit(self, unit: Unit, message: str) -> None:
        """Records that the pod of a unit was lost; another attempt may start at once."""
        before = self.ledger.unit(unit)
        self.retries.append(Retry("task", "PodLost"))
        self.ledger.set_unit(
            unit, phase="Retrying", lost=before.lost + 1, message=shorten(message, 1000), retry_at=None, locks=None
        )

    def fail_unit(self, unit: Unit, failure: Failure | CannotStart, *, handled: bool) -> None:
        """Records a failure; the first one that nobody handles is the Execution's error."""
        code = failure.exit_code if isinstance(failure, Failure) else None
        error = self.error(failure, unit=unit)
        pod = self.ledger.unit(unit).pod
        self.ledger.fail(unit, failure.reason, failure.message, code, denied_by=failure.denied_by)
        if handled:
            return
        if self.get("error") is None:
            self.set(error=error)
        log = f"; its log: kubectl logs {pod}" if isinstance(failure, Failure) and failure.has_log else ""
        self.announce("Warning", "TaskFailed", f"Task {str(unit)!r} failed ({failure.reason}): {failure.message}{log}")

    def all_ended(self, names: tuple[str, ...]) -> bool:
        """Whether these tasks have ended."""
        return all(self.tasks[name].phase in TASK_TERMINAL for name in names)

    def ended_count(self) -> int:
        """How many tasks and items have ended."""
        tasks = self.tasks.values()
        items = sum(task.items.started - len(task.items.active) for task in tasks if task.items is not None)
        return items + sum(task.phase in TASK_TERMINAL for task in tasks)

    def running(self, names: tuple[str, ...] | None = None) -> int:
        """How many units run, of all tasks or of some."""
        wanted = set(names) if names is not None else None
        return sum(
            status.phase == "Running" and (wanted is None or unit.task in wanted)
            for unit, status in active_units(self.tasks)
        )

    # --- what else comes of it ------------------------------------------------------------------------------

    def want_items(self, name: str, missing: Unread) -> None:
        """Asks for the list that a forEach goes over; where it was asked for already, says what it waits for."""
        if missing.waits is None:
            self._need_values[missing.reference.id] = missing.reference
        else:
            text = f"its items cannot be read yet: {missing.waits}"
            self.ledger.set_unit(Unit(name), message=shorten(text, 1000))

    def take_over(self, uids: tuple[str, ...]) -> bool:
        """The artifacts of other Executions are this one's to read from now on; False where these are too many."""
        known: list[str] = self.get("lineage") or []
        own = self.snapshot.execution.metadata.uid
        more = [uid for uid in dict.fromkeys(uids) if uid and uid != own and uid not in known]
        if len(known) + len(more) > MAX_LINEAGE:
            return False
        if more:
            self.set(lineage=[*known, *more])
        return True

    def decision(self) -> Decision:
        """The decision that the turn has come to."""
        if self.ledger.changed:
            self._changes["tasks"] = self.tasks
            well = sum(task.phase in ("Completed", "Skipped") for task in self.tasks.values())
            self.set(progress=f"{well}/{len(self.tasks)}")
        status = self._before.model_copy(update=self._changes) if self._changes else self._before
        children = self.snapshot.children
        return Decision(
            status=status,
            create=tuple(self._create),
            children=tuple(self._children),
            approvals=tuple(self._approvals),
            delete=stray_pods(self.tasks, self.snapshot.pods, round_=status.attempt),
            # Asked for until it is so.
            change=(*self._change, *(ChildChange(name, cancel=True) for name in stray_children(self.tasks, children))),
            verdicts=tuple(self._verdicts),
            need_logs=tuple(self._need_logs),
            need_values=tuple(self._need_values.values()),
            events=tuple(self._events),
            retries=tuple(self.retries),
            rulings=tuple(self.rulings.values()),
            wake_at=self._wake_at,
            first=self._first,
            starved=self.starved,
            wants=frozenset(self.wants),
        )

    def identity(
        self, unit: Unit, before: AttemptStatus, locks: tuple[str, ...], judged: tuple[str, ...] = ()
    ) -> TaskIdentity:
        """Names the next attempt of a unit."""
        execution = self.snapshot.execution
        return TaskIdentity(
            namespace=execution.metadata.namespace,
            execution=execution.metadata.name,
            uid=execution.metadata.uid,
            workflow=execution.spec.workflow_name,
            task=unit.task,
            index=unit.index or 0,
            round=self.get("attempt"),
            attempt=before.attempt + 1,
            lost=before.lost,
            locks=locks,
            lineage=tuple(self.get("lineage") or ()),
            judged=judged,
            epoch=self.snapshot.epoch,
            traceparent=self.traceparent,
        )
