"""Executions that hold their workflow themselves: what they wait for, and what resumes them."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.execution import TaskStatus
from ossa.api.workflow import InlineWorkflow
from ossa.engine.revision import Revision, compile_revision, revision_name
from ossa.engine.snapshot import Source, WorkflowView
from tests.unit.engine.world import Run, agent, spec

INLINE = InlineWorkflow.model_validate({"tasks": [{"name": "a", "agent": "worker"}, {"name": "b", "agent": "worker"}]})
OTHER = InlineWorkflow.model_validate({"tasks": [{"name": "a", "agent": "worker"}]})


def a_run(**fields: Any) -> Run:
    held = spec({"name": "a"}, {"name": "b"})
    run = Run(compile_revision(Revision(workflow="", version="0.0.0", spec=held, agents={"worker": agent()})))
    changed = {"workflow": None, "workflow_spec": INLINE, **fields}
    wanted = run.snapshot.execution.spec.model_copy(update=changed)
    run.change(execution=run.snapshot.execution.model_copy(update={"spec": wanted}))
    return run


def test_it_runs_its_own_revision() -> None:
    run = a_run()
    assert run.revision.name.startswith("inline-")
    run.step()
    assert run.status.revision == run.revision.name
    assert {request.identity.workflow for request in run.requests} == {""}
    run.succeed("a")
    run.succeed("b")
    assert run.phase() == "Completed"


def test_it_waits_for_its_agents() -> None:
    run = a_run()
    missing = "spec.workflowSpec.tasks[0].agent: there is no Agent 'worker' in this namespace"
    run.change(revision=None, workflow=WorkflowView("Draft", None, missing, current=True))
    run.step()
    assert (run.phase(), run.status.message) == ("Pending", missing)


def test_what_makes_no_sense_never_starts() -> None:
    run = a_run()
    wrong = "spec.workflowSpec.tasks[0].when: it is no expression"
    run.change(revision=None, workflow=WorkflowView("Draft", None, wrong, current=True, invalid=True))
    run.step()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.reason == "InvalidInput"
    assert run.status.error.message.startswith(wrong)


def test_it_resumes_one_with_the_same_workflow() -> None:
    run = a_run(retry_of="first")
    ended = {"a": TaskStatus(phase="Completed", attempt=1, output={}), "b": TaskStatus(phase="Failed", attempt=1)}
    # As it was read from the API server: with the defaults that it writes.
    same = InlineWorkflow.model_validate(INLINE.to_json())
    run.change(workflow=None, source=Source(uid="u", inline=same, revision=run.revision.name, tasks=ended))
    run.step()
    assert run.phase() == "Running"
    assert run.phases() == {"a": "Completed", "b": "Running"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (Source(uid="u", inline=OTHER), "spec.retryOf: Execution 'first' holds another workflow, and"),
        (Source(uid="u", workflow="flow"), "spec.retryOf: Execution 'first' ran Workflow 'flow', and"),
    ],
)
def test_it_resumes_no_other(source: Source, why: str) -> None:
    run = a_run(retry_of="first")
    run.change(workflow=None, source=source)
    run.step()
    assert run.status.error is not None
    assert run.status.error.message.startswith(why)


def test_one_that_names_a_workflow_resumes_none_that_holds_its_own() -> None:
    run = a_run(workflow="flow", workflow_spec=None, retry_of="first")
    run.change(source=Source(uid="u", inline=OTHER))
    run.step()
    assert run.status.error is not None
    assert "holds another workflow" in run.status.error.message


def test_executions_with_the_same_workflow_share_a_revision() -> None:
    first, second = (
        Revision(workflow="", version="0.0.0", spec=spec({"name": "a"}), agents={"worker": agent()}) for _ in range(2)
    )
    assert revision_name(first) == revision_name(second)
    # No Workflow has its name, whatever it holds.
    named = first.model_copy(update={"workflow": "inline"})
    assert revision_name(named) != revision_name(first)
