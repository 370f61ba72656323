"""What is said of a Workflow: of its spec, and of the agents that it names."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.workflows import Finding, examine, status_of
from ossa.api.workflow import WorkflowStatus

NOW = "2026-01-01T12:00:00Z"
LATER = "2026-01-01T12:05:00Z"


def agent(name: str = "worker", *, ready: str = "True", looked_at: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 3},
        "spec": {"capabilities": [{"name": "work"}], "runtime": {"handler": "work:run"}, **spec},
        "status": {
            "observedGeneration": looked_at,
            "ready": ready,
            "conditions": [{"type": "Ready", "status": ready, "message": "no such handler"}],
        },
    }


def workflow(*tasks: dict[str, Any], **spec: Any) -> dict[str, Any]:
    held = [{"agent": "worker", **task} for task in tasks] or [{"name": "a", "agent": "worker"}]
    return {"metadata": {"name": "flow", "generation": 4}, "spec": {"tasks": held, **spec}}


def found(item: dict[str, Any], *agents: dict[str, Any]) -> Finding:
    known = {held["metadata"]["name"]: held for held in agents}
    return examine(item, known.get, "default-worker:1")


def status(item: dict[str, Any], finding: Finding, *, now: str = NOW) -> WorkflowStatus:
    return status_of(item, finding, revision="flow-1" if finding.revision else None, now=now)


def conditions(held: WorkflowStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in held.conditions}


# --- examine ---


def test_a_good_workflow_gives_a_revision_with_its_agents() -> None:
    finding = found(workflow({"name": "a"}, {"name": "b", "dependsOn": ["a"]}, version="1.2.0"), agent())
    assert (finding.invalid, finding.unresolved, finding.tasks) == ((), (), 2)
    assert finding.revision is not None
    assert (finding.revision.workflow, finding.revision.version) == ("flow", "1.2.0")
    held = finding.revision.agents["worker"]
    assert (held.uid, held.generation, held.image) == ("uid-worker", 3, "default-worker:1")


@pytest.mark.parametrize(
    ("runtime", "image"),
    [
        ({"handler": "work:run"}, "default-worker:1"),
        ({"handler": "work:run", "image": "mine:2"}, "mine:2"),
        ({"container": {"image": "debian"}}, "debian"),
    ],
)
def test_the_image_is_resolved_when_the_revision_is_made(runtime: dict[str, Any], image: str) -> None:
    revision = found(workflow(), agent(runtime=runtime)).revision
    assert revision is not None
    assert revision.agents["worker"].image == image


def test_the_order_of_tasks_does_not_change_the_agents_of_a_revision() -> None:
    one, two = {"name": "a", "agent": "x"}, {"name": "b", "agent": "w"}
    revision = found(workflow(one, two), agent("x"), agent("w")).revision
    assert revision is not None
    assert list(revision.agents) == ["w", "x"]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (workflow({"name": "a", "dependsOn": ["b"]}), ["spec.tasks[0].dependsOn", "b"]),
        (workflow({"name": "a", "dependsOn": ["b"]}, {"name": "b", "dependsOn": ["a"]}), ["a -> b -> a"]),
        (workflow({"name": "a", "input": {"x": "${{ 1 + }}"}}), ["spec.tasks[0].input.x"]),
        (workflow(inputs={"type": "strng"}), ["spec.inputs"]),
        ({"metadata": {"name": "flow", "generation": 4}, "spec": {"tasks": []}}, ["spec.tasks"]),
        (workflow({"name": "a", "retrys": 3}), ["spec.tasks[0].retrys"]),
    ],
)
def test_a_spec_that_makes_no_sense_names_the_field(item: dict[str, Any], words: list[str]) -> None:
    finding = found(item, agent())
    assert finding.revision is None
    assert [word for word in words if word not in "; ".join(finding.invalid)] == []


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ([], ["spec.tasks[0].agent", "no Agent 'worker'", "apply it"]),
        ([agent(looked_at=2)], ["was not looked at yet"]),
        ([agent(ready="False")], ["not ready: no such handler"]),
    ],
)
def test_it_waits_for_agents_and_says_for_which(agents: list[dict[str, Any]], words: list[str]) -> None:
    finding = found(workflow(), *agents)
    assert finding.invalid == ()
    assert finding.revision is None
    assert [word for word in words if word not in "; ".join(finding.unresolved)] == []


def test_a_capability_that_the_agent_lacks_is_named_with_those_it_has() -> None:
    finding = found(workflow({"name": "a", "capability": "wrk"}), agent())
    assert "spec.tasks[0].capability" in finding.unresolved[0]
    assert "it has work" in finding.unresolved[0]


def test_all_that_is_missing_is_told_at_once() -> None:
    finding = found(workflow({"name": "a", "agent": "x"}, {"name": "b", "agent": "y"}))
    assert len(finding.unresolved) == 2


def test_people_who_approve_need_not_be_there_yet() -> None:
    asks = {"name": "b", "agent": None, "approval": {"message": "?", "approverUsers": ["bob"]}}
    finding = found(workflow({"name": "a"}, asks), agent())
    assert (finding.invalid, finding.unresolved, finding.unseen) == ((), (), False)
    assert finding.revision is not None
    assert len(finding.revision.agents) == 1


def test_a_withheld_workflow_has_no_revision() -> None:
    finding = found(workflow(published=False), agent())
    assert finding.withheld
    assert finding.revision is None


# --- status_of ---


def test_published() -> None:
    held = status(workflow(), found(workflow(), agent()))
    assert (held.phase, held.revision, held.message, held.observed_generation) == ("Published", "flow-1", None, 4)
    assert conditions(held) == {
        "Valid": ("True", "Valid"),
        "Resolved": ("True", "Resolved"),
        "Published": ("True", "Published"),
    }


def test_a_draft_for_want_of_an_agent() -> None:
    held = status(workflow(), found(workflow()))
    assert held.phase == "Draft"
    assert "no Agent 'worker'" in (held.message or "")
    assert conditions(held) == {
        "Valid": ("True", "Valid"),
        "Resolved": ("False", "Unresolved"),
        "Published": ("False", "Draft"),
    }


def test_a_draft_that_is_invalid_was_not_resolved() -> None:
    item = workflow({"name": "a", "dependsOn": ["b"]})
    held = status(item, found(item, agent()))
    assert conditions(held)["Valid"] == ("False", "InvalidSpec")
    assert conditions(held)["Resolved"] == ("False", "NotExamined")


def test_a_withheld_draft_says_how_to_publish_it() -> None:
    item = workflow(published=False)
    held = status(item, found(item, agent()))
    assert (held.phase, held.message) == ("Draft", "spec.published is false; set it to true to publish")
    assert conditions(held)["Resolved"] == ("True", "Resolved")


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    item = workflow()
    first = status(item, found(item))
    item["status"] = first.to_json()
    second = status(item, found(item, agent()), now=LATER)
    times = {condition.type: condition.last_transition_time for condition in second.conditions}
    assert times == {"Valid": NOW, "Resolved": LATER, "Published": LATER}


def test_looked_at_again_it_says_the_same() -> None:
    item = workflow()
    first = status(item, found(item, agent()))
    item["status"] = first.to_json()
    assert status(item, found(item, agent()), now=LATER) == first


def test_a_very_long_message_fits_the_status() -> None:
    item = workflow(*({"name": f"t{number}", "agent": f"missing-{number}"} for number in range(60)))
    held = status(item, found(item))
    assert len(held.message or "") <= 1000
    assert all(len(condition.message) <= 4096 for condition in held.conditions)
