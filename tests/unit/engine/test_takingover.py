"""Retries by other people: what was approved, who may not approve now, and what waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ossa.api.approval import ApprovalDecision
from ossa.api.execution import Execution, TaskStatus
from ossa.engine.authors import authors_of
from ossa.engine.decision import ChildRequest
from ossa.engine.snapshot import ApprovalView, ChildView, Source
from tests.unit.engine.world import Run, child_view, compiled, execution, spec

APPROVED = {"approvedBy": ["alice", "dora"], "reasons": {"alice": "mine", "dora": "fine"}}


def release(**approval: Any) -> dict[str, Any]:
    """A task that asks the board."""
    asked = {"message": "Release?", "approverGroups": ["board"], **approval}
    return {"name": "release", "agent": None, "approval": asked, "dependsOn": ["build"]}


def tasks(**approval: Any) -> list[dict[str, Any]]:
    """build -> release -> deploy -> tell."""
    deploy, tell = {"name": "deploy", "dependsOn": ["release"]}, {"name": "tell", "dependsOn": ["deploy"]}
    return [{"name": "build"}, release(**approval), deploy, tell]


def by(item: Execution, *, created: str = "", changed: str | None = None) -> Execution:
    """Created by one person and changed by another."""
    names = {"ossa.dev/created-by": created, "ossa.dev/spec-changed-by": created if changed is None else changed}
    marks = {key: name for key, name in names.items() if name}
    return item.model_copy(update={"metadata": item.metadata.model_copy(update={"annotations": marks})})


def retried(
    done: dict[str, Any], *, author: str = "alice", authors: tuple[str, ...] = ("carol",), **approval: Any
) -> Run:
    """A retry by `author` of a run by `authors` that did some tasks, with their outputs."""
    run = Run(compiled(spec(*tasks(**approval))))
    held = execution()
    held = held.model_copy(update={"spec": held.spec.model_copy(update={"retry_of": "before"})})
    before = {name: TaskStatus(phase="Completed", attempt=1, output=output) for name, output in done.items()}
    source = Source(uid="u", workflow="flow", revision=run.revision.name, tasks=before, authors=authors)
    run.change(execution=by(held, created=author), source=source)
    run.step()
    return run


def decide(run: Run, state: Any = "Pending", **verdicts: Any) -> None:
    """People decide about the Approval that was asked for, as the API server lets them."""
    (asked,) = run.last.approvals or (None,)
    held = next(iter(run.snapshot.approvals.values()), None)
    if asked is not None:
        held = ApprovalView(asked.name, "uid", authors=(asked.spec.author, *asked.spec.authors))
    assert held is not None
    decisions = {user: ApprovalDecision(verdict=verdict) for user, verdict in verdicts.items()}
    run.change(approvals={held.name: replace(held, state=state, decisions={**held.decisions, **decisions})})
    run.step()


DONE = {"build": {}, "release": APPROVED, "deploy": {}}


def test_an_approval_of_others_is_taken_over_without_the_author_s() -> None:
    run = retried(DONE)
    assert run.phases() == {"build": "Completed", "release": "Completed", "deploy": "Completed", "tell": "Running"}
    assert run.status.tasks["release"].output == {"approvedBy": ["dora"], "reasons": {"dora": "fine"}}
    assert run.status.authors == ["alice", "carol"]


@pytest.mark.parametrize(
    ("author", "authors", "fields", "again"),
    [
        ("alice", ("carol",), {}, False),
        ("alice", ("carol",), {"count": 2}, True),
        ("dora", ("carol",), {"count": 2}, True),
        ("eve", ("carol",), {"count": 2}, False),
        ("alice", ("dora",), {}, True),
        # Nobody knows who retries it, or whose it was: two others are needed.
        ("", ("carol",), {}, False),
        ("eve", ("",), {}, False),
        ("alice", ("",), {}, True),
        ("", ("alice",), {}, True),
    ],
)
def test_it_is_asked_again_where_too_few_others_approved(
    author: str, authors: tuple[str, ...], fields: dict[str, Any], again: bool
) -> None:
    run = retried(DONE, author=author, authors=authors, **fields)
    assert run.phases()["release"] == ("Waiting" if again else "Completed")
    assert [event.reason for event in run.last.events if event.reason == "AsksAgain"] == ["AsksAgain"] * again


def test_who_retries_does_not_approve_and_no_more_does_whose_run_it_was() -> None:
    run = retried({**DONE, "release": {"approvedBy": ["alice"], "reasons": {}}})
    (asked,) = run.last.approvals
    assert (asked.spec.author, asked.spec.authors) == ("alice", ["alice", "carol"])
    decide(run, alice="Approved", carol="Approved")
    assert run.phases()["release"] == "Waiting"
    decide(run, dora="Approved")
    decide(run, "Approved")
    assert run.status.tasks["release"].output == {"approvedBy": ["dora"], "reasons": {}}


def test_what_is_left_waits_for_it_behind_what_was_taken_over() -> None:
    run = retried({**DONE, "release": {"approvedBy": ["alice"], "reasons": {}}})
    assert run.phases() == {"build": "Completed", "release": "Waiting", "deploy": "Completed", "tell": "Pending"}
    decide(run, dora="Approved")
    decide(run, "Approved")
    assert run.phases()["tell"] == "Running"
    assert [request.task for request in run.requests] == ["tell"]


def test_nothing_is_left_to_do_once_it_is_rejected() -> None:
    run = retried({**DONE, "release": {"approvedBy": ["alice"], "reasons": {}}})
    decide(run, dora="Rejected")
    decide(run, "Rejected")
    assert run.phases()["tell"] == "Skipped"
    assert (run.phase(), run.requests) == ("Failed", [])


@pytest.mark.parametrize("output", [None, {}, {"approvedBy": "dora"}, {"approvedBy": [], "reasons": []}])
def test_an_approval_that_says_nothing_is_none(output: Any) -> None:
    assert retried({**DONE, "release": output}).phases()["release"] == "Waiting"


def test_a_retry_of_a_retry_has_the_authors_of_all() -> None:
    first = retried({"build": {}}, author="alice", authors=("carol",))
    held = first.snapshot.execution
    second = retried({"build": {}}, author="eve", authors=authors_of(held.metadata.annotations, held.status.authors))
    assert second.status.authors == ["eve", "alice", "carol"]


def test_more_authors_than_can_be_told_do_not_start() -> None:
    run = retried({}, authors=tuple(f"user-{n}" for n in range(64)))
    assert (run.phase(), run.requests) == ("Failed", [])
    assert run.status.error is not None
    assert "more than 64 authors" in run.status.error.message


def test_an_execution_of_one_says_no_more_than_its_annotations() -> None:
    run = Run(compiled(spec(*tasks())))
    run.change(execution=by(run.snapshot.execution, created="alice"))
    run.step()
    assert run.status.authors is None


# --- paused and resumed by another --------------------------------------------------------------------------------


def asking(*, created: str = "alice", changed: str | None = None, **approval: Any) -> Run:
    """An Execution that has come to its approval."""
    run = Run(compiled(spec(*tasks(**approval))))
    run.change(execution=by(run.snapshot.execution, created=created))
    run.step()
    run.change(execution=by(run.snapshot.execution, created=created, changed=changed))
    run.succeed("build")
    return run


def test_who_created_it_stays_out_whoever_pauses_and_resumes_it() -> None:
    run = asking(changed="bob")
    (asked,) = run.last.approvals
    assert (asked.spec.author, asked.spec.authors) == ("alice", ["alice", "bob"])
    decide(run, alice="Approved", bob="Approved")
    assert run.phases()["release"] == "Waiting"
    decide(run, dora="Approved")
    decide(run, "Approved")
    assert run.phases()["release"] == "Completed"


def test_who_pauses_it_after_they_approved_takes_nothing_back() -> None:
    run = asking(count=2)
    decide(run, bob="Approved")
    run.change(execution=by(run.snapshot.execution, created="alice", changed="bob"))
    decide(run, dora="Approved")
    decide(run, "Approved")
    assert run.status.tasks["release"].output == {"approvedBy": ["bob", "dora"], "reasons": {}}


def test_an_approval_of_before_counts_nobody_s_that_created_the_execution() -> None:
    run = asking(changed="bob")
    (asked,) = run.last.approvals
    # As an operator wrote it that knew of one author alone: who had changed it last.
    verdicts = {user: ApprovalDecision(verdict="Approved") for user in ("alice", "bob")}
    run.change(approvals={asked.name: ApprovalView(asked.name, "uid", "Pending", verdicts, ("bob",))})
    run.step()
    assert run.phases()["release"] == "Waiting"


def test_pausing_makes_an_unknown_author_no_known_one() -> None:
    run = asking(created="", changed="bob")
    (asked,) = run.last.approvals
    assert (asked.spec.author, asked.spec.authors) == ("", ["bob"])
    decide(run, alice="Approved")
    assert run.phases()["release"] == "Waiting"
    decide(run, dora="Approved")
    decide(run, "Approved")
    assert run.phases()["release"] == "Completed"


# --- approvals in Executions of tasks -----------------------------------------------------------------------------

NESTED: list[dict[str, Any]] = [
    {"name": "call", "agent": None, "workflow": "other"},
    {"name": "deploy", "dependsOn": ["call"]},
    {"name": "tell", "dependsOn": ["deploy"]},
]


def child(request: ChildRequest, *approved_by: str) -> ChildView:
    """A child that ended well, in which people approved."""
    return child_view(request.name, "call", approved_by=approved_by)


def test_who_approved_in_a_child_is_recorded_above() -> None:
    run = Run(compiled(spec(*NESTED)))
    (request,) = run.step().children
    run.change(children={request.name: child(request, "dora", "alice")})
    run.step()
    assert run.status.tasks["call"].approved_by == run.status.approved_by == ["alice", "dora"]


@pytest.mark.parametrize(
    ("approved_by", "author", "authors", "again"),
    [
        (["alice", "dora"], "alice", ("carol",), True),
        (["dora"], "alice", ("carol",), False),
        (["carol"], "alice", ("carol",), True),
        (None, "alice", ("carol",), False),
        # More than are told; whoever retries it may be dora.
        (["", "dora"], "alice", ("carol",), True),
        (["dora"], "", ("carol",), True),
        (["dora", "eve"], "", ("",), False),
        (None, "", ("carol",), False),
    ],
)
def test_a_child_in_which_an_author_approved_is_not_taken_over(
    approved_by: list[str] | None, author: str, authors: tuple[str, ...], again: bool
) -> None:
    run = Run(compiled(spec(*NESTED)))
    held = execution()
    held = held.model_copy(update={"spec": held.spec.model_copy(update={"retry_of": "before"})})
    done = {name: TaskStatus(phase="Completed", attempt=1, output={}) for name in ("call", "deploy")}
    done["call"] = done["call"].model_copy(update={"approved_by": approved_by})
    source = Source(uid="u", workflow="flow", revision=run.revision.name, tasks=done, authors=authors)
    run.change(execution=by(held, created=author), source=source)
    children = run.step().children
    assert [request.task for request in children] == ["call"] * again
    assert run.phases()["tell"] == ("Pending" if again else "Running")
    for request in children:
        run.change(children={request.name: child(request, "dora")})
        run.step()
    assert run.phases()["tell"] == "Running"
