"""What a policy's expressions may be, and how it is said what is wrong with them."""

from __future__ import annotations

import pytest

from ossa.governance.policies import InvalidPolicyError, compile_policy
from tests.unit.governance.conftest import Made


def problems(made: Made, *rules: object, **spec: object) -> list[str]:
    with pytest.raises(InvalidPolicyError) as caught:
        compile_policy(made.resource(*rules, **spec))  # type: ignore[arg-type]
    return caught.value.problems


def test_a_broken_expression_is_named_with_its_field_and_position(made: Made) -> None:
    (problem,) = problems(made, "object.spec.owner ==")
    assert problem.startswith("spec.rules[0].expression: `object.spec.owner ==`: at character ")


def test_all_that_is_wrong_is_said_at_once(made: Made) -> None:
    found = problems(made, "nobody == 1", "1 + 1", variables=[{"name": "v", "expression": "(("}])
    assert [problem.split(":")[0] for problem in found] == [
        "spec.variables[0].expression",
        "spec.rules[0].expression",
        "spec.rules[1].expression",
    ]


def test_a_root_that_the_kind_does_not_have_is_refused_in_words(made: Made) -> None:
    (problem,) = problems(made, "plan.tasks.size() > 0", match={"kinds": ["Workflow", "Agent"]})
    assert problem == (
        "spec.rules[0].expression: `plan` is not in scope for Agent, which spec.match.kinds names; "
        "it is for Workflow, Execution, Task: give these a policy of their own"
    )


def test_output_is_for_the_end_of_an_attempt_alone(made: Made) -> None:
    (problem,) = problems(made, "has(output.pii)", match={"kinds": ["Task"]})
    assert "set spec.match.operations to [END]" in problem
    assert made.policy("!has(output.pii)", match={"kinds": ["Task"], "operations": ["END"]}).reads == {"output"}


def test_a_rule_must_be_able_to_be_true(made: Made) -> None:
    (problem,) = problems(made, "size(object.spec)")
    assert "is never true or false" in problem


def test_variables_read_those_before_them_and_no_others(made: Made) -> None:
    first, second = {"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "object.spec.risk"}
    (problem,) = problems(made, "variables.a == ''", variables=[first, second])
    assert problem == "spec.variables[0].expression: it reads variables.b, which does not stand before it"
    (problem,) = problems(made, "variables.c == ''")
    assert problem == "spec.rules[0].expression: there is no variable 'c' in spec.variables"


def test_a_name_is_given_once(made: Made) -> None:
    rule = {"name": "same", "expression": "true"}
    assert problems(made, rule, rule) == ["spec.rules[1].name: the name 'same' is taken"]


def test_what_could_fill_the_memory_or_is_nested_too_deeply_is_refused(made: Made) -> None:
    doubled = "[object.spec.owner]" + ".map(x, x + x)" * 14
    (problem,) = problems(made, f"{doubled}.size() > 0")
    assert "could grow beyond what fits in memory" in problem
    (problem,) = problems(made, "(" * 60 + "true" + ")" * 60)
    assert "nested too deeply" in problem


def test_a_policy_is_no_program(made: Made) -> None:
    rules = [{"expression": f"object.spec.owner != '{n}{'x' * 3900}'"} for n in range(20)]
    (problem,) = problems(made, *rules)
    assert problem.startswith("spec: is ")
    assert "at most 65536 are taken; make several policies of it" in problem
