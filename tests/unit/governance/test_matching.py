"""What a policy is about."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.governance.question import applies
from tests.unit.governance.conftest import Made

WORKFLOWS = {"kinds": ["Workflow"]}


@pytest.mark.parametrize(
    ("match", "exclude", "found"),
    [
        ({}, None, True),
        ({"operations": ["UPDATE"]}, None, False),
        ({"namespaces": ["team-*"]}, None, True),
        ({"namespaces": ["team"]}, None, False),
        ({"namespaces": ["team-[ab]", "team-?"]}, None, False),
        ({"namespaceSelector": {"matchLabels": {"tier": "prod"}}}, None, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}, None, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}, None, False),
        ({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}}, None, True),
        ({"objectSelector": {"matchLabels": {"app": "x"}}}, None, True),
        ({"users": ["alice"]}, None, True),
        ({"users": ["system:serviceaccount:*"]}, None, False),
        ({"groups": ["admins"]}, None, True),
        ({}, {}, True),
        ({}, {"namespaces": ["team-a"]}, False),
        ({}, {"namespaces": ["team-a"], "users": ["bob"]}, True),
        ({}, {"kinds": ["Agent"], "namespaces": ["team-a"]}, True),
        ({}, {"kinds": ["Workflow"]}, False),
        ({}, {"operations": ["CREATE"]}, False),
        ({}, {"operations": ["UPDATE"], "users": ["alice"]}, True),
        ({}, {"groups": ["admins"]}, False),
    ],
)
def test_match_and_exclude(made: Made, match: dict[str, Any], exclude: dict[str, Any] | None, found: bool) -> None:
    policy = made.policy("true", match={**WORKFLOWS, **match}, exclude=exclude)
    question = made.question(
        "Workflow",
        labels={"app": "x"},
        namespace_labels={"tier": "prod"},
        user="alice",
        groups=("system:authenticated", "admins"),
    )
    assert applies(policy.spec, question) == found


def test_another_kind_is_none_of_its_business(made: Made) -> None:
    assert not applies(made.policy("true", match=WORKFLOWS).spec, made.question("Agent"))


def test_what_is_there_is_looked_at_whatever_the_operations(made: Made) -> None:
    policy = made.policy("true", match={**WORKFLOWS, "operations": ["UPDATE"]})
    assert applies(policy.spec, made.question("Workflow", None))


def test_the_end_of_an_attempt_has_to_be_asked_for(made: Made) -> None:
    assert not applies(made.policy("true", match={"kinds": ["Task"]}).spec, made.question("Task", "END"))
    assert applies(made.policy("true", match={"kinds": ["Task"]}).spec, made.question("Task", "START"))


def test_at_a_start_nobodys_groups_are_known_which_excludes_nobody(made: Made) -> None:
    policy = made.policy("true", match={"kinds": ["Execution"]}, exclude={"groups": ["admins"]})
    assert applies(policy.spec, made.question("Execution", "START", user="alice"))
