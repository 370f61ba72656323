"""The one decision: from everything that is known of an Execution to what is done next.

Pure: no I/O, no clock but `now`. The same snapshot gives the same decision, so any step may be repeated after a
crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ossa.api.artifact import find_references
from ossa.api.base import JSONObject
from ossa.api.schema import fill_defaults, violations
from ossa.engine.clock import from_text
from ossa.engine.decision import Announcement, Decision, PodRequest
from ossa.engine.expressions import EvalError
from ossa.engine.names import pod_name
from ossa.engine.outcome import Attempt, Done, Failure, Lost, Waiting, judge
from ossa.engine.revision import CompiledRevision
from ossa.engine.snapshot import Snapshot
from ossa.engine.start import (
    Bindings,
    CannotStart,
    Skip,
    Start,
    build_input,
    forged_references,
    prefixed,
    prepare,
)
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.engine.turn import Turn, initial_tasks
from ossa.engine.values import MAX_DEPTH, is_deep, shorten

__all__ = ["MAX_LOST", "Announcement", "Decision", "PodRequest", "decide", "pod_name"]

# A task whose pods vanish this often fails: something takes them away.
MAX_LOST = 10


def decide(snapshot: Snapshot, now: datetime) -> Decision:
    """What to do about an Execution now."""
    execution = snapshot.execution
    if execution.metadata.deletion_timestamp is not None:
        return Decision(execution.status)  # its pods go with it: they are owned by it
    turn = Turn(snapshot, now)
    match execution.status.phase:
        case "Pending":
            _pending(turn)
        case "Running":
            if snapshot.revision is None:
                _without_revision(turn)
            else:
                _running(turn, snapshot.revision)
        case phase if phase in EXECUTION_TERMINAL:
            return Decision(execution.status, delete=turn.decision().delete)
        case _:
            return Decision(execution.status)  # a phase of a newer operator: hands off
    return turn.decision()


def _pending(turn: Turn) -> None:
    snapshot = turn.snapshot
    name, namespace = snapshot.execution.spec.workflow, snapshot.execution.metadata.namespace
    view, revision = snapshot.workflow, snapshot.revision
    if view is None:
        what = (
            f"Workflow {name!r} was not found in namespace {namespace!r}; apply it and this Execution starts by itself"
        )
    elif not view.current:
        what = f"waiting for the operator to look at Workflow {name!r}"
    elif view.revision is None:
        what = f"Workflow {name!r} is not published: {view.message or view.phase}"
    elif revision is None:
        what = f"waiting for revision {view.revision!r} of Workflow {name!r}"
    else:
        _start(turn, revision, view.revision)
        return
    turn.set(message=shorten(what, 1024))


def _start(turn: Turn, revision: CompiledRevision, revision_name: str) -> None:
    spec = revision.revision.spec
    given = turn.snapshot.execution.spec.inputs
    problem = None
    if is_deep(given):
        problem = f"inputs: they are nested deeper than {MAX_DEPTH} levels"
    else:
        inputs = fill_defaults(spec.inputs, given)
        problem = _inputs_problem(spec.inputs, inputs)
    if problem is not None:
        failure = CannotStart("InvalidInput", f"spec.{problem}; make a new Execution with other inputs")
        turn.finish("Failed", error=turn.error(failure, task=None))
        return
    turn.set(phase="Running", revision=revision_name, inputs=inputs, started_at=turn.now_text, message=None)
    turn.tasks.update(initial_tasks(revision.graph.order))
    turn.announce("Normal", "Started", f"Started with revision {revision_name}")
    _running(turn, revision)


def _inputs_problem(schema: JSONObject | None, inputs: JSONObject) -> str | None:
    if next(find_references(inputs), None) is not None:
        return "inputs: they hold an artifact reference; only tasks of the same Execution may pass artifacts on"
    broken = violations(schema, inputs)
    return "; ".join(prefixed("inputs", text) for text in broken) if broken else None


def _without_revision(turn: Turn) -> None:
    name = turn.get("revision")
    failure = Failure("InvalidRevision", f"revision {name!r} is gone, or does not compile; make a new Execution")
    for task, status in list(turn.tasks.items()):
        if status.phase == "Running":
            turn.fail_task(task, failure)
    if turn.get("error") is None:
        turn.set(error=turn.error(failure, task=None))
    _fail(turn)


def _running(turn: Turn, revision: CompiledRevision) -> None:
    bindings = Bindings(turn.snapshot.execution, revision, turn.get("inputs") or {})
    lost, failing = _record_outcomes(turn, revision)
    _restart(turn, revision, bindings, lost=lost, failing=failing)
    if not failing and not turn.failing:
        _start_tasks(turn, revision, bindings)
    _message(turn)
    if turn.ended():
        _end(turn, revision, bindings)
    elif turn.failing and not any(task.phase == "Running" for task in turn.tasks.values()):
        _fail(turn)


def _record_outcomes(turn: Turn, revision: CompiledRevision) -> tuple[Mapping[str, Lost], bool]:
    """Records what the pods of running tasks gave. Returns the lost ones, and whether one failed."""
    lost: dict[str, Lost] = {}
    failed: dict[str, Failure] = {}
    for name in revision.graph.order:
        if turn.tasks[name].phase != "Running":
            continue
        match _outcome(turn, revision, name):
            case Waiting(message, wake_at):
                turn.set_task(name, message=message)
                turn.wake(wake_at)
            case Done(output):
                turn.complete_task(name, output)
            case Lost() as outcome:
                lost[name] = outcome
            case Failure() as outcome:
                failed[name] = outcome
    _record_failures(turn, failed)
    return lost, bool(failed)


def _outcome(turn: Turn, revision: CompiledRevision, name: str) -> Waiting | Done | Lost | Failure:
    snapshot, status = turn.snapshot, turn.tasks[name]
    pod_named = status.pod or ""
    pod = snapshot.pods.get(pod_named)
    if pod is None:
        if pod_named in snapshot.refused:
            return Failure("PodRefused", f"the API server refused its pod: {snapshot.refused[pod_named]}")
        if pod_named in snapshot.in_flight:
            why = snapshot.held.get(pod_named)
            return Waiting(shorten(f"its pod cannot be created yet: {why}", 1000) if why is not None else None)
        return Lost(f"pod {pod_named} vanished before its result was known")
    # Its time runs from the creation of its pod, which may have been held up.
    started_at = max(from_text(status.started_at), pod.created_at) if status.started_at else pod.created_at
    attempt = Attempt(revision.tasks[name], pod, started_at, snapshot.outages, snapshot.issued)
    return judge(attempt, turn.now)


def _record_failures(turn: Turn, failed: Mapping[str, Failure]) -> None:
    """Records failures, once the log of the first one is there: it is part of the Execution's error."""
    if not failed:
        return
    if turn.get("error") is None:
        first = next((name for name, failure in failed.items() if _is_explained(turn, name, failure)), None)
        if first is None:
            turn.want_log(turn.tasks[next(iter(failed))].pod or "")
            return
        failed = {first: failed[first], **failed}
    for name, failure in failed.items():
        turn.fail_task(name, failure)


def _is_explained(turn: Turn, name: str, failure: Failure) -> bool:
    return not failure.has_log or (turn.tasks[name].pod or "") in turn.snapshot.log_tails


def _restart(
    turn: Turn, revision: CompiledRevision, bindings: Bindings, *, lost: Mapping[str, Lost], failing: bool
) -> None:
    """Gives tasks whose pod was lost another attempt, unless the Execution is failing anyway."""
    for name, outcome in lost.items():
        times = turn.tasks[name].lost + 1
        if turn.failing:
            why = "; it was not started again, because another task failed"
            turn.fail_task(name, Failure("PodLost", outcome.message + why))
        elif failing:
            continue  # decided when the failure is recorded
        elif times >= MAX_LOST:
            why = f", for the {times}th time; look at what deletes pods in this namespace"
            turn.fail_task(name, Failure("PodLost", outcome.message + why))
        else:
            held = build_input(revision.tasks[name], bindings, turn.tasks)
            if isinstance(held, CannotStart):
                turn.fail_task(name, held)
                continue
            turn.start_task(name, held.input, lost=times)
            message = f"Task {name!r} is started again as attempt {turn.tasks[name].attempt}: {outcome.message}"
            turn.announce("Warning", "TaskRestarted", message)


def _start_tasks(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> None:
    """Starts what can start: all of it, or nothing where one of them cannot."""
    ready: list[tuple[str, Start]] = []
    for name in revision.graph.order:
        if turn.tasks[name].phase != "Pending":
            continue
        above = revision.graph.parents[name]
        skipped = sorted(parent for parent in above if turn.tasks[parent].phase == "Skipped")
        if skipped:
            turn.skip_task(name, f"task {skipped[0]!r}, on which it depends, was skipped")
            continue
        if any(turn.tasks[parent].phase != "Completed" for parent in above):
            continue
        match prepare(revision.tasks[name], bindings, turn.tasks):
            case Start() as start:
                ready.append((name, start))
            case Skip(message):
                turn.skip_task(name, message)
            case CannotStart() as failure:
                turn.fail_task(name, failure)
                return
    for name, start in ready:
        turn.start_task(name, start.input)


def _message(turn: Turn) -> None:
    waits = ((name, task.message) for name, task in turn.tasks.items() if task.phase == "Running" and task.message)
    first = next(waits, None)
    turn.set(message=shorten(f"task {first[0]}: {first[1]}", 1024) if first is not None else None)


def _end(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> None:
    if turn.failing:
        _fail(turn)
        return
    template = revision.outputs
    try:
        outputs = template.evaluate(bindings.of(template.tasks, turn.tasks))
    except EvalError as error:
        failure = CannotStart("EvalError", _outputs_hint(str(error), turn, template.tasks))
        turn.finish("Failed", error=turn.error(failure, task=None))
        return
    if forged_references(outputs, template, turn.tasks):
        failure = CannotStart("EvalError", "spec.outputs: they hold an artifact reference that no task gave")
        turn.finish("Failed", error=turn.error(failure, task=None))
        return
    turn.finish("Completed", outputs=outputs)


def _outputs_hint(message: str, turn: Turn, tasks: frozenset[str]) -> str:
    skipped = sorted(name for name in tasks if turn.tasks[name].phase == "Skipped")
    if not skipped:
        return message
    name = skipped[0]
    return f"{message}; task {name!r} was skipped and has no output: ask has(tasks[{name!r}].output.FIELD) first"


def _fail(turn: Turn) -> None:
    """Ends an Execution in which a task failed and nothing runs any more."""
    error = turn.get("error")
    because = f"task {error.task!r} failed" if error is not None and error.task else "the Execution failed"
    for name, task in list(turn.tasks.items()):
        if task.phase == "Pending":
            turn.skip_task(name, f"not started: {because}")
    turn.finish("Failed")
