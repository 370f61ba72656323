"""Which policies the API server can hold, and what it is given. That it says the same is an end-to-end test's part."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.governance.native import Native, NotNative, native_of
from tests.unit.governance.conftest import Made


def native(made: Made, *rules: Any, **spec: Any) -> Native:
    found = native_of(made.policy(*rules, **spec), excluded_namespaces=("kube-system",))
    assert isinstance(found, Native), found
    return found


def test_a_policy_and_its_binding(made: Made) -> None:
    held = native(
        made,
        {"expression": "object.spec.owner != ''", "message": "name an\nowner"},
        match={"kinds": ["Workflow", "Agent"], "namespaces": ["team-a"]},
        failurePolicy="Ignore",
        action="Audit",
    )
    metadata = held.policy["metadata"]
    assert metadata["name"] == held.binding["metadata"]["name"] == "ossa-policy-a-policy"
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("AgentPolicy", "a-policy", "uid-a-policy")
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "ossa", "ossa.dev/policy": "a-policy"}
    spec = held.policy["spec"]
    assert spec["failurePolicy"] == "Ignore"
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["agents", "workflows"], ["CREATE", "UPDATE"])
    assert spec["matchConstraints"]["namespaceSelector"]["matchExpressions"] == [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a"]},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
    ]
    # The API server takes no line breaks in a message.
    (validation,) = spec["validations"]
    assert (validation["expression"], validation["message"]) == (
        "object.spec.owner != ''",
        "policy 'a-policy': name an owner",
    )
    assert held.binding["spec"] == {"policyName": "ossa-policy-a-policy", "validationActions": ["Audit"]}


@pytest.mark.parametrize(
    ("action", "wanted"), [("Enforce", ["Deny", "Audit"]), ("Warn", ["Warn"]), ("Audit", ["Audit"])]
)
def test_actions(made: Made, action: str, wanted: list[str]) -> None:
    assert native(made, "object.spec.owner != ''", action=action).binding["spec"]["validationActions"] == wanted


def test_in_an_emergency_nobody_is_refused(made: Made) -> None:
    def conditions(action: str) -> list[str]:
        found = native_of(made.policy("has(object.spec.a)", action=action), break_glass=("fire", "b'"))
        assert isinstance(found, Native)
        return [
            held["expression"] for held in found.policy["spec"]["matchConditions"] if held["name"] == "no-emergency"
        ]

    assert conditions("Audit") == []
    (held,) = conditions("Enforce")
    assert 'request.userInfo.groups.exists(g, g in ["b\'", "fire"])' in held


def test_what_may_be_no_bool_is_made_one(made: Made) -> None:
    rules = [{"expression": text} for text in ("object.spec.userFacing", "has(object.spec.data)", "variables.a // why")]
    variables = [{"name": "a", "expression": "object.spec.b"}]
    found = native(made, *rules, variables=variables).policy["spec"]
    assert [rule["expression"] for rule in found["validations"]] == [
        "(object.spec.userFacing) ? true : false",
        "has(object.spec.data)",
        "(variables.a // why\n) ? true : false",
    ]
    assert found["variables"] == variables


def test_a_variable_without_a_value_is_an_error_wherever_it_is_read(made: Made) -> None:
    variables = [{"name": "a", "expression": "object.spec.a"}, {"name": "b", "expression": "variables.a && true"}]
    spec = native(made, "variables.a || variables.b", "variables.b == 1", variables=variables).policy["spec"]
    assert [rule["expression"] for rule in spec["validations"]] == [
        "(variables.a == variables.a && variables.b == variables.b) ? (variables.a || variables.b) : false",
        "variables.b == 1",
    ]
    assert spec["variables"][1]["expression"] == "(variables.a == variables.a) ? (variables.a && true) : dyn(null)"


def test_conditions_keep_their_order(made: Made) -> None:
    conditions = [{"name": "a", "expression": "has(object.spec.a)"}, {"name": "b", "expression": "object.spec.a > 1"}]
    found = native(made, "has(object.spec.c)", matchConditions=conditions).policy["spec"]["matchConditions"]
    assert found[-1]["expression"] == "(has(object.spec.a)) ? ((object.spec.a > 1) ? true : false) : false"


def test_a_change_of_labels_is_looked_at_where_a_policy_reads_them(made: Made) -> None:
    def changed(rule: str, **spec: Any) -> str:
        conditions = native(made, rule, **spec).policy["spec"]["matchConditions"]
        return next(str(held["expression"]) for held in conditions if held["name"] == "changed")

    assert "metadata.labels" not in changed("has(object.spec.owner)")
    assert "metadata.labels" in changed("has(object.metadata.labels)")
    assert "metadata.labels" in changed(
        "has(object.spec.owner)", match={"kinds": ["Agent"], "objectSelector": {"matchLabels": {"a": "b"}}}
    )


def test_texts_are_escaped(made: Made) -> None:
    selector = {"matchLabels": {"it's": 'a"b\\'}}
    found = native(made, "has(object.spec.a)", match={"kinds": ["Agent"], "objectSelector": selector})
    (selected,) = (c for c in found.policy["spec"]["matchConditions"] if c["name"] == "selected")
    assert r'["a\"b\\"]' in selected["expression"]


def test_a_message_is_computed_where_it_is_seen_to_be_a_text(made: Made) -> None:
    def said(text: str) -> object:
        rule = {"expression": "has(object.spec.a)", "message": "m", "messageExpression": text}
        return native(made, rule).policy["spec"]["validations"][0].get("messageExpression")

    assert (
        said("'owner of ' + object.metadata.name") == "\"policy 'a-policy': \" + ('owner of ' + object.metadata.name)"
    )
    for other in ("object.metadata.name", "'at ' + string(now)", "'x' + params.a", "'x'.reverse() + 'y'"):
        assert said(other) is None


REASONS: list[tuple[dict[str, Any], str]] = [
    ({"match": {"kinds": ["Task"]}, "rules": [{"expression": "task.name != ''"}]}, "spec.match.kinds"),
    ({"match": {"kinds": ["Agent"], "operations": ["START"]}}, "spec.match.operations: neither CREATE nor UPDATE"),
    ({"match": {"kinds": ["Agent"], "namespaces": ["team-*"]}}, "spec.match.namespaces: the API server does not"),
    ({"match": {"kinds": ["Agent"], "users": ["alice"]}}, "spec.match: users and groups"),
    ({"exclude": {"groups": ["x"]}}, "spec.exclude: users and groups"),
    ({"exclude": {"namespaceSelector": {}}}, "spec.exclude.namespaceSelector"),
    ({"params": {"namespace": "ossa-system", "name": "p"}}, "spec.params"),
    ({"exceptions": {"maxDuration": "1h"}}, "spec.exceptions"),
    ({"rules": []}, "spec.rules: there are none"),
    ({"rules": [{"expression": "request.operation == 'CREATE'"}]}, "spec.rules[0].expression: reads `request`"),
    ({"rules": [{"expression": "now > now"}]}, "spec.rules[0].expression: reads `now`"),
    ({"rules": [{"expression": "object.spec.a + 1 > 2"}]}, "spec.rules[0].expression: uses `+`"),
    ({"rules": [{"expression": "object.spec.a % 2 == 0"}]}, "spec.rules[0].expression: uses `%`"),
    ({"rules": [{"expression": "math.greatest(object.spec.a, 2) == 2"}]}, "uses `math.@max`"),
    ({"rules": [{"expression": "type(object.spec.a) == string"}]}, "uses `type`"),
    ({"rules": [{"expression": "object.spec.a.matches(object.spec.b)"}]}, "uses a pattern that is computed"),
    ({"rules": [{"expression": "{'a': 1} == object.spec.a"}]}, "uses a map"),
    ({"rules": [{"expression": "has(object.spec.a.b)"}]}, "uses has() of a field `b` of what may be no map"),
    ({"rules": [{"expression": "object.spec.a.filter(i, i == 1) == []"}]}, "uses map or filter over what may be no"),
    ({"rules": [{"expression": "object.spec.capabilities.all(c, has(c.inputSchema.a.b))"}]}, "a field `b` of what may"),
    ({"rules": [{"expression": "string(object.spec.a) == '1'"}]}, "uses `string`"),
    ({"rules": [{"expression": "object.spec.a.all(i, i.reverse() == 'x')"}]}, "uses `reverse`"),
    ({"variables": [{"name": "v", "expression": "params.a"}]}, "spec.variables[0].expression: reads `params`"),
    (
        {
            "variables": [{"name": "v", "expression": "object.spec.a"}],
            "matchConditions": [{"name": "c", "expression": "variables.v == 1"}],
        },
        "spec.matchConditions[0].expression: reads `variables`",
    ),
]


@pytest.mark.parametrize(("spec", "words"), REASONS, ids=[words[:60] for _, words in REASONS])
def test_why_not(made: Made, spec: dict[str, Any], words: str) -> None:
    spec = {"rules": [{"expression": "has(object.spec.owner)"}], **spec}
    rules = spec.pop("rules")
    found = native_of(made.policy(*rules, **spec))
    assert isinstance(found, NotNative)
    assert words in found.reason


def test_each_kind_has_to_have_the_shape(made: Made) -> None:
    rule = "object.spec.tasks.filter(t, has(t.timeout)).size() > 0"
    assert native(made, rule, match={"kinds": ["Workflow"]})
    found = native_of(made.policy(rule, match={"kinds": ["Workflow", "Agent"]}))
    assert isinstance(found, NotNative)
    variables = [{"name": "tasks", "expression": "object.spec.tasks"}]
    rule = "variables.tasks.filter(t, has(t.retry.maxAttempts)).size() > 0"
    assert native(made, rule, variables=variables, match={"kinds": ["Workflow"]})


def test_a_name_that_is_too_long(made: Made) -> None:
    found = native_of(made.policy("has(object.spec.a)", name="a" * 242))
    assert isinstance(found, NotNative)
    assert "metadata.name: is longer than 241 characters" in found.reason


@pytest.mark.parametrize(
    "rule",
    [
        "object.spec.capabilities.all(t, has(t.inputSchema.type))",
        "object.spec.capabilities.exists_one(t, t.name == 'a')",
        "object.spec.capabilities.filter(t, has(t.inputSchema)).map(t, t.name).size() > 1",
        "object.spec.capabilities.map(t, has(t.inputSchema), t.name).exists(a, a in ['x', 'y'])",
        "(has(object.spec.data) ? object.spec.data.sources : []).map(s, s).size() > 0",
        "has(object.metadata.labels) && has(object.metadata.labels.team)",
        "object.spec.capabilities[0].name == 'a'",
        "object.spec.capabilities.filter(c, c.name != '').all(c, has(c.inputSchema.type))",
        "duration(object.spec.timeout) <= duration('1h')",
        "object.spec.runtime.image.split('@').size() == 2",
        "object.spec.a > -1.5",
        "true",
    ],
)
def test_what_both_dialects_have(made: Made, rule: str) -> None:
    assert native(made, rule).policy["spec"]["validations"]
