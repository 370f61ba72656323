"""A workflow that an Execution holds itself: no policy about Workflows is dodged by it."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.execution import Execution
from ossa.api.workflow import InlineWorkflow
from ossa.engine.revision import CompiledRevision, Revision, compile_revision
from ossa.governance.objects import judge, kinds_of, questions_of
from ossa.governance.policyset import PolicySet
from ossa.governance.ruling import PolicyJudge
from ossa.governance.verdict import worst_of
from ossa.governance.world import Asked, World
from tests.unit.engine.world import Run, spec
from tests.unit.governance.conftest import NOW, Made
from tests.unit.governance.test_ruling import agent

WORKFLOW = {"kinds": ["Workflow"]}
RISK = "plan.tasks.all(t, t.agent.risk != 'high')"
AGENT = {
    "apiVersion": "ossa.dev/v1alpha1",
    "kind": "Agent",
    "metadata": {"name": "risky", "namespace": "team"},
    "spec": {"risk": "high", "capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}},
}
TASKS: dict[str, Any] = {"tasks": [{"name": "a", "agent": "risky"}]}


def an_object(kind: str, held: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    whole = {"name": "one", "namespace": "team", **metadata}
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": whole, "spec": held}


INLINE = an_object("Execution", {"workflowSpec": TASKS}, labels={"stage": "prod"})
NAMED = an_object("Execution", {"workflow": "flow"})


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (RISK, "fail"),
        ("object.kind == 'Workflow' && object.spec.tasks[0].agent == 'risky' && object.spec.published", "pass"),
        ("object.metadata.labels.stage == 'prod' && plan.workflow == ''", "pass"),
        ("request.kind == 'Workflow' && request.operation == 'CREATE' && oldObject == null", "pass"),
    ],
)
def test_what_a_policy_about_workflows_says(made: Made, rule: str, outcome: str) -> None:
    world, policies = World.of([AGENT, INLINE]), PolicySet((made.policy(rule, match=WORKFLOW),))
    verdict = judge(world, INLINE, NOW, policies=policies, asked=Asked("CREATE"))
    assert [held.outcome for held in verdict.judged] == [outcome]
    # Of one that names a Workflow nothing is said: the Workflow itself was judged.
    assert judge(world, NAMED, NOW, policies=policies).judged == ()
    assert (sorted(kinds_of(INLINE)), sorted(kinds_of(NAMED))) == (["Execution", "Workflow"], ["Execution"])


def test_a_policy_about_both_kinds_says_the_worst(made: Made) -> None:
    world, both = World.of([AGENT]), {"kinds": ["Workflow", "Execution"]}
    only_workflows = made.policy("object.kind != 'Workflow'", name="w", match=both)
    only_executions = made.policy("object.kind != 'Execution'", name="e", match=both)
    verdict = judge(world, INLINE, NOW, policies=PolicySet((only_workflows, only_executions)))
    assert [(held.policy, held.refuses) for held in verdict.judged] == [("e", True), ("w", True)]


def test_an_exception_is_of_the_execution_alone() -> None:
    first, second = questions_of(World.of([AGENT]), INLINE, Asked("CREATE"))
    assert (first.kind, second.kind) == ("Execution", "Workflow")
    assert [held.kind for held in second.subjects] == ["Execution"]
    assert second.subjects == first.subjects


def test_one_verdict_is_itself() -> None:
    assert worst_of([first := worst_of([])]) is first


def compiled(risk: str) -> CompiledRevision:
    held = {"risky": agent("risky", risk=risk)}
    return compile_revision(Revision(workflow="", version="0.0.0", spec=spec(*TASKS["tasks"]), agents=held))


@pytest.mark.parametrize(("risk", "phase"), [("high", "Failed"), ("limited", "Running")])
def test_what_was_left_open_is_judged_at_the_start(made: Made, risk: str, phase: str) -> None:
    run = Run(compiled(risk))
    held = run.snapshot.execution
    changed = held.spec.model_copy(update={"workflow": None, "workflow_spec": InlineWorkflow.model_validate(TASKS)})
    execution: Execution = held.model_copy(update={"spec": changed})
    run.change(execution=execution, judge=PolicyJudge(policies=PolicySet((made.policy(RISK, match=WORKFLOW),))))
    run.step()
    assert run.phase() == phase
    assert run.status.error is None or run.status.error.reason == "PolicyDenied"
    assert run.status.policies is not None
    assert list(run.status.policies.values()) == [["a-policy@3"]]


def test_at_the_start_of_others_nobody_asks_about_workflows(made: Made) -> None:
    run = Run(compiled("high"))
    run.change(judge=PolicyJudge(policies=PolicySet((made.policy(RISK, match=WORKFLOW),))))
    run.step()
    assert run.phase() == "Running"
