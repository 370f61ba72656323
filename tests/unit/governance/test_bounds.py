"""What the dearest policy that is taken costs the process: so many evaluations, each of so many turns of its loops.

A bound by count, since a judgement holds up the event loop. What an evaluation goes over is bounded beside
(tests/unit/engine/test_work.py).
"""

from __future__ import annotations

from collections import Counter

import pytest

from ossa.api.policy import MAX_RULES, MAX_VARIABLES, POLICY_LIMIT
from ossa.engine.cel.programs import Program
from ossa.governance.policies import CompiledPolicy, InvalidPolicyError
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question
from tests.unit.governance.conftest import Made

CONDITIONS = 16
ITERATIONS = 10_000
NESTED = "object.spec.l.all(a, object.spec.l.all(b, a + b >= {}))"


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each expression ran."""
    found: Counter[str] = Counter()
    run = Program._run

    def counted(self: Program, data: dict[str, object]) -> object:
        found[self.text] += 1
        return run(self, data)

    monkeypatch.setattr(Program, "_run", counted)
    return found


def dearest(made: Made, name: str = "dear") -> CompiledPolicy:
    """As many expressions as one may hold, all of which are read, and loops in each."""
    variables = [{"name": f"v{n}", "expression": NESTED.format(-n)} for n in range(MAX_VARIABLES)]
    all_of_them = " && ".join(f"variables.v{n}" for n in range(24))  # of more terms is no expression
    rules = [
        {
            "expression": f"!({all_of_them}) || variables.v{n} && !({NESTED.format(-100 - n)})",
            "messageExpression": f"{NESTED.format(-200 - n)} ? 'met' : 'not met'",
        }
        for n in range(MAX_RULES)
    ]
    conditions = [{"name": f"c{n}", "expression": NESTED.format(-300 - n)} for n in range(CONDITIONS)]
    return made.policy(*rules, name=name, variables=variables, matchConditions=conditions)


def question(made: Made, items: int) -> Question:
    return made.question(bindings={"object": {"spec": {"l": list(range(items))}}, "oldObject": None})


def test_the_dearest_policy_is_so_many_evaluations_whatever_it_reads_of_itself(
    made: Made, evaluated: Counter[str]
) -> None:
    policy = dearest(made)
    (said,) = PolicySet((policy,)).judge(question(made, 99), made.now).judged
    assert len(said.violations) == MAX_RULES
    assert {violation.message for violation in said.violations} == {"met"}
    # A variable is made once, though every rule reads it.
    assert set(evaluated.values()) == {1}
    assert evaluated.total() == CONDITIONS + MAX_VARIABLES + 2 * MAX_RULES


@pytest.mark.parametrize(
    ("items", "expression"),
    [
        (101, NESTED.format(0)),
        (99, f"{NESTED.format(0)} && {NESTED.format(-1)}"),
        (22, "object.spec.l.all(a, object.spec.l.all(b, object.spec.l.all(c, true)))"),
        (999, " && ".join(f"object.spec.l.all(a, a >= -{n})" for n in range(11))),
    ],
)
def test_all_loops_of_an_evaluation_share_one_budget(made: Made, items: int, expression: str) -> None:
    """Nested or side by side."""
    (said,) = PolicySet((made.policy(expression),)).judge(question(made, items), made.now).judged
    assert said.outcome == "error"
    assert f"it loops more than {ITERATIONS:,} times" in said.violations[0].message


def test_rules_that_are_judged_together_share_it_and_are_then_judged_alone(made: Made, evaluated: Counter[str]) -> None:
    """Many cheap policies are one evaluation; where that is too much, each has its own, and no more than that."""
    policies = tuple(made.policy(NESTED.format(-n), name=f"p{n}") for n in range(10))
    verdict = PolicySet(policies).judge(question(made, 99), made.now)
    assert [said.outcome for said in verdict.judged] == ["pass"] * 10
    assert evaluated.total() <= len(policies) + 1


def test_a_policy_of_the_longest_expressions_is_too_large(made: Made) -> None:
    """All that a policy says is bounded as well, so that no turn of a loop can be long by its text."""
    long = f"object.spec.owner != '{'x' * 4000}'"
    assert len(long) * (MAX_RULES + MAX_VARIABLES) > POLICY_LIMIT
    with pytest.raises(InvalidPolicyError, match="bytes of JSON, and at most"):
        made.policy(*([long] * MAX_RULES))


def test_a_rule_that_would_go_over_too_much_has_no_value_and_the_others_are_judged(made: Made) -> None:
    """However many are judged together."""
    dear = made.policy("object.spec.l.all(a, object.spec.l.all(b, !object.spec.t.contains(a + b)))", name="dear")
    cheap = made.policy("object.spec.l.all(a, a != 'z')", "object.spec.t != ''", name="cheap")
    asked = made.question(bindings={"object": {"spec": {"l": ["a"] * 99, "t": "x" * 1_000_000}}, "oldObject": None})
    said = {said.policy: said for said in PolicySet((dear, cheap)).judge(asked, made.now).judged}
    assert {name: one.outcome for name, one in said.items()} == {"dear": "error", "cheap": "pass"}
    assert "at most 100 million are taken" in said["dear"].violations[0].message
