"""What the pods and children of running units have come to, and what follows from it for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ossa.api.artifact import find_references
from ossa.api.base import JSONObject
from ossa.api.execution import MAX_LINEAGE
from ossa.engine.attempt import Attempt
from ossa.engine.clock import from_text
from ossa.engine.decision import ChildChange
from ossa.engine.expressions import EvalError
from ossa.engine.judging import given_input, judge_output
from ossa.engine.outcome import ROUNDING, Done, Failure, Lost, Outcome, Waiting, judge
from ossa.engine.retrying import pause
from ossa.engine.revision import CompiledRevision, CompiledTask
from ossa.engine.snapshot import ChildView, PodView
from ossa.engine.start import Bindings, CannotStart, Unread, evaluated_input, items_of
from ossa.engine.states import TASK_TERMINAL
from ossa.engine.turn import Turn
from ossa.engine.units import Unit, active_units, has_ended, made_attempts
from ossa.engine.values import shorten

# A unit whose pods vanish this often fails: something takes them away.
MAX_LOST = 10


def adopt(turn: Turn, revision: CompiledRevision) -> None:
    """Takes over attempts that were started, but whose status was not written before the reconciler died."""
    newest: dict[Unit, PodView | ChildView] = {}
    known = {status.pod for _, status in active_units(turn.tasks)}
    started: list[PodView | ChildView] = [*turn.snapshot.pods.values(), *turn.snapshot.children.values()]
    for found in started:
        if found.name in known:
            continue
        task = turn.tasks.get(found.task)
        if task is None or task.phase in TASK_TERMINAL or found.task not in revision.tasks:
            continue
        grouped = revision.tasks[found.task].spec.for_each is not None
        if grouped and (task.items is None or has_ended(task.items, found.index)):
            continue  # taken over when the items are known
        unit = Unit(found.task, found.index if grouped else None)
        best = newest.get(unit)
        if best is None or (found.attempt, best.created_at) > (best.attempt, found.created_at):
            newest[unit] = found
    # In the order of the items: those before one are given up where their pods are not there.
    for unit, found in sorted(newest.items(), key=lambda pair: (pair[0].task, pair[0].index or 0)):
        adopt_unit(turn, unit, found)


def adopt_unit(turn: Turn, unit: Unit, found: PodView | ChildView) -> None:
    """Takes over one attempt, where it is newer than what is known."""
    items = turn.tasks[unit.task].items
    if items is not None and unit.index is not None:
        if has_ended(items, unit.index) or unit.index >= items.total:
            return
        for index in range(items.started, unit.index):
            # Items start in order: whoever started this one had asked for those before it, whose pods are not there.
            turn.ledger.set_unit(Unit(unit.task, index), phase="Running", attempt=1)
            turn.lose_unit(Unit(unit.task, index), "its pod vanished while no reconciler ran")
    known = turn.ledger.unit(unit)
    # Of one that runs in a crowd the status has kept no more than that it does.
    unnamed = known.phase == "Running" and known.pod is None and found.attempt == known.attempt
    if found.attempt > known.attempt or unnamed:
        turn.adopt(unit, found)


def observe(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> None:
    """Records what running units gave; `turn.waits` where a failure waits to be explained by its log."""
    turn.adopted = False
    failed: dict[Unit, Failure] = {}
    for unit, status in list(active_units(turn.tasks)):
        if status.phase != "Running":
            continue
        try:
            found = _outcome(turn, revision, bindings, unit)
        except Unread as missing:
            turn.want_items(unit.task, missing)
            continue
        match found:
            case Waiting(message, wake_at):
                turn.ledger.set_unit(unit, message=message)
                turn.wake(wake_at)
            case Done(output):
                turn.ledger.complete(unit, output)
            case Lost(message):
                _lose(turn, unit, message, failed)
            case Failure() as failure:
                failed[unit] = failure
    turn.waits |= _record_failures(turn, revision, bindings, failed)
    end_groups(turn, revision)


def is_handled(revision: CompiledRevision, name: str) -> bool:
    """Whether the failure of a task is not the Execution's: it goes on, or another task asks about it."""
    return (
        revision.tasks[name].spec.continue_on_error or name in revision.graph.handled or name in revision.final.handled
    )


def is_failing(turn: Turn, revision: CompiledRevision) -> bool:
    """Whether a task has failed whose failure nobody handles, or an item of one that is still running."""
    return any(
        not is_handled(revision, name)
        for name, task in turn.tasks.items()
        if task.phase == "Failed" or (task.items is not None and task.items.failed)
    )


def _lose(turn: Turn, unit: Unit, message: str, failed: dict[Unit, Failure]) -> None:
    times = turn.ledger.unit(unit).lost + 1
    if times < MAX_LOST:
        turn.lose_unit(unit, message)
        return
    why = f", for the {times}th time; look at what deletes pods in this namespace"
    failed[unit] = Failure("PodLost", message + why)


def _outcome(turn: Turn, revision: CompiledRevision, bindings: Bindings, unit: Unit) -> Outcome:
    compiled = revision.tasks[unit.task]
    if compiled.agent is None:
        found = _child_outcome(turn, compiled, unit)
    else:
        found = _pod_outcome(turn, compiled, bindings, unit)
    if not isinstance(found, Done):
        return found

    def given() -> JSONObject:
        scope = final_scope(turn, bindings) if unit.task in revision.final.order else bindings
        value = evaluated_input(compiled, scope, turn.tasks, **_item_values(turn, compiled, bindings, unit))
        return given_input(turn, unit, {} if isinstance(value, CannotStart) else value)

    return judge_output(turn, revision, unit, found.output, given) or found


def final_scope(turn: Turn, bindings: Bindings) -> Bindings:
    """What the tasks of `finally` have in scope."""
    error = turn.get("error")
    return bindings.with_roots(
        status="Completed" if error is None else "Failed",
        error=None if error is None else {key: value for key, value in error.to_json().items() if key != "logTail"},
    )


def _pod_outcome(turn: Turn, compiled: CompiledTask, bindings: Bindings, unit: Unit) -> Outcome:
    snapshot, status = turn.snapshot, turn.ledger.unit(unit)
    named = status.pod or ""
    pod = snapshot.pods.get(named)
    if pod is None:
        return _unseen(turn, "pod", named, f"pod {named} vanished before its result was known")
    # Its time runs from the creation of its pod, which may have been held up.
    started_at = max(from_text(status.started_at), pod.created_at) if status.started_at else pod.created_at

    def whole_input() -> object:
        return evaluated_input(compiled, bindings, turn.tasks, **_item_values(turn, compiled, bindings, unit))

    attempt = Attempt(compiled, pod, started_at, snapshot.outages, snapshot.issued, whole_input)
    return judge(attempt, turn.now)


def _unseen(turn: Turn, what: str, named: str, vanished: str) -> Outcome:
    snapshot = turn.snapshot
    if named in snapshot.refused:
        return Failure("PodRefused", f"the API server refused its {what}: {snapshot.refused[named]}")
    if named in snapshot.in_flight or named in turn.started:
        why = snapshot.held.get(named)
        return Waiting(shorten(f"its {what} cannot be created yet: {why}", 1000) if why is not None else None)
    return Lost(vanished)


def _child_outcome(turn: Turn, compiled: CompiledTask, unit: Unit) -> Outcome:
    status = turn.ledger.unit(unit)
    named = status.pod or ""
    child = turn.snapshot.children.get(named)
    if child is None:
        return _unseen(turn, "Execution", named, f"the child Execution {named} vanished before its result was known")
    if child.finished and child.succeeded:
        turn.classify(unit, child.classification)
        turn.approved(unit, child.approved_by, in_child=True)
        others = (child.uid, *child.lineage) if next(find_references(child.outputs), None) is not None else ()
        if not turn.take_over(others):
            text = f"its Execution {named} gives artifacts, and those of at most {MAX_LINEAGE} Executions are kept"
            return Failure("InvalidOutput", f"{text}: let a task of the workflow do what now each Execution does")
        return Done(child.outputs)
    if child.finished:
        return Failure("ChildFailed", f"its Execution {named} failed: {child.message or 'no reason was recorded'}")
    if child.deleting:
        return Lost(f"the child Execution {named} was deleted before it ended")
    deadline = child.created_at + compiled.timeout + ROUNDING if compiled.timeout is not None else None
    if deadline is not None and turn.now >= deadline:
        text = f"its Execution {named} ran longer than its timeout of {compiled.spec.timeout}, and was cancelled"
        return Failure("Timeout", text)
    suspend = turn.snapshot.execution.spec.suspend
    if child.suspend != suspend:
        turn.change_child(ChildChange(named, suspend=suspend))
    return Waiting(shorten(child.message, 1000) if child.message else None, deadline)


def _record_failures(
    turn: Turn, revision: CompiledRevision, bindings: Bindings, failed: Mapping[Unit, Failure]
) -> bool:
    """Records failures, once the log of the first one is there that is the Execution's error."""
    final: dict[Unit, Failure] = {}
    for unit, failure in failed.items():
        try:
            at = _retried_at(turn, revision, bindings, unit, failure)
        except Unread as missing:
            turn.want_items(unit.task, missing)
            continue  # it has failed, and is judged when its item is known
        if at is None:
            final[unit] = failure
        else:
            turn.retry_unit(unit, failure, at)
    blamed = {unit: failure for unit, failure in final.items() if not is_handled(revision, unit.task)}
    if blamed and turn.get("error") is None:
        first = next((unit for unit, failure in blamed.items() if _is_explained(turn, unit, failure)), None)
        if first is None:
            turn.want_log(turn.ledger.unit(next(iter(blamed))).pod or "")
            return True
        final = {first: final[first], **final}
    for unit, failure in final.items():
        turn.fail_unit(unit, failure, handled=is_handled(revision, unit.task))
    return False


def _is_explained(turn: Turn, unit: Unit, failure: Failure) -> bool:
    return not failure.has_log or (turn.ledger.unit(unit).pod or "") in turn.snapshot.log_tails


def _retried_at(
    turn: Turn, revision: CompiledRevision, bindings: Bindings, unit: Unit, failure: Failure
) -> datetime | None:
    """When a failed unit is tried again; None where it is not."""
    task, status = revision.tasks[unit.task], turn.ledger.unit(unit)
    policy = task.spec.retry
    made = made_attempts(status)
    if policy is None or failure.reason not in policy.reasons or made >= policy.max_attempts or turn.stopped:
        return None
    condition = task.templates.retry_when
    if condition is not None:
        error = {
            "reason": failure.reason,
            "message": failure.message,
            "exitCode": failure.exit_code,
            "attempt": status.attempt,
        }
        try:
            values = {"error": error, **_item_values(turn, task, bindings, unit)}
            if not condition.test(bindings.of(condition.tasks, turn.tasks, **values)):
                return None
        except EvalError as problem:
            text = f"Task {str(unit)!r} is not tried again: {problem}"
            turn.announce("Warning", "RetryConditionFailed", text)
            return None
    return turn.now + pause(policy.backoff, made, status.pod or "")


def _item_values(turn: Turn, task: CompiledTask, bindings: Bindings, unit: Unit) -> dict[str, object]:
    if unit.index is None:
        return {}
    items = items_of(task, bindings, turn.tasks)
    item = None if isinstance(items, CannotStart) or unit.index >= len(items) else items[unit.index]
    return {"item": item, "index": unit.index}


def end_groups(turn: Turn, revision: CompiledRevision) -> None:
    """Ends a forEach whose items have all ended; after a failure that counts nothing more of it is started."""
    for name, task in list(turn.tasks.items()):
        items = task.items
        if items is None or task.phase != "Running" or items.active:
            continue
        cut_short = items.failed != "" and not revision.tasks[name].spec.continue_on_error
        if items.started >= items.total or cut_short:
            turn.ledger.end_group(name)
