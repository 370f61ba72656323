"""What an Execution takes over of the one that it retries, and what waits for approvals that are asked again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ossa.api.approval import MAX_AUTHORS, needed_of
from ossa.api.base import JSONObject
from ossa.api.execution import TaskStatus
from ossa.api.task import ApprovalTask
from ossa.engine.authors import UNKNOWN, authors_of, united
from ossa.engine.graph import Graph
from ossa.engine.revision import CompiledRevision
from ossa.engine.snapshot import Source
from ossa.engine.start import CannotStart
from ossa.engine.turn import Turn


def take_over_authors(turn: Turn) -> CannotStart | None:
    """Records whose the Execution is: its own authors', and theirs whose work it goes on with. Why not, if too many."""
    names = _authors(turn)
    if len(names) > MAX_AUTHORS:
        text = f"it would have more than {MAX_AUTHORS} authors, those of the Executions that it goes on with among them"
        return CannotStart("InvalidInput", f"{text}; make a new Execution of the workflow instead")
    if len(names) > 1:
        turn.set(authors=list(names))
    return None


def _authors(turn: Turn) -> tuple[str, ...]:
    source, own = turn.snapshot.source, authors_of(turn.snapshot.execution.metadata.annotations, None)
    return united(own, source.authors if source is not None else ())


def taken_over(turn: Turn, revision: CompiledRevision, name: str) -> TaskStatus:
    """A task that begins: anew, or with what the Execution that is retried has of it."""
    source = turn.snapshot.source
    before = source.tasks.get(name) if source is not None else None
    if source is None or before is None or before.phase != "Completed":
        return TaskStatus()
    authors, approval = frozenset(_authors(turn)), revision.tasks[name].spec.approval
    if approval is not None:
        output = _still_approved(before.output or {}, approval, authors)
        if output is None:
            return _asks_again(turn, name, "too few approved it who are no authors of this Execution")
        before = before.model_copy(update={"output": output})
    if _may_have_approved(authors, source, before):
        return _asks_again(turn, name, "in the Execution that did it an author of this one approved, or may have")
    _take_over_policies(turn, source, before)
    text = f"taken over from Execution {turn.snapshot.execution.spec.retry_of}"
    return before.model_copy(update={"message": text, "pod": None})


def gated(turn: Turn, revision: CompiledRevision, graph: Graph) -> Graph:
    """The graph, in which what is left to do waits for approvals that are asked again.

    A task that was taken over has ended, so what depends on it would start at once: it depends on what that waited for.
    """
    if turn.snapshot.execution.spec.retry_of is None:
        return graph
    asking = {name for name in graph.order if _asks(revision, name) and turn.tasks[name].phase != "Completed"}
    if not asking:
        return graph
    return replace(
        graph, parents=_through(turn, graph, graph.parents, asking), needs=_through(turn, graph, graph.needs, asking)
    )


def _through(
    turn: Turn, graph: Graph, edges: Mapping[str, frozenset[str]], asking: set[str]
) -> dict[str, frozenset[str]]:
    """The edges, and those to approvals behind tasks that are Completed."""
    behind: dict[str, frozenset[str]] = {}
    found: dict[str, frozenset[str]] = {}
    for name in graph.order:
        found[name] = edges[name].union(*(behind[parent] for parent in edges[name]))
        done = turn.tasks[name].phase == "Completed"
        behind[name] = found[name] & asking if done else frozenset()
    return found


def _asks(revision: CompiledRevision, name: str) -> bool:
    """Whether people are asked: by the task itself, or by a workflow that it runs."""
    spec = revision.tasks[name].spec
    return spec.approval is not None or spec.workflow is not None


def _still_approved(output: JSONObject, approval: ApprovalTask, authors: frozenset[str]) -> JSONObject | None:
    """What an approval gave, without the authors; None where too few others approved."""
    said = output.get("approvedBy")
    by = [user for user in said if user not in authors] if isinstance(said, list) else []
    if len(by) < needed_of(approval.count, known=UNKNOWN not in authors):
        return None
    reasons = output.get("reasons")
    held = reasons if isinstance(reasons, dict) else {}
    return {"approvedBy": by, "reasons": {user: held[user] for user in by if user in held}}


def _may_have_approved(authors: frozenset[str], source: Source, before: TaskStatus) -> bool:
    """Whether one of the authors approved in an Execution that did a task, as far as anybody knows."""
    by = before.approved_by or ()
    if UNKNOWN in by or not (authors - {UNKNOWN}).isdisjoint(by):
        return True
    # Where one was unknown already, each approval has two people.
    return bool(by) and UNKNOWN in authors and UNKNOWN not in source.authors


def _asks_again(turn: Turn, name: str, why: str) -> TaskStatus:
    turn.announce("Normal", "AsksAgain", f"Task {name!r} is not taken over: {why}")
    return TaskStatus()


def _take_over_policies(turn: Turn, source: Source, before: TaskStatus) -> None:
    """The sets of policies by whose keys the task says what judged it."""
    keys = (*(before.judged_at_start or {}), *(before.judged_at_end or {}))
    known = {key: versions for key in keys if (versions := source.policies.get(key)) is not None}
    if known:
        turn.set(policies={**(turn.get("policies") or {}), **known})
