"""The normalized workflow: nothing slips past by how it is written."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.workflow import WorkflowSpec
from ossa.governance.plan import Agents, agent_view, is_complete, plan_of

APPROVAL = {"message": "Go on?", "approverGroups": ["board"]}


def agents(**risks: str) -> Agents:
    return {
        name: (
            AgentSpec.model_validate({"risk": risk, "capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}}),
            "image:1",
        )
        for name, risk in risks.items()
    }


def plan(*tasks: dict[str, Any], finally_: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    spec = WorkflowSpec.model_validate({"tasks": list(tasks), "finally": finally_ or []})
    return plan_of("a-workflow", spec, agents(worker="high"))


def approved(found: dict[str, Any]) -> dict[str, bool]:
    return {task["name"]: task["approvedBefore"] for task in found["tasks"]}


def test_every_task_is_there_with_its_agent() -> None:
    found = plan({"name": "a", "agent": "worker"}, finally_=[{"name": "z", "agent": "worker"}])
    assert [(t["name"], t["group"], t["agent"]["risk"]) for t in found["tasks"]] == [
        ("a", "tasks", "high"),
        ("z", "finally", "high"),
    ]
    assert is_complete(found)


def test_an_agent_that_is_not_there_is_null_and_the_plan_incomplete() -> None:
    found = plan({"name": "a", "agent": "nobody"})
    assert found["tasks"][0]["agent"] is None
    assert not is_complete(found)
    assert not is_complete(None)


def test_an_approval_counts_along_everything_that_must_end_well() -> None:
    found = plan(
        {"name": "ask", "approval": APPROVAL},
        {"name": "by-name", "agent": "worker", "dependsOn": ["ask"]},
        {"name": "by-reference", "agent": "worker", "input": {"x": "${{ tasks['by-name'].output.y }}"}},
        {"name": "beside", "agent": "worker"},
        finally_=[{"name": "last", "agent": "worker"}],
    )
    assert approved(found) == {"ask": False, "by-name": True, "by-reference": True, "beside": False, "last": False}


@pytest.mark.parametrize("lenient", [{"continueOnError": True}, {"defaultOutput": {"approvedBy": []}}])
def test_an_approval_that_others_may_go_on_without_is_none(lenient: dict[str, Any]) -> None:
    found = plan(
        {"name": "ask", "approval": APPROVAL, **lenient}, {"name": "a", "agent": "worker", "dependsOn": ["ask"]}
    )
    assert approved(found)["a"] is False


def test_a_lenient_task_between_breaks_the_chain() -> None:
    found = plan(
        {"name": "ask", "approval": APPROVAL},
        {"name": "soft", "agent": "worker", "dependsOn": ["ask"], "continueOnError": True},
        {"name": "a", "agent": "worker", "dependsOn": ["soft"]},
    )
    assert approved(found) == {"ask": False, "soft": True, "a": False}


def test_a_condition_that_asks_how_the_approval_ended_is_no_approval() -> None:
    found = plan(
        {"name": "ask", "approval": APPROVAL},
        {"name": "a", "agent": "worker", "when": "${{ tasks.ask.phase == 'Failed' }}"},
    )
    assert approved(found)["a"] is False
    assert found["tasks"][1]["ancestors"] == ["ask"]


def test_what_an_agent_leaves_out_has_a_value_to_compare_with() -> None:
    spec = AgentSpec.model_validate({"capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}})
    found = agent_view("bare", spec, None)
    assert (found["risk"], found["purpose"], found["owner"], found["userFacing"]) == ("", "", "", False)
    assert (found["image"], found["serviceAccountName"], found["data"]["clearance"]) == ("", "default", "")
