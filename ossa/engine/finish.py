"""How an Execution ends: well, badly, by another attempt, or because it is told to."""

from __future__ import annotations

from datetime import timedelta

from ossa.api.execution import TaskStatus
from ossa.engine.advance import advance
from ossa.engine.asking import judge_approvals
from ossa.engine.byreference import fields_to_move, json_size
from ossa.engine.clock import duration_text, from_text, to_exact_text
from ossa.engine.decision import Retry
from ossa.engine.expressions import EvalError
from ossa.engine.observe import MAX_LOST, final_scope, is_failing, is_handled
from ossa.engine.packing import FINAL_OUTPUTS
from ossa.engine.ranges import parse_ranges
from ossa.engine.retrying import pause
from ossa.engine.revision import CompiledRevision
from ossa.engine.start import Bindings, CannotStart
from ossa.engine.turn import Turn
from ossa.engine.values import shorten

# What another attempt of the same Execution cannot mend.
_HOPELESS = frozenset({"InvalidRevision", "PolicyDenied"})


def stop_if_asked(turn: Turn, revision: CompiledRevision) -> None:
    """Ends all that runs where it is cancelled or out of time; `finally` then runs."""
    if turn.stopped or turn.all_ended(revision.graph.order):
        return
    if turn.snapshot.execution.spec.cancel:
        stop(turn, revision.graph.order, CannotStart("Cancelled", "cancelled: spec.cancel is true"))
    elif revision.timeout is not None and _is_out_of_time(turn, revision.timeout):
        text = f"it ran longer than spec.timeout of its workflow, {duration_text(revision.timeout)}"
        stop(turn, revision.graph.order, CannotStart("Timeout", text))


def is_held(turn: Turn, revision: CompiledRevision) -> bool:
    """Whether it is suspended. One that is cancelled or out of time is not, also where nothing is left to stop."""
    spec = turn.snapshot.execution.spec
    if not spec.suspend or spec.cancel or turn.stopped:
        return False
    return revision.timeout is None or not _is_out_of_time(turn, revision.timeout)


def _is_out_of_time(turn: Turn, limit: timedelta) -> bool:
    started = turn.get("started_at")
    if started is None:
        return False
    deadline = from_text(started) + limit + timedelta(seconds=1)
    if turn.now >= deadline:
        return True
    turn.wake(deadline)
    return False


def stop(turn: Turn, names: tuple[str, ...], why: CannotStart) -> None:
    """Ends tasks: what runs has failed, what has not started will not."""
    turn.set(error=turn.error(why, unit=None))
    reason, message = why.reason, why.message
    for name in names:
        phase = turn.tasks[name].phase
        if phase in ("Running", "Retrying", "Waiting"):
            turn.ledger.stop(name, reason, f"stopped: {message}")
        elif phase == "Pending":
            turn.ledger.skip(name, f"not started: {message}")


def settle(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> None:
    """Ends the Execution where nothing is left to do, after `finally`."""
    if not _main_is_over(turn, revision):
        return
    outputs = None
    if turn.get("error") is None and not is_failing(turn, revision):
        outputs = _outputs(turn, revision, bindings)
    if turn.get("error") is not None and not turn.stopped and _try_again(turn, revision):
        return
    if revision.final.order and not _finally_is_over(turn, revision, bindings):
        return
    if turn.get("error") is not None:
        turn.finish("Failed")
    else:
        turn.finish("Completed", outputs=outputs)


def reset_for_retry(turn: Turn, revision: CompiledRevision) -> None:
    """Another attempt of the Execution: what is Completed is kept, what failed or was skipped begins anew."""
    for name in revision.graph.order:
        task = turn.tasks[name]
        if task.phase == "Skipped":
            turn.ledger.put(name, TaskStatus())
        elif task.phase == "Failed" and not is_handled(revision, name):
            turn.ledger.put(name, _anew(task, revision, name, turn.get("attempt")))
    turn.set(attempt=turn.get("attempt") + 1, error=None, retry_at=None, message=None)


def _anew(task: TaskStatus, revision: CompiledRevision, name: str, round_: int) -> TaskStatus:
    """A failed task as it begins anew. Numbers of attempts go on: a handler takes them for its idempotency key."""
    if task.items is None:
        return TaskStatus(
            attempt=task.attempt,
            earlier=task.attempt,
            judged_at_start=task.judged_at_start,
            judged_at_end=task.judged_at_end,
        )
    retry = revision.tasks[name].spec.retry
    most = ((retry.max_attempts if retry is not None else 1) + MAX_LOST) * round_
    again = TaskStatus(phase="Retrying", attempt=most, earlier=most)
    active = {str(index): again for index in sorted(parse_ranges(task.items.failed))}
    items = task.items.model_copy(update={"failed": "", "errors": {}, "active": active})
    return TaskStatus(
        phase="Running",
        started_at=task.started_at,
        items=items,
        classification=task.classification,
        approved_by=task.approved_by,
        judged_at_start=task.judged_at_start,
        judged_at_end=task.judged_at_end,
    )


def _main_is_over(turn: Turn, revision: CompiledRevision) -> bool:
    names = revision.graph.order
    if turn.all_ended(names):
        return True
    stuck = is_failing(turn, revision) and revision.revision.spec.fail_fast
    if not stuck or turn.running(names):
        return False
    error = turn.get("error")
    because = f"task {error.task!r} failed" if error is not None and error.task else "the Execution failed"
    for name in names:
        task = turn.tasks[name]
        if task.phase == "Pending":
            turn.ledger.skip(name, f"not started: {because}")
        elif task.phase in ("Running", "Retrying", "Waiting"):
            why = f"{task.message or 'it was to be tried again'}; it was not, because {because}"
            turn.ledger.stop(name, task.reason or "PodLost", why)
    return True


def _finally_is_over(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> bool:
    """Starts what can start of `finally`, and whether all of it has ended."""
    scope = final_scope(turn, bindings)
    advance(turn, revision, revision.final, scope)
    judge_approvals(turn, revision, scope)
    return not turn.waits and turn.all_ended(revision.final.order)


def _outputs(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> object:
    template = revision.outputs
    try:
        outputs = template.evaluate(bindings.of(template.tasks, turn.tasks))
    except EvalError as error:
        failure = CannotStart("EvalError", _outputs_hint(str(error), turn, template.tasks))
        turn.set(error=turn.error(failure, unit=None))
        return None
    if bindings.are_forged(outputs, (template,), turn.tasks):
        failure = CannotStart("EvalError", "spec.outputs: they hold an artifact reference that no task gave")
        turn.set(error=turn.error(failure, unit=None))
        return None
    if isinstance(outputs, dict) and fields_to_move(outputs, FINAL_OUTPUTS) is None:
        text = f"spec.outputs: they have {json_size(outputs)} bytes of JSON in many small fields, and {FINAL_OUTPUTS} "
        failure = CannotStart("InvalidOutput", text + "are the limit; large fields go by reference, small ones do not")
        turn.set(error=turn.error(failure, unit=None))
        return None
    return outputs


def _outputs_hint(message: str, turn: Turn, tasks: frozenset[str]) -> str:
    skipped = sorted(name for name in tasks if turn.tasks[name].phase == "Skipped")
    if not skipped:
        return message
    name = skipped[0]
    return f"{message}; task {name!r} was skipped and has no output: ask has(tasks[{name!r}].output.FIELD) first"


def pause_of(turn: Turn, revision: CompiledRevision) -> timedelta:
    """How long the pause is after the current attempt of the Execution."""
    policy, attempt = revision.revision.spec.retry, turn.get("attempt")
    if policy is None:
        return timedelta()
    return pause(policy.backoff, attempt, f"{turn.snapshot.execution.metadata.uid}/{attempt}")


def _try_again(turn: Turn, revision: CompiledRevision) -> bool:
    """Takes a failed Execution to Retrying, where its workflow allows another attempt."""
    policy, attempt, error = revision.revision.spec.retry, turn.get("attempt"), turn.get("error")
    if policy is None or attempt >= policy.max_attempts or error.reason in _HOPELESS:
        return False
    if any(turn.tasks[name].phase != "Pending" for name in revision.final.order):
        return False  # `finally` has begun: it is over
    if turn.snapshot.execution.spec.cancel:
        return False  # it had ended by itself when it was looked at
    at = turn.now + pause_of(turn, revision)
    turn.set(phase="Failed")
    turn.set(
        phase="Retrying",
        retry_at=to_exact_text(at),
        message=shorten(f"attempt {attempt} of {policy.max_attempts} failed: {error.message}", 1024),
    )
    turn.retries.append(Retry("execution", error.reason))
    turn.announce("Warning", "Retrying", f"Attempt {attempt} of {policy.max_attempts} failed: {error.message}")
    turn.wake(at)
    return True
