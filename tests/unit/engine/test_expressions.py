"""Templates and conditions: values that hold ${{ CEL }}."""

from __future__ import annotations

import pytest

from ossa.engine.expressions import CompileError, EvalError, parse_condition, parse_template
from tests.unit.engine.world import reference

INPUTS: dict[str, object] = {"n": 3, "f": 2.5, "s": "text", "l": [1, "x"], "o": {"k": None}, "r": reference()}
BINDINGS: dict[str, object] = {
    "inputs": INPUTS,
    "tasks": {"a": {"output": {"n": 1}, "phase": "Completed"}},
}


def evaluate(value: object) -> object:
    return parse_template(value, "spec.input").evaluate(BINDINGS)


@pytest.mark.parametrize("name", ["n", "f", "s", "l", "o", "r"])
def test_one_expression_keeps_its_type(name: str) -> None:
    assert evaluate(f"${{{{ inputs.{name} }}}}") == INPUTS[name]
    assert evaluate(f"${{{{inputs.{name}}}}}") == INPUTS[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n is ${{ inputs.n }}", "n is 3"),
        ("${{ inputs.n }}${{ inputs.f }}", "32.5"),
        (" ${{ inputs.s }}", " text"),
        ("${{ inputs.l }}!", '[1,"x"]!'),
        ("${{ inputs.o }} ${{ inputs.n > 2 }} ${{ null }}", '{"k":null} true null'),
        ("no expression", "no expression"),
        ("$ { {{ }} ${ x }", "$ { {{ }} ${ x }"),
        ("", ""),
    ],
)
def test_anything_else_is_text(text: str, expected: str) -> None:
    assert evaluate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("${{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
        ("${{{'a': 1}}}", {"a": 1}),
        ("${{ '}}' }}", "}}"),
        ('${{ "}}\\"}}" }}', '}}"}}'),
        ("${{ '''a'}}'b''' }}", "a'}}'b"),
        ("${{ r'\\d}}' }} x", "\\d}} x"),
        ("${{ '${{' }}", "${{"),
        ("a ${{ '}}' }} b ${{ {} }} c", "a }} b {} c"),
        ("${{ 1 // }} it's a comment\n }}", 1),
        ("${{\n  inputs.n +\n  1\n}}", 4),
        ("${{ 'é }} ü' }}", "é }} ü"),
    ],
)
def test_braces_in_strings_and_maps_do_not_end_an_expression(text: str, expected: object) -> None:
    assert evaluate(text) == expected


@pytest.mark.parametrize("text", ["${{ inputs.n", "${{ 'a }}", "x ${{ {'a': 1 }}", "${{ 1 // }}", "${{"])
def test_an_expression_that_is_not_closed_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match=r"^spec\.input: .* closed"):
        parse_template(text, "spec.input")


def test_errors_name_the_field_and_the_expression() -> None:
    template = {"records": [{"a-b": "${{ inputs.none }}"}]}
    with pytest.raises(
        EvalError, match=r"^spec\.tasks\[2\]\.input\.records\[0\]\['a-b'\]: `inputs\.none`: inputs has no"
    ):
        parse_template(template, "spec.tasks[2].input").evaluate(BINDINGS)
    with pytest.raises(CompileError, match=r"^spec\.outputs\.x: `none\.x`: at character 5: undeclared reference"):
        parse_template({"x": "${{ none.x }}"}, "spec.outputs")
    with pytest.raises(CompileError, match=r"^spec\.outputs\.x: ``: the expression is empty"):
        parse_template({"x": "${{ }}"}, "spec.outputs")


def test_an_artifact_cannot_be_put_in_a_text() -> None:
    with pytest.raises(EvalError, match="cannot be put in a text"):
        evaluate("the records: ${{ inputs.r }}")


def test_keys_hold_no_expressions() -> None:
    with pytest.raises(CompileError, match="may stand in values alone"):
        parse_template({"${{ inputs.s }}": 1}, "spec.input")


def test_depth_is_limited() -> None:
    value: object = "${{ inputs.n }}"
    for _ in range(5000):
        value = [value]
    with pytest.raises(CompileError, match="deeper than 64 levels"):
        parse_template(value, "spec.input")


def test_the_tasks_of_all_parts_are_known() -> None:
    template = parse_template({"x": ["${{ tasks.a.output.n }}", "a ${{ tasks['b-c'].phase }}"], "y": 1}, "spec.input")
    assert template.tasks == {"a", "b-c"}
    assert {path for path, _ in template.reads} == {"spec.input.x[0]", "spec.input.x[1]"}


def test_a_condition_is_true_only_for_true() -> None:
    assert parse_condition("${{ inputs.n > 2 && tasks.a.output.n == 1 }}", "w").test(BINDINGS) is True
    assert parse_condition("${{ inputs.n > 3 }}", "w").test(BINDINGS) is False
    for text in ("inputs.n", "inputs.s", "inputs.l", "inputs.o.k", "inputs.none", "inputs.none > 1", "inputs.s > 1"):
        condition = parse_condition(f"${{{{ {text} }}}}", "spec.tasks[0].when")
        with pytest.raises(EvalError, match=r"^spec\.tasks\[0\]\.when: "):
            condition.test(BINDINGS)


@pytest.mark.parametrize(
    "text", ["inputs.n > 1", "x ${{ true }}", "${{ true }}${{ true }}", "true", " ${{ true }}", "${{ 1 }}"]
)
def test_a_condition_is_one_expression_that_may_be_true(text: str) -> None:
    with pytest.raises(CompileError, match=r"^spec\.when: "):
        parse_condition(text, "spec.when")
