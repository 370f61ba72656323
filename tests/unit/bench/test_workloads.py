"""The benchmark's own resources are good ones, and its fake node says what a kubelet says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from ossa.api.agent import AgentSpec
from ossa.api.contract import ANNOTATION_IDENTITY, TaskIdentity
from ossa.api.validation import agent_problems
from ossa.api.workflow import WorkflowSpec
from ossa.engine.checks import workflow_problems
from ossa.kube.pods import identity_of, pod_view
from tests.bench import node, observer, workloads

IDENTITY = TaskIdentity(namespace="n", execution="run-1", uid="u", workflow="pipeline", task="rules")


@pytest.mark.parametrize("scheduler", [True, False])
def test_agents_have_no_problems(scheduler: bool) -> None:
    for item in workloads.agents(scheduler=scheduler):
        assert agent_problems(AgentSpec.model_validate(item["spec"])) == []


def test_the_pipeline_is_a_workflow_of_seven_tasks() -> None:
    spec = WorkflowSpec.model_validate(workloads.pipeline()["spec"])
    assert workflow_problems(spec) == []
    assert workloads.parents(workloads.pipeline()) == {
        "ingest": frozenset(),
        "validate": {"ingest"},
        "transform": {"validate"},
        "ml-score": {"transform"},
        "rules": {"transform"},
        "aggregate": {"ml-score", "rules"},
        "report": {"aggregate", "validate", "ml-score"},
    }


def test_pods_of_the_ceiling_go_the_same_way_as_those_of_the_agents() -> None:
    for scheduler in (True, False):
        plain = workloads.plain_pod("x", scheduler=scheduler)["spec"]
        [agent, *_] = workloads.agents(scheduler=scheduler)
        template = agent["spec"]["runtime"]["podTemplate"]["spec"]
        assert {key: plain[key] for key in template} == template
        assert ("nodeName" in plain) is not scheduler


def pod(**status: Any) -> dict[str, Any]:
    metadata = {
        "name": "p",
        "uid": "pu",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {ANNOTATION_IDENTITY: IDENTITY.model_dump_json()},
    }
    return {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": status}


def test_the_operator_reads_the_end_that_the_fake_node_writes() -> None:
    output = orjson.dumps({"verdicts": 3}).decode()
    ended = pod(**node.succeeded(output, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))["status"])
    identity = identity_of(ended)
    assert identity is not None
    view = pod_view(ended, identity)
    assert view.ended
    assert view.succeeded
    assert (view.exit_code, view.message) == (0, output)


def test_the_observer_names_pods_by_their_task() -> None:
    assert observer.pod_key(pod()) == "run-1/rules/0"
    plain = {"metadata": {"name": "plain-1"}}
    assert observer.pod_key(plain) == "plain-1"
