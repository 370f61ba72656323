"""The one decision: from everything that is known of an Execution to what is done next.

Pure: no I/O, no clock but `now`. The same snapshot gives the same decision, so any step may be repeated after a
crash. The status of the snapshot may be older than its pods: what was started and is not in the status is taken over.
"""

from __future__ import annotations

from datetime import datetime

from ossa.api.artifact import find_references
from ossa.api.base import JSONObject
from ossa.api.execution import MAX_LINEAGE
from ossa.api.schema import fill_defaults, violations
from ossa.engine.advance import advance
from ossa.engine.asking import judge_approvals
from ossa.engine.classification import classification_of
from ossa.engine.clock import duration_text, from_text, parse_duration
from ossa.engine.decision import Announcement, ChildChange, ChildRequest, Decision, PodRequest
from ossa.engine.finish import is_held, pause_of, reset_for_retry, settle, stop, stop_if_asked
from ossa.engine.judging import judge_execution
from ossa.engine.names import pod_name
from ossa.engine.observe import MAX_LOST, adopt, observe
from ossa.engine.retrying import is_over
from ossa.engine.revision import CompiledRevision
from ossa.engine.snapshot import Snapshot
from ossa.engine.start import Bindings, CannotStart, prefixed
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.engine.takingover import take_over_authors, taken_over
from ossa.engine.turn import Turn
from ossa.engine.values import MAX_DEPTH, is_deep, shorten

__all__ = ["MAX_LOST", "Announcement", "ChildChange", "ChildRequest", "Decision", "PodRequest", "decide", "pod_name"]


def decide(snapshot: Snapshot, now: datetime) -> Decision:
    """What to do about an Execution now."""
    execution = snapshot.execution
    if execution.metadata.deletion_timestamp is not None:
        return Decision(execution.status)  # its pods go with it: they are owned by it
    turn = Turn(snapshot, now)
    match execution.status.phase:
        case "Pending":
            _pending(turn)
        case phase if phase in EXECUTION_TERMINAL:
            left = turn.decision()
            return Decision(execution.status, delete=left.delete, change=left.change)
        case "Running" | "Paused" | "Retrying" if snapshot.unreadable is not None:
            _cannot_go_on(turn, CannotStart("ArchiveLost", snapshot.unreadable))
        case "Running" | "Paused" | "Retrying" if snapshot.revision is None:
            text = f"revision {turn.get('revision')!r} is gone, or does not compile; make a new Execution"
            _cannot_go_on(turn, CannotStart("InvalidRevision", text))
        case "Running" | "Paused" if snapshot.revision is not None:
            _running(turn, snapshot.revision)
        case "Retrying" if snapshot.revision is not None:
            _retrying(turn, snapshot.revision)
        case _:
            return Decision(execution.status)  # a phase of a newer operator: hands off
    return turn.decision()


def _pending(turn: Turn) -> None:
    snapshot = turn.snapshot
    turn.set(trace_id=turn.trace.trace_id)  # something is always said in the first turn, and this goes with it
    if snapshot.execution.spec.cancel:
        _never_starts(turn, CannotStart("Cancelled", "cancelled before it started: spec.cancel is true"))
        return
    why = _waits(turn)
    if isinstance(why, CannotStart):
        _never_starts(turn, why)
    elif why is None and snapshot.revision is not None:
        _start(turn, snapshot.revision)
    else:
        turn.set(message=shorten(why or "waiting for its revision", 1024))
        _fail_when_late(turn)


def _waits(turn: Turn) -> str | CannotStart | None:
    spec = turn.snapshot.execution.spec
    if spec.retry_of is not None:
        return _waits_for_source(turn)
    return _waits_for_workflow(turn) if spec.workflow_spec is None else _waits_for_agents(turn)


def _waits_for_agents(turn: Turn) -> str | CannotStart | None:
    """Of an Execution that holds its workflow itself."""
    view = turn.snapshot.workflow
    if view is None:
        return "waiting for the operator to look at spec.workflowSpec"
    if view.invalid:
        return CannotStart("InvalidInput", f"{view.message}; make a new Execution with another workflow")
    return view.message if turn.snapshot.revision is None else None


def _waits_for_workflow(turn: Turn) -> str | None:
    snapshot = turn.snapshot
    name, namespace = snapshot.execution.spec.workflow_name, snapshot.execution.metadata.namespace
    view = snapshot.workflow
    if view is None:
        return (
            f"Workflow {name!r} was not found in namespace {namespace!r}; apply it and this Execution starts by itself"
        )
    if not view.current:
        return f"waiting for the operator to look at Workflow {name!r}"
    if view.revision is None:
        return f"Workflow {name!r} is not published: {view.message or view.phase}"
    return f"waiting for revision {view.revision!r} of Workflow {name!r}" if snapshot.revision is None else None


def _waits_for_source(turn: Turn) -> str | CannotStart | None:
    source, spec = turn.snapshot.source, turn.snapshot.execution.spec
    if source is None or source.problem is not None:
        return f"spec.retryOf: {source.problem if source is not None else 'it was not looked at yet'}"
    if source.inline != spec.workflow_spec:
        held = "holds another workflow" if source.inline is not None else f"ran Workflow {source.workflow!r}"
        text = f"spec.retryOf: Execution {spec.retry_of!r} {held}, and spec.workflowSpec must be the same"
        return CannotStart("InvalidInput", f"{text}; `ossa retry` makes such an Execution")
    if source.workflow != spec.workflow_name:
        text = f"spec.retryOf: Execution {spec.retry_of!r} ran Workflow {source.workflow!r}, not {spec.workflow!r}"
        return CannotStart("InvalidInput", f"{text}; make a new Execution that names the same")
    if turn.snapshot.revision is None:
        text = f"spec.retryOf: revision {source.revision!r} of Execution {spec.retry_of!r} is gone"
        return CannotStart("InvalidRevision", f"{text}; make a new Execution of the workflow instead")
    return None


def _fail_when_late(turn: Turn) -> None:
    execution = turn.snapshot.execution
    limit, created = execution.spec.pending_timeout, execution.metadata.creation_timestamp
    if limit is None or not created:
        return
    deadline = from_text(created) + parse_duration(limit)
    if turn.now < deadline:
        turn.wake(deadline)
        return
    what = f"it could not start within spec.pendingTimeout, {duration_text(parse_duration(limit))}"
    _never_starts(turn, CannotStart("Timeout", f"{what}: {turn.get('message')}"))


def _never_starts(turn: Turn, failure: CannotStart) -> None:
    turn.finish("Failed", error=turn.error(failure, unit=None))


def _start(turn: Turn, revision: CompiledRevision) -> None:
    spec, source = revision.revision.spec, turn.snapshot.source
    given = turn.snapshot.execution.spec.inputs if source is None else source.inputs
    problem = None
    if is_deep(given):
        problem = f"inputs: they are nested deeper than {MAX_DEPTH} levels"
    else:
        inputs = fill_defaults(spec.inputs, given)
        problem = _inputs_problem(spec.inputs, inputs, references=bool(source or turn.snapshot.given_by))
    if problem is not None:
        _never_starts(turn, CannotStart("InvalidInput", f"spec.{problem}; make a new Execution with other inputs"))
        return
    denied = judge_execution(turn, revision, inputs)
    if denied is not None:
        _never_starts(turn, denied)
        return
    too_many = take_over_authors(turn)
    if too_many is not None:
        _never_starts(turn, too_many)
        return
    others = (source.uid, *source.lineage) if source is not None else ()
    if next(find_references(inputs), None) is not None:
        others = (*others, *turn.snapshot.given_by)
    if not turn.take_over(others):
        text = f"it would take over artifacts of more than {MAX_LINEAGE} Executions"
        _never_starts(turn, CannotStart("InvalidInput", f"{text}; make a new Execution of the workflow instead"))
        return
    suspended = turn.snapshot.execution.spec.suspend
    turn.set(
        phase="Paused" if suspended else "Running",
        revision=revision.name,
        classification=classification_of(revision),
        inputs=inputs,
        started_at=turn.now_text,
        message="suspended: set spec.suspend to false to go on" if suspended else None,
    )
    for name in revision.order:
        turn.ledger.put(name, taken_over(turn, revision, name))
    turn.announce("Normal", "Started", f"Started with revision {revision.name}")
    turn.write_first()
    _running(turn, revision)


def _inputs_problem(schema: JSONObject | None, inputs: JSONObject, *, references: bool) -> str | None:
    if not references and next(find_references(inputs), None) is not None:
        return "inputs: they hold an artifact reference; only tasks of the same Execution may pass artifacts on"
    broken = violations(schema, inputs)
    return "; ".join(prefixed("inputs", text) for text in broken) if broken else None


def _cannot_go_on(turn: Turn, failure: CannotStart) -> None:
    error = turn.get("error")
    stop(turn, tuple(turn.tasks), failure)
    if error is not None:
        turn.set(error=error)  # what went wrong first
    turn.finish("Failed")


def _running(turn: Turn, revision: CompiledRevision) -> None:
    execution = turn.snapshot.execution
    bindings = Bindings(
        execution,
        revision,
        inputs=turn.get("inputs") or {},
        attempt=turn.get("attempt"),
        values=turn.snapshot.values,
    )
    adopt(turn, revision)
    observe(turn, revision, bindings)
    judge_approvals(turn, revision, bindings)
    stop_if_asked(turn, revision)
    _await_no_log(turn, revision, bindings)
    suspended = is_held(turn, revision)
    if turn.get("phase") == "Paused" and not suspended and not turn.stopped:
        _judge_again(turn, revision)
        _await_no_log(turn, revision, bindings)
    _pause_or_resume(turn, suspended=suspended)
    if not suspended and not turn.waits and not turn.stopped:
        advance(turn, revision, revision.graph, bindings)
        judge_approvals(turn, revision, bindings)
    if not suspended and not turn.waits:
        settle(turn, revision, bindings)
    if turn.get("phase") in ("Running", "Paused"):
        _message(turn, suspended=suspended)


def _await_no_log(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> None:
    """Where all is stopped, what went wrong first is known: no failure waits for its log."""
    if turn.waits and turn.stopped:
        turn.waits = False
        observe(turn, revision, bindings)


def _judge_again(turn: Turn, revision: CompiledRevision) -> None:
    """Policies may have changed while it waited: where they deny it now, nothing but `finally` runs."""
    if turn.snapshot.execution.spec.cancel or turn.all_ended(revision.graph.order):
        return
    denied = judge_execution(turn, revision, turn.get("inputs") or {})
    if denied is not None:
        stop(turn, revision.graph.order, denied)


def _pause_or_resume(turn: Turn, *, suspended: bool) -> None:
    if suspended and turn.get("phase") == "Running":
        turn.set(phase="Paused")
        turn.announce("Normal", "Paused", "Paused: spec.suspend is true; what runs may end")
    elif not suspended and turn.get("phase") == "Paused":
        turn.set(phase="Running")
        if not turn.snapshot.execution.spec.suspend:
            turn.announce("Normal", "Resumed", "Resumed: spec.suspend is false")


def _retrying(turn: Turn, revision: CompiledRevision) -> None:
    spec = turn.snapshot.execution.spec
    at, length = turn.get("retry_at"), pause_of(turn, revision)
    if not spec.cancel and at is not None and not is_over(from_text(at), length, turn.now):
        turn.wake(from_text(at))
        return
    why = CannotStart("Cancelled", "cancelled between two attempts: spec.cancel is true") if spec.cancel else None
    why = why or judge_execution(turn, revision, turn.get("inputs") or {})
    if why is None:
        reset_for_retry(turn, revision)
        turn.set(phase="Paused" if spec.suspend else "Running")
        turn.write_first()
        _running(turn, revision)
        return
    stop(turn, revision.graph.order, why)
    if revision.final.order:
        turn.set(phase="Running", retry_at=None)
        _running(turn, revision)
    else:
        turn.finish("Failed")


def _message(turn: Turn, *, suspended: bool) -> None:
    if suspended:
        left = turn.running()
        still = f"; {left} still running" if left else ""
        turn.set(message=f"suspended: set spec.suspend to false to go on{still}")
        return
    waits = (
        (name, task.message)
        for name, task in turn.tasks.items()
        if task.phase in ("Running", "Retrying", "Pending", "Waiting") and task.message
    )
    first = next(waits, None)
    turn.set(message=shorten(f"task {first[0]}: {first[1]}", 1024) if first is not None else None)
