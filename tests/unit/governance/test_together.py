"""Rules that are evaluated together say what each says alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ossa.governance.policies import CompiledPolicy
from ossa.governance.policyset import PolicySet
from ossa.governance.together import AT_ONCE, surely_met
from tests.unit.governance.conftest import Made

RULES = (
    "object.spec.owner == 'data-team'",
    "object.spec.risk != 'high'",
    "object.spec.missing == 1",
    "object.spec.owner",
    "object.spec.list.all(x, x > 0) // each of them",
    "has(object.spec.missing) ? object.spec.missing == 1 : true",
    "now > timestamp('2020-01-01T00:00:00Z') || false",
)
BINDINGS: dict[str, Any] = {
    "object": {"spec": {"owner": "data-team", "risk": "high", "list": [1, 2, 3]}},
    "oldObject": None,
}


def outcomes(policies: tuple[CompiledPolicy, ...], made: Made) -> dict[str, tuple[str, str]]:
    verdict = PolicySet(policies).judge(made.question(bindings=BINDINGS), made.now)
    return {held.policy: (held.outcome, held.message) for held in verdict.judged}


@pytest.mark.parametrize("size", [2, 3, len(RULES)])
def test_whatever_stands_beside_a_rule_it_says_the_same(size: int, made: Made) -> None:
    policies = [made.policy(rule, name=f"p{number}") for number, rule in enumerate(RULES)]
    alone = {name: said for policy in policies for name, said in outcomes((policy,), made).items()}
    assert {said[0] for said in alone.values()} == {"pass", "fail", "error"}
    for some in itertools.combinations(policies, size):
        assert outcomes(some, made) == {policy.name: alone[policy.name] for policy in some}


def test_only_what_is_true_for_sure_is_met(made: Made) -> None:
    def met(*policies: CompiledPolicy) -> frozenset[str]:
        return surely_met(policies, {**BINDINGS, "now": made.now})

    true = [made.policy("object.spec.owner != ''", name=f"t{number}") for number in range(2 * AT_ONCE)]
    assert met(*true) == {policy.name for policy in true}
    false = made.policy("object.spec.owner == ''", name="false")
    # The first list is as it was; of the second nothing is known.
    assert met(*true[:-1], false) == {policy.name for policy in true[:AT_ONCE]}
    condition = made.policy("true", name="c", matchConditions=[{"name": "c", "expression": "false"}])
    assert met(condition, condition) == frozenset()
    assert met(made.policy("object.spec.owner", name="text"), true[0]) == frozenset()
    assert met(true[0]) == frozenset()
