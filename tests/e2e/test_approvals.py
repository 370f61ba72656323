"""Approvals on the real API server: who may decide, and that nobody gets around it, with no process of ours asked."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.kube import paths
from ossa.kube.client import NotFound, Refused
from tests.e2e.harness import Namespace
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.people import BOARD, Person, ask, operator
from tests.e2e.harness.rights import grant

YES = {"verdict": "Approved"}


def member(namespace: Namespace, name: str) -> Person:
    """An approver, with the rights that the chart's role gives and no more."""
    return Person(name, namespace, groups=(BOARD,), almighty=False)


async def decisions(namespace: Namespace, name: str) -> JSONObject:
    """What was decided."""
    return dict((await namespace.get("approvals", name))["decisions"])


@pytest.fixture
async def asked(namespace: Namespace) -> str:
    """An Approval that waits for two of the risk board or dora; its author is alice, and bob has approved."""
    await grant(namespace, "ossa-approver", group=BOARD)
    name: str = (await ask(namespace, count=2, approverUsers=["dora@example.com"]))["metadata"]["name"]
    (await member(namespace, "bob").decide(name, reason="looks good")).ok()
    return name


# --- honest ways -------------------------------------------------------------------------------------------------


async def test_approvers_append_their_decisions_whatever_their_names(namespace: Namespace, asked: str) -> None:
    robot, odd = "system:serviceaccount:team:robot", "a/b~c@example.com"
    (await member(namespace, robot).decide(asked, "Rejected", reason="not on a Friday")).ok()
    # A JSON patch escapes / and ~ in a key.
    operation = {"op": "add", "path": "/decisions/a~1b~0c@example.com", "value": YES}
    (await member(namespace, odd).patch("approval", asked, [operation])).ok()
    (await Person("dora@example.com", namespace).decide(asked)).ok()
    assert await decisions(namespace, asked) == {
        "bob": {"verdict": "Approved", "reason": "looks good"},
        robot: {"verdict": "Rejected", "reason": "not on a Friday"},
        odd: YES,
        "dora@example.com": YES,
    }


async def test_the_same_decision_again_changes_nothing(namespace: Namespace, asked: str) -> None:
    before = await namespace.get("approvals", asked)
    (await member(namespace, "bob").decide(asked, reason="looks good")).ok()
    assert await namespace.get("approvals", asked) == before


async def test_the_operator_tells_how_it_ended_and_that_ends_it(namespace: Namespace, asked: str) -> None:
    status = {"state": "Approved", "approved": "2/2", "approvedBy": ["bob", "carl"]}
    (await member(namespace, "carl").decide(asked)).ok()
    # kubectl reads before it patches, which the operator has no right to.
    almighty = Person(operator(namespace).name, namespace)
    (await almighty.patch("approval", asked, {"status": status}, "--subresource=status")).ok()
    shown = (await namespace.kubectl("get", "oappr")).ok().splitlines()
    assert shown[0].split() == ["NAME", "EXECUTION", "TASK", "STATE", "APPROVED", "AGE"]
    assert shown[1].split()[:5] == [asked, "run", "release", "Approved", "2/2"]
    said = (await member(namespace, "eve").decide(asked, "Rejected")).refused()
    assert "has been decided or has expired; nothing may be added" in said


async def test_the_command(namespace: Namespace) -> None:
    me = (await namespace.kubectl("auth", "whoami", "-o", "json")).json()["status"]["userInfo"]["username"]
    await ask(namespace, approverUsers=[me, "dora@example.com"], count=2)
    await ask(namespace, task="publish")
    await ask(namespace, task="own", author=me)

    listed = {item["task"]: item for item in (await namespace.ossa("approvals", "-o", "json")).json()}
    assert listed.keys() == {"own", "publish", "release"}
    first = listed["release"]
    assert (first["execution"], first["needed"], first["decisions"]) == ("run", 2, {})
    shown = (await namespace.ossa("approvals")).ok()
    assert shown.split()[:3] == ["EXECUTION", "TASK", "APPROVED"]
    assert f"risk-board, {me} or dora@example.com" in shown

    said = (await namespace.ossa("approve", "run", "release", "--reason", "tested")).ok()
    assert said.strip().endswith(f"approved by {me} (1 of 2)")
    assert "already approved by" in (await namespace.ossa("approve", "run", "release")).ok()
    for arguments, code, words in [
        (("reject", "run", "release"), 4, "have approved this already, and a decision is final"),
        (("approve", "run", "publish"), 4, "you are not among spec.approverUsers"),
        (("approve", "run", "own"), 4, "you are the author of this Execution"),
        (("approve", "run", "relase"), 4, "It waits for an approval of: own, publish, release"),
    ]:
        ended = await namespace.ossa(*arguments)
        assert (ended.code, words in ended.err) == (code, True), ended
    waiting = (await namespace.ossa("approvals", "-o", "json")).json()
    given = {item["task"]: item["decisions"] for item in waiting}
    assert given == {"release": {me: {"verdict": "Approved", "reason": "tested"}}, "publish": {}, "own": {}}


async def test_it_goes_with_its_execution(namespace: Namespace, asked: str) -> None:
    (await namespace.kubectl("delete", "execution", "run")).ok()
    await _is_gone(namespace, paths.ossa("approvals", namespace.name, asked))


async def test_it_goes_with_its_namespace_even_where_it_was_orphaned(namespace: Namespace, asked: str) -> None:
    (await namespace.kubectl("delete", "execution", "run", "--cascade=orphan")).ok()

    async def orphaned() -> bool:
        return "ownerReferences" not in (await namespace.get("approvals", asked))["metadata"]

    await namespace.wait(orphaned, "the approval to lose its owner")
    (await namespace.kubectl("delete", "namespace", namespace.name, "--wait=false")).ok()
    await _is_gone(namespace, paths.ossa("approvals", namespace.name, asked))


async def _is_gone(namespace: Namespace, path: str) -> None:
    async def look() -> bool:
        try:
            await namespace.cluster.api.get(path)
        except NotFound:
            return True
        return False

    await namespace.wait(look, f"{path} to be gone")


# --- attacks -----------------------------------------------------------------------------------------------------

FINAL = "what somebody decided is final: entries may be added, but not changed or removed"
OTHERS = "nobody decides for another: add an entry whose key is your own user name"
METADATA = (
    "labels, annotations that begin with ossa.dev/, ownerReferences and finalizers of an Approval are written by the"
)
# Who (with every right there is), their groups, the change, and what they are told.
CHANGES: dict[str, tuple[str, tuple[str, ...], Any, str]] = {
    "changes the approvers and approves in one patch": (
        "mallory",
        (),
        {"spec": {"approverUsers": ["mallory"]}, "decisions": {"mallory": YES}},
        "is immutable",
    ),
    "lowers the count": ("eve", (BOARD,), {"spec": {"count": 1}}, "is immutable"),
    "decides for another": ("eve", (BOARD,), {"decisions": {"carl": YES}}, OTHERS + ', "eve"'),
    "decides for another besides": ("eve", (BOARD,), {"decisions": {"eve": YES, "carl": YES}}, OTHERS),
    "writes another form of the name": ("eve", (BOARD,), {"decisions": {"Eve": YES}}, OTHERS),
    "changes another's entry": ("eve", (BOARD,), {"decisions": {"bob": {"verdict": "Rejected"}}}, FINAL),
    "changes the own entry": ("bob", (BOARD,), {"decisions": {"bob": {"verdict": "Rejected"}}}, FINAL),
    "changes the own reason": ("bob", (BOARD,), {"decisions": {"bob": {"reason": "other"}}}, FINAL),
    "removes the own reason": ("bob", (BOARD,), {"decisions": {"bob": {"reason": None}}}, FINAL),
    "removes an entry": ("eve", (BOARD,), {"decisions": {"bob": None}}, FINAL),
    "removes all": ("eve", (BOARD,), {"decisions": None}, FINAL),
    "swaps an entry for the own": ("eve", (BOARD,), {"decisions": {"bob": None, "eve": YES}}, FINAL),
    "approves their own execution": ("alice", (BOARD,), {"decisions": {"alice": YES}}, "you are the author"),
    "rejects their own execution": (
        "alice",
        (BOARD,),
        {"decisions": {"alice": {"verdict": "Rejected"}}},
        "you are the author",
    ),
    "is no approver": ("mallory", ("risk-boards",), {"decisions": {"mallory": YES}}, "you are not among spec.approver"),
    "has no groups": ("mallory", (), {"decisions": {"mallory": YES}}, "you are not among spec.approverUsers"),
    "says something else": ("eve", (BOARD,), {"decisions": {"eve": {"verdict": "Maybe"}}}, "Unsupported value"),
    "takes it from its execution": ("eve", (BOARD,), {"metadata": {"ownerReferences": None}}, METADATA),
    "gives it another label": ("eve", (BOARD,), {"metadata": {"labels": {"ossa.dev/task": "x"}}}, METADATA),
    "takes a label": ("eve", (BOARD,), {"metadata": {"labels": {"ossa.dev/execution": None}}}, METADATA),
    "annotates it as the operator would": (
        "eve",
        (BOARD,),
        {"metadata": {"annotations": {"ossa.dev/a": "x"}}},
        METADATA,
    ),
    "keeps it from being deleted": ("eve", (BOARD,), {"metadata": {"finalizers": ["example.com/x"]}}, METADATA),
}


async def test_every_way_around_is_refused(namespace: Namespace, asked: str) -> None:
    before = await namespace.get("approvals", asked)
    for what, (name, groups, change, words) in CHANGES.items():
        said = (await Person(name, namespace, groups).patch("approval", asked, change)).refused()
        assert words in said, f"{what}: {said}"
    assert await namespace.get("approvals", asked) == before


async def test_status_is_the_operators(namespace: Namespace, asked: str) -> None:
    for person in (Person("eve", namespace, (BOARD,)), Person("alice", namespace)):
        change = {"status": {"state": "Approved"}}
        said = (await person.patch("approval", asked, change, "--subresource=status")).refused()
        assert "status is written by the OSSA operator alone" in said
        # On the object itself a status is not looked at.
        (await person.patch("approval", asked, change)).ok()
    assert (await namespace.get("approvals", asked))["status"] == {"state": "Pending"}


async def test_the_operator_decides_nothing(namespace: Namespace) -> None:
    robot = Person(operator(namespace).name, namespace, groups=(BOARD,))
    name = (await ask(namespace))["metadata"]["name"]
    assert "is no person and decides nothing" in (await robot.decide(name)).refused()
    said = (await robot.patch("approval", name, {"decisions": {"bob": YES}})).refused()
    assert "nobody decides for another" in said
    said = (await robot.patch("approval", name, {"spec": {"count": 3}})).refused()
    assert "is immutable" in said
    assert await decisions(namespace, name) == {}


async def test_nobody_makes_one_that_is_approved_already(namespace: Namespace, asked: str) -> None:
    made = await namespace.get("approvals", asked)
    forged = {key: made[key] for key in ("apiVersion", "kind", "spec")}
    forged["metadata"] = {"name": "forged", "ownerReferences": made["metadata"]["ownerReferences"]}
    said = (await Person("eve", namespace, (BOARD,)).create({**forged, "decisions": {"eve": YES}})).refused()
    assert "an Approval is made by the OSSA operator alone" in said
    assert "an Approval is made by the OSSA operator alone" in (await Person("eve", namespace).create(forged)).refused()
    said = (await operator(namespace).create({**forged, "decisions": {"bob": YES}})).refused()
    assert "an Approval is made without decisions" in said
    (await operator(namespace).create({**forged, "status": {"state": "Approved"}})).ok()
    assert (await namespace.get("approvals", "forged"))["status"] == {"state": "Pending"}


async def test_nobody_deletes_one_and_with_it_what_was_decided(namespace: Namespace, asked: str) -> None:
    for who in (Person("bob", namespace, (BOARD,)), Person("alice", namespace)):
        for command in (("delete", "approval", asked), ("delete", "approvals", "--all")):
            said = (await who.kubectl(*command)).refused()
            assert "goes with its Execution; delete the Execution, or say no with `ossa reject`" in said
    said = (await namespace.kubectl("delete", "approval", asked, "--cascade=foreground")).refused()
    assert "goes with its Execution" in said
    with pytest.raises(Refused, match="goes with its Execution"):  # the whole collection in one request
        await namespace.cluster.api.delete(paths.ossa("approvals", namespace.name))
    assert list(await decisions(namespace, asked)) == ["bob"]


async def test_rights_alone_do_not_decide_and_starting_gives_none(namespace: Namespace, asked: str) -> None:
    await grant(namespace, "ossa-edit", group="developers")
    developer = Person("carl", namespace, groups=("developers", BOARD + "-fans"), almighty=False)
    assert "cannot patch resource" in (await developer.decide(asked)).refused()
    (await developer.kubectl("get", "approvals")).ok()
    stranger = Person("zoe", namespace, groups=("guests",), almighty=False)
    await grant(namespace, "ossa-approver", group="guests")
    assert "you are not among spec.approverUsers" in (await stranger.decide(asked)).refused()
