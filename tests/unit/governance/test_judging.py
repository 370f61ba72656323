"""What a set of policies says of one question."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.governance.policies import broken_policy, sees_metadata
from ossa.governance.policyset import PolicySet
from tests.unit.governance.conftest import Made


def test_a_rule_that_is_not_met_refuses_by_the_policys_name_and_message(made: Made) -> None:
    policy = made.policy({"expression": "object.spec.risk != 'high'", "message": "no high risk here"})
    verdict = PolicySet((policy,)).judge(made.question(), made.now)
    (denial,) = verdict.denials
    assert denial.message == "policy 'a-policy': no high risk here"
    assert denial.version == "a-policy@3"
    assert verdict.warnings == ()


def test_all_policies_and_all_rules_are_judged(made: Made) -> None:
    held = (
        made.policy("object.spec.risk == 'high'", name="met"),
        made.policy("false", "object.spec.owner == ''", name="twice"),
    )
    verdict = PolicySet(held).judge(made.question(), made.now)
    assert [(j.policy, j.outcome, len(j.violations)) for j in verdict.judged] == [
        ("met", "pass", 0),
        ("twice", "fail", 2),
    ]


@pytest.mark.parametrize(
    ("action", "refused", "warned"), [("Enforce", True, False), ("Warn", False, True), ("Audit", False, False)]
)
def test_the_action_says_what_comes_of_it(made: Made, action: str, refused: bool, warned: bool) -> None:
    verdict = PolicySet((made.policy("false", action=action),)).judge(made.question(), made.now)
    assert (bool(verdict.denials), bool(verdict.warnings)) == (refused, warned)
    assert [held.outcome for held in verdict.judged] == ["fail"]


NOT_TRUE = ["object.spec.missing", "object.spec.nothing", "object.spec.text", "object.spec.number"]


@pytest.mark.parametrize("expression", [*NOT_TRUE, "object.spec.missing == 'x'", "1 / object.spec.zero == 1"])
@pytest.mark.parametrize("failure_policy", ["Fail", "Ignore"])
def test_what_is_no_bool_follows_the_failure_policy(made: Made, expression: str, failure_policy: str) -> None:
    spec = {"nothing": None, "text": "true", "number": 1, "zero": 0}
    question = made.question(bindings={"object": {"spec": spec}, "oldObject": None})
    verdict = PolicySet((made.policy(expression, failurePolicy=failure_policy),)).judge(question, made.now)
    (judgement,) = verdict.judged
    assert judgement.outcome == "error"
    assert judgement.refuses == (failure_policy == "Fail")
    assert expression in judgement.message
    assert bool(verdict.warnings) == (failure_policy == "Ignore")


@pytest.mark.parametrize("expression", NOT_TRUE)
def test_a_condition_that_is_no_bool_is_never_true_nor_a_way_out(made: Made, expression: str) -> None:
    spec = {"nothing": None, "text": "true", "number": 1}
    question = made.question(bindings={"object": {"spec": spec}, "oldObject": None})
    policy = made.policy("true", matchConditions=[{"name": "c", "expression": expression}])
    (judgement,) = PolicySet((policy,)).judge(question, made.now).judged
    assert judgement.outcome == "error"
    assert judgement.refuses


def test_a_condition_that_is_false_takes_the_policy_out(made: Made) -> None:
    policy = made.policy("false", matchConditions=[{"name": "c", "expression": "object.spec.risk == 'low'"}])
    assert PolicySet((policy,)).judge(made.question(), made.now).judged == ()


def test_variables_are_shared_and_their_errors_say_whose_they_are(made: Made) -> None:
    variables = [
        {"name": "risk", "expression": "object.spec.risk"},
        {"name": "high", "expression": "variables.risk == 'high'"},
        {"name": "broken", "expression": "object.spec.missing"},
    ]
    policy = made.policy("!variables.high", "variables.broken == 1", variables=variables)
    (judgement,) = PolicySet((policy,)).judge(made.question(), made.now).judged
    assert [held.outcome for held in judgement.violations] == ["fail", "error"]
    assert "variables.broken: object.spec has no 'missing'" in judgement.violations[1].message


def test_params_come_from_the_config_map_and_their_absence_follows_the_failure_policy(made: Made) -> None:
    policy = made.policy(
        "object.spec.owner in params.owners.split(',')", params={"namespace": "governance", "name": "limits"}
    )
    there = PolicySet((policy,), params={("governance", "limits"): {"owners": "data-team,ml-team"}})
    assert there.judge(made.question(), made.now).judged[0].outcome == "pass"
    (denial,) = PolicySet((policy,)).judge(made.question(), made.now).denials
    assert "there is no ConfigMap 'limits' in the namespace 'governance'" in denial.message


def test_a_message_may_be_made_and_a_broken_one_hides_nothing(made: Made) -> None:
    said = {"expression": "false", "message": "plain", "messageExpression": "'risk is ' + object.spec.risk"}
    broken = {"expression": "false", "message": "plain", "messageExpression": "object.spec.missing + ''"}
    verdict = PolicySet((made.policy(said, broken),)).judge(made.question(), made.now)
    assert [held.message for held in verdict.judged[0].violations] == ["risk is high", "plain"]


def test_the_time_is_a_timestamp(made: Made) -> None:
    bindings: dict[str, Any] = {"object": {"spec": {"end": "2026-01-02T00:00:00Z"}}, "oldObject": None}
    policy = made.policy("timestamp(object.spec.end) > now + duration('24h')")
    (judgement,) = PolicySet((policy,)).judge(made.question(bindings=bindings), made.now).judged
    assert judgement.outcome == "fail"


def test_an_early_answer_leaves_what_has_no_value_to_the_binding_one(made: Made) -> None:
    policy = made.policy("plan.tasks.all(t, t.agent.risk != 'high')", match={"kinds": ["Workflow"]})
    bindings = {"object": {}, "oldObject": None, "plan": {"tasks": [{"agent": None}]}}
    early = PolicySet((policy,)).judge(made.question("Workflow", bindings=bindings, complete=False), made.now)
    assert (early.judged[0].outcome, early.denials) == ("deferred", ())
    assert early.warnings == early.judged
    late = PolicySet((policy,)).judge(made.question("Workflow", bindings=bindings), made.now)
    assert late.denials
    proved = {**bindings, "plan": {"tasks": [{"agent": {"risk": "high"}}, {"agent": None}]}}
    refused = PolicySet((policy,)).judge(made.question("Workflow", bindings=proved, complete=False), made.now)
    assert refused.denials


def test_hostile_values_are_data(made: Made) -> None:
    owner = "${{ 1 }} %s {0} \x00\n</script>" + "x" * 200_000
    bindings: dict[str, Any] = {"object": {"spec": {"owner": owner, "big": 2**80}}, "oldObject": None}
    rule = {"expression": "object.spec.owner == 'me'", "messageExpression": "object.spec.owner"}
    (denial,) = PolicySet((made.policy(rule),)).judge(made.question(bindings=bindings), made.now).denials
    assert denial.message.startswith("policy 'a-policy': ${{ 1 }} %s {0} ")
    assert len(denial.message) < 1200


@pytest.mark.parametrize(
    ("expression", "spec", "sees"),
    [
        ("object.spec.owner == 'a'", {}, False),
        ("object.metadata.labels.team == 'a'", {}, True),
        ("has(oldObject.metadata)", {}, True),
        ("object == oldObject", {}, True),
        ("request.operation == 'CREATE'", {}, False),
        ("variables.a == 'a'", {"variables": [{"name": "a", "expression": "object.metadata.name"}]}, True),
        ("object.spec.owner == 'a'", {"match": {"kinds": ["Agent"], "objectSelector": {}}}, True),
    ],
)
def test_which_policies_see_metadata(made: Made, expression: str, spec: dict[str, Any], sees: bool) -> None:
    assert sees_metadata(made.policy(expression, **spec)) is sees


@pytest.mark.parametrize(("failure_policy", "refuses"), [("Fail", True), ("Ignore", False)])
def test_a_policy_that_cannot_be_judged_by_gives_errors(made: Made, failure_policy: str, refuses: bool) -> None:
    broken = broken_policy(made.resource("object.", failurePolicy=failure_policy), ["spec.rules[0].expression: bad"])
    (judgement,) = PolicySet((broken,)).judge(made.question(), made.now).judged
    assert (judgement.outcome, judgement.refuses) == ("error", refuses)
    assert judgement.message == "policy 'a-policy': it cannot be judged by: spec.rules[0].expression: bad"
    assert PolicySet((broken,)).judge(made.question("Workflow"), made.now).judged == ()
