"""The engine's judge over policies: which questions it asks, and what rules see of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_CREATED_BY, ANNOTATION_SPEC_CHANGED_BY
from ossa.api.policyexception import AgentPolicyException
from ossa.engine.clock import to_text
from ossa.engine.revision import AgentSnapshot, CompiledRevision, Revision, compile_revision
from ossa.governance.assessment import Assessment
from ossa.governance.defaults import with_defaults
from ossa.governance.policies import CompiledPolicy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import spec_hash
from ossa.governance.ruling import LiveWorkflow, PolicyJudge
from tests.unit.engine.world import NOW, Run, child_view, spec
from tests.unit.governance.conftest import Made

TASK = {"kinds": ["Task"]}
END = {"kinds": ["Task"], "operations": ["END"]}
EXECUTION = {"kinds": ["Execution"]}


def agent(name: str, **fields: Any) -> AgentSnapshot:
    runtime = fields.pop("runtime", {"handler": "work:run"})
    held = AgentSpec.model_validate({"capabilities": [{"name": "work"}], "runtime": runtime, **fields})
    return AgentSnapshot(name=name, uid=f"uid-{name}", generation=1, image=f"registry/{name}:1", spec=held)


def compiled(workflow: Any, *agents: AgentSnapshot) -> CompiledRevision:
    held = {one.name: one for one in (agents or (agent("worker"),))}
    return compile_revision(Revision(workflow="flow", version="1.0.0", spec=workflow, agents=held))


def run_under(
    revision: CompiledRevision,
    *policies: CompiledPolicy,
    exceptions: tuple[AgentPolicyException, ...] = (),
    inputs: JSONObject | None = None,
    workflow: Callable[[], LiveWorkflow | None] = lambda: None,
) -> Run:
    run = Run(revision, inputs)
    held = run.snapshot.execution
    marked = held.metadata.model_copy(
        update={
            "annotations": {ANNOTATION_CREATED_BY: "eve", ANNOTATION_SPEC_CHANGED_BY: "bob"},
            "labels": {"stage": "prod"},
        }
    )
    judge = PolicyJudge(
        policies=PolicySet(policies, exceptions=exceptions),
        namespace={"metadata": {"name": "team", "labels": {"tier": "one"}}},
        namespace_labels={"tier": "one"},
        workflow=workflow,
    )
    run.change(execution=held.model_copy(update={"metadata": marked}), judge=judge)
    return run


def passes(made: Made, rule: str, kind: JSONObject, *tasks: JSONObject, **more: Any) -> bool:
    """Whether the first turn of an Execution goes by without a denial."""
    run = run_under(
        compiled(spec(*tasks or ({"name": "a", "input": {"n": 1}},), **more)), made.policy(rule, match=kind)
    )
    run.step()
    if run.status.error is not None:
        assert run.status.error.reason == "PolicyDenied", run.status.error
    return run.status.error is None


@pytest.mark.parametrize(
    "rule",
    [
        "object.metadata.labels.stage == 'prod' && object.spec.workflow == 'flow'",
        "object.kind == 'Execution' && oldObject == null",
        "request.operation == 'START' && request.userInfo.username == 'eve'",
        "namespaceObject.metadata.labels.tier == 'one'",
        "plan.tasks[0].agent.image == 'registry/worker:1' && plan.complete",
        "now > timestamp('2025-01-01T00:00:00Z')",
    ],
)
def test_what_a_rule_sees_of_the_start_of_an_execution(made: Made, rule: str) -> None:
    assert passes(made, rule, EXECUTION)
    assert not passes(made, f"!({rule})", EXECUTION)


@pytest.mark.parametrize(
    "rule",
    [
        "execution.name == 'run' && execution.uid == 'uid-run' && execution.namespace == 'team'",
        "execution.author == 'eve' && execution.labels.stage == 'prod' && execution.attempt == 1",
        "execution.seconds == 0 && execution.pods == 0 && !execution.breakGlass",
        "task.name == 'a' && task.attempt == 1 && task.index == 0 && task.type == 'agent' && task.reads == []",
        "agent.name == 'worker' && agent.image == 'registry/worker:1' && agent.serviceAccountName == 'default'",
        "agent.type == 'worker' && agent.risk == ''",
        "input.n == 1",
        "size(history) == 0",
        "plan.workflow == 'flow'",
    ],
)
def test_what_a_rule_sees_of_a_task(made: Made, rule: str) -> None:
    assert passes(made, rule, TASK)
    assert not passes(made, f"!({rule})", TASK)


def test_a_rule_sees_what_a_task_gave(made: Made) -> None:
    run = run_under(compiled(spec({"name": "a", "input": {"n": 5}})), made.policy("output.n < input.n", match=END))
    run.step()
    run.succeed("a", {"n": 9})
    assert run.status.error is not None
    assert (run.status.error.reason, run.status.error.policy) == ("PolicyDenied", "a-policy")


def test_what_a_task_of_finally_was_given_is_known_at_its_end(made: Made) -> None:
    rule = made.policy("input.how == 'Completed' && output.n == 1", match=END, matchConditions=_named("last"))
    run = run_under(compiled(spec({"name": "a"}, finally_=[{"name": "last", "input": {"how": "${{ status }}"}}])), rule)
    run.step()
    run.succeed("a")
    run.succeed("last", {"n": 1})
    assert run.phase() == "Completed"


def _named(name: str) -> list[JSONObject]:
    return [{"name": "it", "expression": f"task.name == '{name}'"}]


def test_a_rule_about_an_input_that_it_has_not_denies(made: Made) -> None:
    assert not passes(made, "input.missing == 1", TASK)
    run = run_under(
        compiled(spec({"name": "a"})), made.policy("input.missing == 1", match=TASK, failurePolicy="Ignore")
    )
    decision = run.step()
    assert [request.task for request in decision.create] == ["a"]
    assert [event.reason for event in decision.events] == ["Started", "PolicyViolation"]


# --- rules over history ---

NO_SELF_REVIEW = "!(agent.type in ['judge', 'critic']) || !history.exists(h, h.flowsHere && h.agent == agent.name)"
CLEARED = (
    "history.filter(h, h.flowsHere && h.classification in ['confidential', 'restricted'])"
    ".all(h, agent != null && agent.data.clearance in ['confidential', 'restricted'])"
)
APPROVED = (
    "agent == null || agent.risk != 'high' || history.exists(h, h.approvedBy.exists(user, user != execution.author))"
)


def reviewed(reviewer: str) -> CompiledRevision:
    return compiled(
        spec({"name": "make", "agent": "critic"}, {"name": "review", "agent": reviewer, "input": _output_of("make")}),
        agent("critic", type="critic"),
        agent("other", type="critic"),
    )


def _output_of(name: str) -> JSONObject:
    return {"n": f"${{{{ tasks.{name}.output.n }}}}"}


@pytest.mark.parametrize(("reviewer", "phase"), [("critic", "Failed"), ("other", "Running")])
def test_no_critic_reviews_its_own_work(made: Made, reviewer: str, phase: str) -> None:
    run = run_under(reviewed(reviewer), made.policy(NO_SELF_REVIEW, match=TASK))
    run.step()
    run.succeed("make", {"n": 1})
    assert run.phases()["review"] == phase


@pytest.mark.parametrize("place", ["tasks", "finally"])
@pytest.mark.parametrize(("clearance", "starts"), [(None, False), ("internal", False), ("restricted", True)])
def test_classified_data_flows_to_the_cleared_alone(
    made: Made, place: str, clearance: str | None, starts: bool
) -> None:
    """Also through a task between, and to one of `finally`."""
    reader = {"name": "read", "agent": "reader", "input": _output_of("between")}
    tasks: list[JSONObject] = [
        {"name": "make", "agent": "maker"},
        {"name": "between", "agent": "maker", "input": _output_of("make")},
    ]
    more = {"finally_": [reader]} if place == "finally" else {}
    flow = spec(*tasks, *([] if more else [reader]), **more)
    maker = agent("maker", data={"classification": "confidential", "clearance": "confidential"})
    run = run_under(
        compiled(flow, maker, agent("reader", data={"clearance": clearance})), made.policy(CLEARED, match=TASK)
    )
    run.step()
    run.succeed("make", {"n": 1})
    decision = run.succeed("between", {"n": 1})
    assert [request.task for request in decision.create] == (["read"] if starts else [])


def test_data_does_not_flow_to_a_task_that_only_waits(made: Made) -> None:
    flow = spec({"name": "make", "agent": "maker"}, {"name": "next", "agent": "reader", "dependsOn": ["make"]})
    maker = agent("maker", data={"classification": "confidential"})
    run = run_under(compiled(flow, maker, agent("reader")), made.policy(CLEARED, match=TASK))
    run.step()
    assert [request.task for request in run.succeed("make", {"n": 1}).create] == ["next"]


def test_history_knows_who_approved(made: Made) -> None:
    flow = spec(
        {"name": "ask", "agent": None, "approval": {"message": "?", "approverUsers": ["bob"]}},
        {"name": "act", "agent": "risky", "dependsOn": ["ask"]},
    )
    run = run_under(compiled(flow, agent("risky", risk="high")), made.policy(APPROVED, match=TASK))
    run.step()
    held = run.status.tasks["ask"].model_copy(
        update={"phase": "Completed", "output": {"approvedBy": ["bob"], "reasons": {}}}
    )
    run.write(run.status.model_copy(update={"tasks": {**run.status.tasks, "ask": held}}))
    assert [request.task for request in run.step().create] == ["act"]


def test_without_an_approval_a_risky_agent_is_denied(made: Made) -> None:
    run = run_under(
        compiled(spec({"name": "act", "agent": "risky"}), agent("risky", risk="high")),
        made.policy(APPROVED, match=TASK),
    )
    assert run.step().create == ()


def test_a_limit_of_pods_counts_retries_and_items(made: Made) -> None:
    each = {"forEach": {"range": {"count": 3}, "parallelism": 3}}
    flow = spec({"name": "a", **each}, {"name": "b", "dependsOn": ["a"]}, {"name": "c", "dependsOn": ["b"]})
    run = run_under(compiled(flow), made.policy("execution.pods < 4", match=TASK))
    run.step()
    for index in range(3):
        run.succeed(f"a[{index}]")
    assert run.phases()["b"] == "Running"
    run.succeed("b")
    assert (run.phases()["c"], run.status.tasks["c"].reason) == ("Failed", "PolicyDenied")


# --- cost ---


def test_nothing_is_made_for_policies_about_others(made: Made) -> None:
    revision = compiled(spec({"name": "a"}))
    elsewhere = {"kinds": ["Task", "Execution"], "namespaces": ["other"]}
    run = run_under(
        revision,
        made.policy("plan.tasks.size() > 9", match={"kinds": ["Execution"], "namespaces": ["x"]}),
        made.policy("history.size() > 9", name="two", match={**elsewhere, "kinds": ["Task"]}),
    )
    decision = run.step()
    assert (decision.rulings, revision.memo) == ((), {})


def test_a_plan_is_made_once_a_revision(made: Made) -> None:
    revision = compiled(spec({"name": "a"}, {"name": "b"}))
    rule = made.policy("plan.tasks.size() == 2", match=TASK)
    run_under(revision, rule).step()
    before = dict(revision.memo)
    run_under(revision, rule).step()
    assert before
    assert all(revision.memo[key] is value for key, value in before.items())


# --- exceptions ---


def exception(kind: str, name: str, digest: str, *, uid: str | None, minutes: int = 60) -> AgentPolicyException:
    return AgentPolicyException.model_validate(
        {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": "AgentPolicyException",
            "metadata": {
                "name": "one",
                "namespace": "team",
                "creationTimestamp": to_text(NOW - timedelta(minutes=1)),
            },
            "spec": {
                "policy": "a-policy",
                "target": {"kind": kind, "name": name, "uid": uid, "specHash": digest},
                "owner": "team",
                "reason": "it has to run",
                "expiresAt": to_text(NOW + timedelta(minutes=minutes)),
            },
        }
    )


def never(made: Made, match: JSONObject) -> CompiledPolicy:
    return made.policy("1 > 2", match=match, exceptions={"maxDuration": "24h", "secondPerson": False})


def test_an_exception_for_the_agent_holds_for_its_tasks_alone(made: Made) -> None:
    one, two = agent("one"), agent("two")
    flow = spec({"name": "a", "agent": "one"}, {"name": "b", "agent": "two"}, failFast=False)
    held = exception("Agent", "one", spec_hash(one.spec), uid=one.uid)
    run = run_under(compiled(flow, one, two), never(made, TASK), exceptions=(held,))
    assert [request.task for request in run.step().create] == ["a"]


def test_an_exception_that_ends_while_it_runs_holds_no_longer(made: Made) -> None:
    worker = agent("worker")
    held = exception("Agent", "worker", spec_hash(worker.spec), uid=worker.uid, minutes=5)
    flow = spec({"name": "a"}, {"name": "b", "dependsOn": ["a"]})
    run = run_under(compiled(flow, worker), never(made, TASK), exceptions=(held,))
    assert [request.task for request in run.step().create] == ["a"]
    run.later(minutes=6)
    assert run.succeed("a").create == ()
    assert (run.phases(), run.phase()) == ({"a": "Completed", "b": "Failed"}, "Failed")


@pytest.mark.parametrize(("uid", "phase"), [("uid-flow", "Running"), ("another", "Failed")])
def test_an_exception_for_the_workflow_is_by_the_users_own_spec(made: Made, uid: str, phase: str) -> None:
    """Also where policies have filled in what it leaves out."""
    workflow = spec({"name": "a"})
    rev = Revision(workflow="flow", version="1", spec=workflow, agents={"worker": agent("worker")})
    defaults = made.resource(defaults={"taskTimeout": "5m"}, match={"kinds": ["Workflow"]}).spec.defaults
    assert defaults is not None
    revision = compile_revision(with_defaults(rev, [defaults]))
    assert revision.revision.spec.tasks[0].timeout == "5m"
    held = exception("Workflow", "flow", spec_hash(workflow), uid=uid)
    live = LiveWorkflow("uid-flow", revision.name, spec_hash(workflow))
    run = run_under(revision, never(made, EXECUTION), exceptions=(held,), workflow=lambda: live)
    run.step()
    assert run.phase() == phase


def test_an_exception_for_a_workflow_with_triggers_holds_while_that_is_what_runs(made: Made) -> None:
    user = spec({"name": "a"}, triggers=[{"name": "nightly", "cron": "0 2 * * *"}])
    revision = compiled(user.model_copy(update={"triggers": None}))
    held = exception("Workflow", "flow", spec_hash(user), uid="uid-flow")
    for published, phase in ((revision.name, "Running"), ("flow-later", "Failed")):
        live = partial(LiveWorkflow, "uid-flow", published, spec_hash(user))
        run = run_under(revision, never(made, EXECUTION), exceptions=(held,), workflow=live)
        run.step()
        assert run.phase() == phase


def test_a_message_is_text_whatever_the_names_are(made: Made) -> None:
    rule = {"expression": "false && input.x == 1", "messageExpression": "'no: ' + input.x"}
    hostile = "\u202e${{ 1 }} <script> %s \\n {0}"
    run = run_under(
        compiled(spec({"name": "a", "input": {"x": "${{ inputs.x }}"}})),
        made.policy(rule, match=TASK),
        inputs={"x": hostile},
    )
    run.step()
    assert run.status.error is not None
    assert run.status.error.message == f"task 'a' failed: policy 'a-policy': no: {hostile}"
    assert json.loads(json.dumps(run.status.to_json()))["error"]["message"] == run.status.error.message


def test_what_a_nested_workflow_gives_is_as_confidential_as_it_says(made: Made) -> None:
    flow = spec({"name": "sub", "agent": None, "workflow": "other"}, {"name": "read", "input": _output_of("sub")})
    run = run_under(compiled(flow), made.policy(CLEARED, match=TASK))
    (child,) = run.step().children
    view = child_view(child.name, "sub", created_at=run.now, outputs={"n": 1}, classification="restricted")
    run.change(children={child.name: view})
    assert run.step().create == ()
    assert (run.status.classification, run.phases()) == ("restricted", {"sub": "Completed", "read": "Failed"})


def test_an_agent_that_is_found_riskier_while_it_runs(made: Made) -> None:
    """It is frozen, and its assessment is not."""
    revision = compiled(spec({"name": "a"}, {"name": "b", "dependsOn": ["a"]}, finally_=[{"name": "last"}]))
    run = run_under(revision, made.policy("agent.risk != 'high'", match=TASK))
    judge = run.snapshot.judge
    assert isinstance(judge, PolicyJudge)
    assert [request.task for request in run.step().create] == ["a"]
    run.change(judge=PolicyJudge(policies=judge.policies, assessments=lambda _: Assessment(risk="high")))
    assert run.succeed("a").create == ()
    assert run.phases() == {"a": "Completed", "b": "Failed", "last": "Failed"}


def test_the_plan_has_the_assessments_of_now(made: Made) -> None:
    rule = made.policy("plan.tasks.all(t, t.agent.risk != 'high' || t.approvedBefore)", match=EXECUTION)
    for assessed, phase in ((None, "Running"), (Assessment("limited"), "Running"), (Assessment("high"), "Failed")):
        run = run_under(compiled(spec({"name": "a"})), rule)
        run.change(judge=PolicyJudge(policies=PolicySet((rule,)), assessments=partial(_assessed, assessed)))
        run.step()
        assert run.phase() == phase


def _assessed(held: Assessment | None, _agent: str) -> Assessment | None:
    return held
