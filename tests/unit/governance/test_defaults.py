"""What policies fill in where a Workflow and its Agents leave it out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.policy import PolicyDefaults
from ossa.engine.revision import AgentSnapshot, Revision, compile_revision, revision_name
from ossa.governance.defaults import defaults_for, quantity, with_defaults
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question, spec_hash
from tests.unit.engine.world import spec
from tests.unit.governance.conftest import NOW, Made


def agent(**runtime: Any) -> AgentSnapshot:
    held = AgentSpec.model_validate({"capabilities": [{"name": "work"}], "runtime": {"handler": "work:run", **runtime}})
    return AgentSnapshot(name="worker", uid="u", generation=1, image="worker:1", spec=held)


def revision(*tasks: Any, held: AgentSnapshot | None = None, **more: Any) -> Revision:
    flow = spec(*tasks or ({"name": "a"},), **more)
    return Revision(workflow="flow", version="1", spec=flow, agents={"worker": held or agent()})


def defaults(**fields: Any) -> PolicyDefaults:
    return PolicyDefaults.model_validate(fields)


def test_what_is_left_out_is_filled_in_and_nothing_else() -> None:
    before = revision({"name": "a"}, {"name": "b", "timeout": "1s"}, finally_=[{"name": "c"}], parallelism=3)
    filled = with_defaults(before, [defaults(timeout="1h", parallelism=9, taskTimeout="5m", taskPendingTimeout="2m")])
    assert (filled.spec.timeout, filled.spec.parallelism) == ("1h", 3)
    assert [(t.name, t.timeout) for t in (*filled.spec.tasks, *filled.spec.finally_)] == [
        ("a", "5m"),
        ("b", "1s"),
        ("c", "5m"),
    ]
    assert {task.pending_timeout for task in filled.spec.tasks} == {"2m"}
    assert before.spec.timeout is None
    assert compile_revision(filled).timeout is not None


def test_the_hash_of_the_users_spec_is_kept_where_it_was_changed() -> None:
    before = revision()
    filled = with_defaults(before, [defaults(timeout="1h", resources={"limits": {"memory": "1Gi"}})])
    assert filled.spec_hash == spec_hash(before.spec)
    assert filled.agents["worker"].spec_hash == spec_hash(before.agents["worker"].spec)
    assert with_defaults(before, [defaults(timeout="1h")]).agents["worker"].spec_hash is None


@pytest.mark.parametrize("given", [[], [{}], [{"timeout": "1h"}]])
def test_a_revision_that_is_not_changed_keeps_its_name(given: list[dict[str, Any]]) -> None:
    before = revision(timeout="2h")
    filled = with_defaults(before, [defaults(**fields) for fields in given])
    assert filled is before
    assert "specHash" not in before.to_json()
    assert revision_name(filled) == revision_name(before)


def test_an_approval_has_a_time_of_its_own() -> None:
    asked = {"name": "ask", "agent": None, "approval": {"message": "?", "approverUsers": ["eve"]}}
    filled = with_defaults(revision(asked, {"name": "b"}), [defaults(taskTimeout="5m")])
    assert [task.timeout for task in filled.spec.tasks] == [None, "5m"]


def test_the_first_policy_by_name_wins() -> None:
    filled = with_defaults(revision(), [defaults(timeout="1h"), defaults(timeout="2h", parallelism=4)])
    assert (filled.spec.timeout, filled.spec.parallelism) == ("1h", 4)


@pytest.mark.parametrize(
    ("own", "given", "filled"),
    [
        (None, {"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1Gi"}}),
        (
            {"requests": {"cpu": "1"}},
            {"requests": {"cpu": "2", "memory": "1Gi"}},
            {"requests": {"cpu": "1", "memory": "1Gi"}},
        ),
        # The API server takes no pod that requests more than its limit.
        (
            {"requests": {"memory": "2Gi"}},
            {"limits": {"memory": "1Gi"}},
            {"requests": {"memory": "2Gi"}, "limits": {"memory": "2Gi"}},
        ),
        (
            {"limits": {"cpu": "100m"}},
            {"requests": {"cpu": 1}},
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}},
        ),
    ],
)
def test_resources_are_filled_in_one_by_one(own: Any, given: Any, filled: Any) -> None:
    held = agent(**({"resources": own} if own else {}))
    made = with_defaults(revision(held=held), [defaults(resources=given)])
    resources = made.agents["worker"].spec.runtime.resources
    assert resources is not None
    assert resources.to_json() == filled


def test_resources_of_a_pod_template_are_the_agents_own() -> None:
    main = {"name": "main", "resources": {"limits": {"memory": "64Mi"}}}
    held = agent(podTemplate={"spec": {"containers": [main]}})
    made = with_defaults(revision(held=held), [defaults(resources={"limits": {"memory": "1Gi", "cpu": "1"}})])
    resources = made.agents["worker"].spec.runtime.resources
    assert resources is not None
    assert resources.to_json() == {"limits": {"memory": "64Mi", "cpu": "1"}}


@pytest.mark.parametrize(
    ("text", "number"), [("100m", "0.1"), (2, "2"), ("1Ki", "1024"), ("1e3", "1000"), ("1.5G", "1500000000")]
)
def test_quantities(text: int | str, number: str) -> None:
    assert quantity(text) == Decimal(number)


def test_what_is_no_quantity() -> None:
    assert quantity("much") is None
    assert quantity("1.2.3") is None


def test_policies_that_are_about_it(made: Made) -> None:
    flows = {"kinds": ["Workflow"]}
    policies = (
        made.policy(name="b", defaults={"timeout": "2h"}, match=flows),
        made.policy(name="a", defaults={"timeout": "1h"}, match={**flows, "namespaces": ["team-*"]}),
        made.policy(name="c", defaults={"timeout": "3h"}, match={**flows, "namespaces": ["other"]}),
        made.policy(
            name="d", defaults={"timeout": "4h"}, match=flows, matchConditions=[{"name": "no", "expression": "1 > 2"}]
        ),
        made.policy(
            name="e",
            defaults={"timeout": "5h"},
            match=flows,
            matchConditions=[{"name": "missing", "expression": "object.spec.nothing == 1"}],
        ),
        made.policy("false", name="rules-alone", match=flows),
    )
    asked = Question(
        kind="Workflow", operation=None, namespace="team-a", name="flow", bindings={"object": {"spec": {}}}
    )
    assert [held.timeout for held in defaults_for(PolicySet(policies), asked, NOW)] == ["1h", "2h"]
