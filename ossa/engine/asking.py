"""Tasks that wait for people: the Approval that asks them, and what comes of their answers."""

from __future__ import annotations

from ossa.api.contract import TaskIdentity
from ossa.api.execution import AttemptStatus
from ossa.engine.approvals import Approved, Expired, Rejected, approval_spec, judge_approval, question
from ossa.engine.authors import authors_of, lasting_authors, united
from ossa.engine.clock import from_text
from ossa.engine.decision import ApprovalRequest, Verdict
from ossa.engine.expressions import EvalError
from ossa.engine.observe import is_handled
from ossa.engine.outcome import Waiting
from ossa.engine.revision import CompiledRevision
from ossa.engine.start import Bindings, CannotStart
from ossa.engine.turn import Turn
from ossa.engine.units import Unit


def judge_approvals(turn: Turn, revision: CompiledRevision, bindings: Bindings) -> None:
    """Looks at all tasks that wait for people."""
    for name, task in list(turn.tasks.items()):
        if task.phase == "Waiting":
            _judge(turn, revision, bindings, name)


def _judge(turn: Turn, revision: CompiledRevision, bindings: Bindings, name: str) -> None:
    task, compiled, unit = turn.tasks[name], revision.tasks[name], Unit(name)
    approval, message = compiled.spec.approval, compiled.templates.message
    if approval is None or message is None:
        return
    try:
        text = question(message, bindings.of(message.tasks, turn.tasks))
    except EvalError as error:
        _fail(turn, revision, unit, CannotStart("EvalError", str(error)))
        return
    identity = _identity(turn, unit, task)
    named, held, known = task.pod or "", turn.snapshot.execution.metadata.annotations, turn.get("authors")
    view = turn.snapshot.approvals.get(named)
    # Who changes the Execution once it is asked takes back no decision: the API server has taken it by what was asked.
    authors = authors_of(held, known) if view is None else united(lasting_authors(held, known), view.authors)
    asked_at = from_text(task.started_at) if task.started_at else turn.now
    spec = approval_spec(identity, approval, message=text, authors=authors, started_at=asked_at)
    if view is None:
        turn.want_approval(ApprovalRequest(named, identity, spec))
    outcome = judge_approval(view, spec, turn.now)
    match outcome:
        case Waiting(said, wake_at):
            turn.ledger.set_unit(unit, message=said)
            turn.wake(wake_at)
        case _ if view is not None and view.state == "Pending":
            # Written with the version that was read: a decision that comes at the same moment is not passed over.
            turn.want_verdict(Verdict(named, spec, outcome))
        case Approved(by):
            turn.approved(unit, by)
            turn.ledger.complete(unit, outcome.output)
        case Rejected():
            _fail(turn, revision, unit, CannotStart("Rejected", outcome.message))
        case Expired(said):
            _fail(turn, revision, unit, CannotStart("Expired", said))


def _fail(turn: Turn, revision: CompiledRevision, unit: Unit, failure: CannotStart) -> None:
    turn.fail_unit(unit, failure, handled=is_handled(revision, unit.task))


def _identity(turn: Turn, unit: Unit, status: AttemptStatus) -> TaskIdentity:
    """Of the current attempt, whichever reconciler began it."""
    before = status.model_copy(update={"attempt": status.attempt - 1})
    return turn.identity(unit, before, ()).model_copy(update={"epoch": 0})
