"""A change costs the pairs of objects and policies that it concerns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ossa.api.policyexception import AgentPolicyException
from ossa.governance.agenda import Agenda, difference
from ossa.governance.findings import ObjectKey
from ossa.governance.policyset import PolicySet
from tests.unit.governance.conftest import Made

A: ObjectKey = ("Agent", "team-a", "a")
B: ObjectKey = ("Agent", "team-a", "b")


def test_changes_of_one_object_come_together() -> None:
    held = Agenda()
    held.add(A, frozenset({"p"}))
    held.add(A, frozenset({"q"}))
    held.add(B, frozenset({"p"}))
    held.add(B)
    held.add(B, frozenset({"q"}))
    assert held.take(10) == {A: frozenset({"p", "q"}), B: None}
    assert held.take(10) == {}


def test_changes_go_before_what_is_looked_at_again() -> None:
    held = Agenda()
    keys: list[ObjectKey] = [("Agent", "n", str(number)) for number in range(5)]
    held.again(keys)
    held.again(keys[:2])
    assert len(held) == 5
    held.add(A)
    assert held.take(2) == {A: None}
    assert list(held.take(2)) == keys[:2]
    held.add(B)
    assert held.take(2) == {B: None}
    assert not held.again_ended
    assert list(held.take(9)) == keys[2:]
    assert held.again_ended


def exception(name: str = "e", **spec: object) -> AgentPolicyException:
    target = {"kind": "Agent", "name": "a", "specHash": "sha256:" + "0" * 64}
    held = {"policy": "p", "target": target, "owner": "o", "reason": "r", "expiresAt": "2026-02-01T00:00:00Z", **spec}
    return AgentPolicyException.model_validate(
        {"apiVersion": "a", "kind": "k", "metadata": {"name": name, "namespace": "team-a"}, "spec": held}
    )


@pytest.fixture
def before(made: Made) -> PolicySet:
    reads = made.policy("params.a == 'b'", name="reads", params={"namespace": "n", "name": "m"})
    return PolicySet((made.policy("true", name="p"), reads), {("n", "m"): {"a": "b"}}, (exception(),))


def test_nothing_differs(before: PolicySet) -> None:
    found = difference(before, replace(before))
    assert (found.policies, found.gone, found.exceptions) == (frozenset(), frozenset(), frozenset())


def test_policies_that_are_new_and_gone(made: Made, before: PolicySet) -> None:
    fresh = replace(made.policy("false", name="p"), generation=9)
    found = difference(before, replace(before, policies=(fresh, made.policy("true", name="new"))))
    assert (found.policies, found.gone) == (frozenset({"p", "new"}), frozenset({"reads"}))


def test_params_concern_those_that_read_them(before: PolicySet) -> None:
    assert difference(before, replace(before, params={("n", "m"): {"a": "c"}})).policies == {"reads"}
    assert difference(before, replace(before, params={})).policies == {"reads"}


def test_exceptions_concern_their_policy_and_namespace(before: PolicySet) -> None:
    both = replace(before, exceptions=(exception(), exception("f", policy="reads")))
    assert difference(before, both).exceptions == {("reads", "team-a")}
    assert difference(both, before).exceptions == {("reads", "team-a")}
    assert difference(before, replace(before, exceptions=())).exceptions == {("p", "team-a")}
    other = replace(before, exceptions=(exception(reason="another"),))
    assert difference(before, other).exceptions == {("p", "team-a")}
