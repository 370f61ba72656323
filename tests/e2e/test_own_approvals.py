"""Nobody approves what they asked for themselves, whoever or whatever made the Execution, paused or retried it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.cluster import SYSTEM_NAMESPACE
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.people import BOARD, OPERATOR, Person, undecided
from tests.e2e.harness.rights import grant

GATEWAY = f"system:serviceaccount:{SYSTEM_NAMESPACE}:ossa-gateway"
RELEASE: JSONObject = {
    "name": "release",
    "approval": {"message": "Release?", "approverGroups": [BOARD], "timeout": "1h"},
}
AUTHOR = "you are the author of this Execution"
HAND = "you had a hand in this Execution"
A_MINUTE = 90.0


@pytest.fixture
async def board(namespace: Namespace) -> Namespace:
    """A namespace in which the risk board approves; all the people of these tests are in it."""
    await grant(namespace, "ossa-approver", group=BOARD)
    return namespace


def person(namespace: Namespace, name: str) -> Person:
    """Somebody with every right, and of the risk board: nothing but admission refuses what they do."""
    return Person(name, namespace, groups=(BOARD,))


async def only_dora(namespace: Namespace, found: JSONObject, **refused: str) -> None:
    """Those who are named are refused, with these words; dora approves."""
    approval = found["metadata"]["name"]
    for name, words in refused.items():
        for verdict in ("Approved", "Rejected"):
            said = (await person(namespace, name).decide(approval, verdict)).refused()
            assert words in said, (name, said)
    assert not (await namespace.get("approvals", approval)).get("decisions")
    (await person(namespace, "dora").decide(approval)).ok()


async def pause_and_resume(who: Person, name: str = "run") -> None:
    """As anybody may who may update Executions."""
    for suspend in (True, False):
        (await who.patch("execution", name, {"spec": {"suspend": suspend}})).ok()


async def test_who_created_it_and_another_paused_and_resumed(board: Namespace) -> None:
    """It waits for its Workflow meanwhile, so that the Approval is asked for afterwards."""
    (await person(board, "alice").create(execution("run", "flow"))).ok()
    await pause_and_resume(person(board, "bob"))
    await board.apply(workflow("flow", [RELEASE]))
    found = await undecided(board)
    assert (found["spec"]["author"], found["spec"]["authors"]) == ("alice", ["alice", "bob"])
    await only_dora(board, found, alice=AUTHOR, bob=HAND)
    await board.completes()


async def test_who_paused_it_while_it_waited_may_approve_and_its_author_may_not(board: Namespace) -> None:
    await board.apply(workflow("flow", [RELEASE | {"approval": {**RELEASE["approval"], "count": 2}}]))
    (await person(board, "alice").create(execution("run", "flow"))).ok()
    approval = (await undecided(board))["metadata"]["name"]
    (await person(board, "bob").decide(approval)).ok()
    await pause_and_resume(person(board, "bob"))
    assert AUTHOR in (await person(board, "alice").decide(approval)).refused()
    (await person(board, "dora").decide(approval)).ok()
    ended = await board.completes()
    assert ended.status.tasks["release"].output == {"approvedBy": ["bob", "dora"], "reasons": {}}


@pytest.mark.parametrize(("delegate", "who"), [(OPERATOR, "alice"), (GATEWAY, "ossa:alice")])
async def test_for_whom_a_delegate_made_it(board: Namespace, delegate: str, who: str) -> None:
    await board.apply(workflow("flow", [RELEASE]))
    item = execution("run", "flow")
    item["metadata"]["annotations"] = {"ossa.dev/author": who}
    (await person(board, delegate).create(item)).ok()
    found = await undecided(board)
    assert found["spec"]["author"] == who
    approval = found["metadata"]["name"]
    as_gateway: Any = {"decisions": {who: {"verdict": "Approved"}}}
    if delegate == GATEWAY:
        assert (
            AUTHOR in (await Person(GATEWAY, board, almighty=False).patch("approval", approval, as_gateway)).refused()
        )
    else:
        assert AUTHOR in (await person(board, who).decide(approval)).refused()
    assert "is no person and decides nothing" in (await person(board, delegate).decide(approval)).refused()
    (await person(board, "dora").decide(approval)).ok()
    await board.completes()


async def test_where_a_delegate_names_nobody_pausing_makes_nobody_the_author(board: Namespace) -> None:
    """Whoever it was may be one of two, and is not one alone."""
    (await person(board, OPERATOR).create(execution("run", "flow"))).ok()
    await pause_and_resume(person(board, "bob"))
    await board.apply(workflow("flow", [RELEASE]))
    found = await undecided(board)
    assert (found["spec"].get("author", ""), found["spec"]["authors"]) == ("", ["bob"])
    assert HAND in (await person(board, "bob").decide(found["metadata"]["name"])).refused()
    (await person(board, "alice").decide(found["metadata"]["name"])).ok()
    waits = await board.reaches("run", lambda held: "1 of 2" in (held.status.message or ""), "to wait for another")
    assert waits.status.phase == "Running"
    (await person(board, "dora").decide(found["metadata"]["name"])).ok()
    await board.completes()


async def test_whose_workflow_a_trigger_started(board: Namespace) -> None:
    trigger = {"name": "minutely", "cron": "* * * * *"}
    item = workflow("flow", [RELEASE], triggers=[trigger | {"suspend": True}])
    (await person(board, "alice").create(item)).ok()
    # What it starts is alice's still, though bob lets it.
    change = {"spec": {"triggers": [trigger]}}
    (await person(board, "bob").patch("workflow", "flow", change)).ok()
    found = await undecided(board, None, patience=A_MINUTE)
    assert (found["spec"]["author"], found["spec"]["authors"]) == ("bob", ["bob", "alice"])
    await only_dora(board, found, bob=AUTHOR, alice=HAND)
    await board.completes(found["spec"]["execution"]["name"])


async def test_whose_execution_made_it_as_a_child(board: Namespace) -> None:
    (await person(board, "alice").create(execution("run", "outer"))).ok()
    await pause_and_resume(person(board, "bob"))
    await board.apply(workflow("flow", [RELEASE]), workflow("outer", [{"name": "call", "workflow": "flow"}]))
    found = await undecided(board, None)
    child = found["spec"]["execution"]["name"]
    assert child != "run"
    # Neither what the child is recorded to be nor pausing it changes whose it is.
    change = {"metadata": {"annotations": {"ossa.dev/authors": None}}}
    assert (
        "nobody may set, change or remove it"
        in (await person(board, "bob").patch("execution", child, change)).refused()
    )
    await only_dora(board, found, alice=AUTHOR, bob=HAND)
    await board.completes()
    assert (await board.execution("run")).status.tasks["call"].approved_by == ["dora"]


async def test_who_retries_what_they_approved(board: Namespace) -> None:
    """carol's run, which alice approved; alice's retry is theirs both, and asks again."""
    await board.apply(
        board.shell_agent("worker", "exit 1"),
        workflow("flow", [RELEASE, task("deploy", "worker", after=["release"])]),
    )
    (await person(board, "carol").create(execution("first", "flow"))).ok()
    first = (await undecided(board, "first"))["metadata"]["name"]
    assert AUTHOR in (await person(board, "carol").decide(first)).refused()
    (await person(board, "alice").decide(first)).ok()
    await board.fails("first", reason="Error")

    again = execution("again", "flow")
    again["spec"] = {"workflow": "flow", "retryOf": "first"}
    (await person(board, "alice").create(again)).ok()
    found = await undecided(board, "again")
    held = await board.execution("again")
    assert held.status.authors == ["alice", "carol"]
    assert {name: one.phase for name, one in held.status.tasks.items()} == {"release": "Waiting", "deploy": "Pending"}
    await only_dora(board, found, alice=AUTHOR, carol=HAND)
    await board.fails("again", reason="Error")  # deploy was run

    # Of what dora approved and eve retries nobody is asked again.
    once_more = execution("once-more", "flow")
    once_more["spec"] = {"workflow": "flow", "retryOf": "again"}
    (await person(board, "eve").create(once_more)).ok()
    ended = await board.fails("once-more", reason="Error")
    assert ended.status.tasks["release"].output == {"approvedBy": ["dora"], "reasons": {}}
    assert ended.status.authors == ["eve", "alice", "carol"]


async def test_nobody_says_whose_an_execution_is(board: Namespace) -> None:
    item = execution("run", "flow")
    item["metadata"]["annotations"] = {"ossa.dev/authors": '["dora"]'}
    mallory = person(board, "mallory")
    assert "take it out of your manifest" in (await mallory.create(item)).refused()
    (await mallory.create(execution("run", "flow"))).ok()
    change = {"metadata": {"annotations": {"ossa.dev/authors": '["dora"]'}}}
    assert "take it out of your manifest" in (await mallory.patch("execution", "run", change)).refused()
