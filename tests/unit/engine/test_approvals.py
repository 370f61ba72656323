"""What decisions mean for the task that waits for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.api.approval import ApprovalDecision, ApprovalSpec, Verdict, approvers, needed_approvals
from ossa.api.contract import TaskIdentity
from ossa.engine.approvals import (
    Approved,
    Expired,
    Rejected,
    approval_spec,
    approval_status,
    approval_view,
    judge_approval,
    question,
)
from ossa.engine.clock import to_text
from ossa.engine.expressions import EvalError, Template
from ossa.engine.outcome import Waiting
from ossa.engine.revision import CompiledTask
from ossa.engine.snapshot import ApprovalView
from ossa.kube.approvals import build_approval, is_of
from tests.unit.engine.world import NOW, compiled, reference, spec

END = NOW + timedelta(hours=24)
IDENTITY = TaskIdentity(namespace="team", execution="run", uid="uid-run", workflow="flow", task="release", attempt=2)


def wanted(**fields: Any) -> ApprovalSpec:
    """Of the risk board, for an Execution by alice."""
    held = {
        "execution": {"name": "run", "uid": "uid-run"},
        "task": "release",
        "message": "?",
        "approverGroups": ["risk-board"],
        "author": "alice",
        "expiresAt": to_text(END),
    }
    return ApprovalSpec.model_validate({**held, **fields})


def view(state: Any = "Pending", **verdicts: str) -> ApprovalView:
    """Decisions as bob="Approved" or bob="Rejected: too early"."""
    decisions = {}
    for user, text in verdicts.items():
        verdict, _, reason = text.partition(": ")
        decisions[user] = ApprovalDecision.model_validate({"verdict": verdict, "reason": reason})
    return ApprovalView("run-release", "uid", state, decisions)


def compiled_approval(message: str = "Release?", **fields: Any) -> CompiledTask:
    """A task `release` that waits for bob, after the task `a`."""
    approval = {"message": message, "approverUsers": ["bob"], **fields}
    tasks = spec({"name": "a"}, {"name": "release", "agent": None, "approval": approval})
    return compiled(tasks).tasks["release"]


def asked(message: str) -> Template:
    """The compiled question of such a task."""
    template = compiled_approval(message).templates.message
    assert template is not None
    return template


@pytest.mark.parametrize(
    ("held", "fields", "message"),
    [
        (view(), {}, "waiting for an approval from risk-board"),
        (view(), {"count": 2}, "waiting for 2 of 2 approvals from risk-board"),
        (view(bob="Approved"), {"count": 2}, "waiting for 1 of 2 approvals from risk-board"),
        (view(), {"approverUsers": ["bob", "carl"]}, "waiting for an approval from risk-board, bob or carl"),
        (
            view(bob="Approved"),
            {"author": ""},
            "waiting for 1 of 2 approvals from risk-board; two are needed, because the author of the Execution is not "
            "known",
        ),
        (
            view(bob="Approved", carl="Approved"),
            {"author": "", "count": 3},
            "waiting for 1 of 3 approvals from risk-board",
        ),
        (None, {}, "waiting for an approval from risk-board"),
    ],
)
def test_what_is_waited_for_is_said(held: ApprovalView | None, fields: dict[str, Any], message: str) -> None:
    assert judge_approval(held, wanted(**fields), NOW) == Waiting(message, END)


def test_enough_approve() -> None:
    held = view(carl="Approved: tested it", bob="Approved")
    found = judge_approval(held, wanted(count=2), NOW)
    assert found == Approved(("bob", "carl"), {"carl": "tested it"})
    assert isinstance(found, Approved)
    assert found.output == {"approvedBy": ["bob", "carl"], "reasons": {"carl": "tested it"}}


def test_one_rejection_rejects() -> None:
    found = judge_approval(view(bob="Approved", carl="Rejected: too early"), wanted(), NOW)
    assert found == Rejected("carl", "too early")
    assert isinstance(found, Rejected)
    assert found.message == "rejected by carl: too early"
    assert Rejected("carl", "").message == "rejected by carl"


def test_time_is_over() -> None:
    assert judge_approval(view(), wanted(), END - timedelta(seconds=1)) == Waiting(
        "waiting for an approval from risk-board", END
    )
    found = judge_approval(view(bob="Approved"), wanted(count=2), END)
    assert found == Expired(f"1 of 2 approvals were given until {to_text(END)} by risk-board")
    assert judge_approval(None, wanted(), END) == Expired(f"no approval was given until {to_text(END)} by risk-board")


def test_what_was_decided_while_the_operator_was_down_counts() -> None:
    late = END + timedelta(hours=5)
    assert judge_approval(view(bob="Approved"), wanted(), late) == Approved(("bob",))
    assert judge_approval(view(bob="Rejected"), wanted(), late) == Rejected("bob", "")


def test_what_was_told_once_stays_so() -> None:
    assert isinstance(judge_approval(view("Expired", bob="Approved"), wanted(), NOW), Expired)
    assert judge_approval(view("Approved", bob="Approved", carl="Rejected"), wanted(), NOW) == Approved(("bob",))
    assert judge_approval(view("Rejected", bob="Rejected"), wanted(), NOW) == Rejected("bob", "")


def test_a_state_without_decisions_is_no_yes() -> None:
    """Nor is an Approval that somebody deleted: `None`."""
    assert isinstance(judge_approval(view("Approved"), wanted(), NOW), Waiting)


def test_those_who_may_not_decide_do_not_count() -> None:
    assert isinstance(judge_approval(view(alice="Approved"), wanted(), NOW), Waiting)
    assert isinstance(judge_approval(view(alice="Rejected"), wanted(), NOW), Waiting)
    only = wanted(approverGroups=[], approverUsers=["carl"])
    assert isinstance(judge_approval(view(bob="Approved"), only, NOW), Waiting)
    assert judge_approval(view(carl="Approved"), only, NOW) == Approved(("carl",))


USERS = st.sampled_from(["alice", "bob", "carl", "dora", "eve"])
VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(["Approved", "Rejected"])
DECISIONS = st.dictionaries(USERS, st.builds(lambda verdict: ApprovalDecision(verdict=verdict), VERDICTS))
SPECS = st.builds(
    lambda count, author, groups, users: wanted(
        count=count, author=author, approverGroups=groups, approverUsers=sorted(users)
    ),
    st.integers(1, 4),
    st.just("") | USERS,
    st.sampled_from([[], ["risk-board"]]),
    st.sets(USERS),
)
STATES = st.sampled_from(["Pending", "Approved", "Rejected", "Expired"])


@given(DECISIONS, SPECS, STATES, st.integers(-100, 100))
def test_a_yes_is_always_that_of_enough_who_may(
    decisions: dict[str, ApprovalDecision], held: ApprovalSpec, state: Any, hours: int
) -> None:
    found = judge_approval(ApprovalView("x", "uid", state, decisions), held, END + timedelta(hours=hours))
    if not isinstance(found, Approved):
        return
    assert state != "Expired"
    assert len(set(found.by)) == len(found.by) >= max(held.count, 1 if held.author else 2)
    assert held.author not in found.by
    assert all(decisions[user].verdict == "Approved" for user in found.by)
    assert held.approver_groups or set(found.by) <= set(held.approver_users)


@given(DECISIONS, SPECS, USERS, VERDICTS)
def test_one_more_decision_never_takes_back_what_ended_it(
    decisions: dict[str, ApprovalDecision], held: ApprovalSpec, user: str, verdict: Verdict
) -> None:
    """The operator may see decisions late, and tell the state later still."""
    first = judge_approval(ApprovalView("x", "uid", "Pending", decisions), held, NOW)
    state = {Approved: "Approved", Rejected: "Rejected"}.get(type(first), "Pending")
    more = {user: ApprovalDecision(verdict=verdict), **decisions}
    second = judge_approval(ApprovalView("x", "uid", state, more), held, NOW)  # type: ignore[arg-type]
    if not isinstance(first, Waiting):
        assert type(second) is type(first)


@given(DECISIONS, SPECS, st.integers(-100, 100))
def test_it_wakes_before_it_changes_by_itself(
    decisions: dict[str, ApprovalDecision], held: ApprovalSpec, hours: int
) -> None:
    now = END + timedelta(hours=hours)
    found = judge_approval(ApprovalView("x", "uid", "Pending", decisions), held, now)
    if isinstance(found, Waiting):
        assert found.wake_at is not None
        assert found.wake_at > now
        assert isinstance(judge_approval(ApprovalView("x", "uid", "Pending", decisions), held, found.wake_at), Expired)


# --- what the operator makes --------------------------------------------------------------------------------------


def test_the_object_of_an_attempt() -> None:
    approval = compiled_approval(count=1, timeout="90m").spec.approval
    assert approval is not None
    made = approval_spec(IDENTITY, approval, message="Release?", authors=("alice", "dora"), started_at=NOW)
    item = build_approval(IDENTITY, made)
    assert item["spec"] == {
        "execution": {"name": "run", "uid": "uid-run"},
        "task": "release",
        "round": 1,
        "attempt": 2,
        "message": "Release?",
        "approverGroups": [],
        "approverUsers": ["bob"],
        "count": 1,
        "author": "alice",
        "authors": ["alice", "dora"],
        "expiresAt": "2026-01-01T13:30:00Z",
    }
    metadata = item["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Execution", "uid-run", True)
    assert metadata["labels"]["ossa.dev/execution"] == "run"
    assert "decisions" not in item
    assert build_approval(IDENTITY, made) == item
    names = {
        build_approval(IDENTITY.model_copy(update=change), made)["metadata"]["name"]
        for change in ({}, {"uid": "other"}, {"task": "b"}, {"attempt": 3}, {"round": 2})
    }
    assert len(names) == 5
    assert is_of(item, IDENTITY)
    assert not is_of(item, IDENTITY.model_copy(update={"attempt": 3}))


def test_the_question_is_text() -> None:
    bound = {"tasks": {"a": {"output": {"n": 3, "big": reference()}}}}
    assert question(asked("Release?"), {}) == "Release?"
    assert question(asked("${{ tasks.a.output.n }} rows?"), bound) == "3 rows?"
    assert question(asked("${{ tasks.a.output.n }}"), bound) == "3"
    assert len(question(asked("x" * 4000), {})) == 2048
    for text in ("${{ tasks.a.output.big }}", "${{ [tasks.a.output.big] }}", "${{ tasks.a.output.missing }}"):
        with pytest.raises(EvalError, match=r"approval\.message"):
            question(asked(text), bound)


def test_a_reference_in_the_question_is_an_edge() -> None:
    approval = {"message": "${{ tasks.a.output.n }} rows?", "approverUsers": ["bob"]}
    revision = compiled(spec({"name": "a"}, {"name": "release", "agent": None, "approval": approval}))
    assert revision.graph.parents["release"] == {"a"}
    assert revision.tasks["release"].agent is None


def test_who_is_asked_and_how_many_must_say_yes() -> None:
    assert approvers(wanted()) == "risk-board"
    assert approvers(wanted(approverUsers=["bob"])) == "risk-board or bob"
    assert len(approvers(wanted(approverGroups=["g" * 100 + str(n) for n in range(9)]))) == 400
    assert [needed_approvals(wanted(author=a, count=c)) for a in ("x", "") for c in (1, 2, 3)] == [1, 2, 3, 2, 2, 3]


def test_whoever_had_a_hand_in_it_does_not_count() -> None:
    held = view(alice="Approved", bob="Approved", carl="Rejected", dora="Approved")
    said = judge_approval(held, wanted(authors=["alice", "bob", "carl"]), NOW)
    assert said == Approved(("dora",))
    # One of them is not known.
    unknown = judge_approval(held, wanted(author="", authors=["bob", "carl"]), NOW)
    assert unknown == Approved(("alice", "dora"))
    assert isinstance(judge_approval(held, wanted(author="", authors=["alice", "bob", "carl"]), NOW), Waiting)


def test_of_authors_of_whom_one_is_unknown_the_others_are_named() -> None:
    approval = compiled_approval().spec.approval
    assert approval is not None
    for names in (("", "bob"), ("bob", "")):
        made = approval_spec(IDENTITY, approval, message="?", authors=names, started_at=NOW)
        assert (made.author, made.authors) == ("", ["bob"])


# --- its status ---------------------------------------------------------------------------------------------------


def stored(**decisions: str) -> dict[str, Any]:
    """An Approval as the API server holds it."""
    item = build_approval(IDENTITY, wanted())
    item["metadata"] |= {"uid": "uid", "generation": 3}
    held = {user: {"verdict": verdict, "later": "field"} for user, verdict in decisions.items()}
    return {**item, "decisions": held, "status": {"state": "Pending"}}


def test_the_status_tells_where_it_stands() -> None:
    item = stored(bob="Approved", alice="Approved")
    outcome = judge_approval(approval_view(item), wanted(count=2), NOW)
    status = approval_status(item, wanted(count=2), outcome, to_text(NOW))
    assert (status.state, status.approved, status.approved_by) == ("Pending", "1/2", ["bob"])
    assert (status.message, status.decided_at) == ("waiting for 1 of 2 approvals from risk-board", None)
    assert status.observed_generation == 3
    assert [(c.type, c.status, c.reason) for c in status.conditions] == [("Decided", "False", "Waiting")]


@pytest.mark.parametrize(
    ("verdict", "now", "state", "message"),
    [
        ("Approved", NOW, "Approved", "approved by bob"),
        ("Rejected", NOW, "Rejected", "rejected by bob"),
        (None, END, "Expired", f"no approval was given until {to_text(END)} by risk-board"),
    ],
)
def test_the_status_tells_how_it_ended(verdict: str | None, now: Any, state: str, message: str) -> None:
    item = stored(**({"bob": verdict} if verdict else {}))
    outcome = judge_approval(approval_view(item), wanted(), now)
    status = approval_status(item, wanted(), outcome, to_text(now))
    assert (status.state, status.message, status.decided_at) == (state, message, to_text(now))
    assert [(c.status, c.reason) for c in status.conditions] == [("True", state)]
    # Looked at again, it says the same.
    item["status"] = status.to_json()
    again = judge_approval(approval_view(item), wanted(), now + timedelta(days=9))
    assert approval_status(item, wanted(), again, to_text(now + timedelta(days=9))) == status
