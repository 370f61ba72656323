"""What the gateway writes into Approvals for persons that signed in at it, as the API server itself lets it."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Namespace
from tests.e2e.harness.cluster import SYSTEM_NAMESPACE
from tests.e2e.harness.people import BOARD, Person, ask
from tests.e2e.harness.rights import grant

GATEWAY = f"system:serviceaccount:{SYSTEM_NAMESPACE}:ossa-gateway"
OTHERS = "nobody decides for another"
NO_APPROVER = "you are not among spec.approverUsers"


def entry(user: str) -> dict[str, object]:
    """The change that adds a user's decision."""
    return {"decisions": {user: {"verdict": "Approved"}}}


def gateway(namespace: Namespace) -> Person:
    """The gateway, with no more rights than it has."""
    return Person(GATEWAY, namespace, almighty=False)


async def test_it_adds_what_its_users_decide(namespace: Namespace) -> None:
    name = (await ask(namespace, author="ossa:alice", count=2))["metadata"]["name"]
    for user in ("ossa:bob", "ossa:carl"):
        (await gateway(namespace).patch("approval", name, entry(user))).ok()
    assert (await namespace.get("approvals", name))["decisions"].keys() == {"ossa:bob", "ossa:carl"}


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("bob", OTHERS),
        ("system:serviceaccount:team:robot", OTHERS),
        ("ossa:alice", "you are the author of this Execution"),
        (GATEWAY, "a user that acts for others"),
    ],
)
async def test_it_adds_nothing_else(namespace: Namespace, user: str, said: str) -> None:
    name = (await ask(namespace, author="ossa:alice"))["metadata"]["name"]
    assert said in (await gateway(namespace).patch("approval", name, entry(user))).refused()
    # With one honest entry beside it neither.
    both = {"decisions": {user: {"verdict": "Approved"}, "ossa:bob": {"verdict": "Approved"}}}
    assert said in (await gateway(namespace).patch("approval", name, both)).refused()
    assert (await namespace.get("approvals", name))["decisions"] == {}


async def test_users_that_are_named_are_the_only_ones(namespace: Namespace) -> None:
    name = (await ask(namespace, author="ossa:alice", approverGroups=[], approverUsers=["ossa:dora"]))["metadata"][
        "name"
    ]
    assert NO_APPROVER in (await gateway(namespace).patch("approval", name, entry("ossa:bob"))).refused()
    (await gateway(namespace).patch("approval", name, entry("ossa:dora"))).ok()


async def test_what_was_decided_is_final_for_it_too(namespace: Namespace) -> None:
    name = (await ask(namespace, author="ossa:alice", count=2))["metadata"]["name"]
    (await gateway(namespace).patch("approval", name, entry("ossa:bob"))).ok()
    other = {"decisions": {"ossa:bob": {"verdict": "Rejected"}}}
    assert "is final" in (await gateway(namespace).patch("approval", name, other)).refused()


async def test_nobody_else_writes_for_its_users(namespace: Namespace) -> None:
    await grant(namespace, "ossa-approver", group=BOARD)
    name = (await ask(namespace, author="ossa:alice"))["metadata"]["name"]
    eve = Person("eve", namespace, groups=(BOARD,))
    assert OTHERS in (await eve.patch("approval", name, entry("ossa:bob"))).refused()
