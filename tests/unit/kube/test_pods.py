"""The pod of an attempt: what is ours in it, what the user may say, and how it is read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.contract import (
    ANNOTATION_CAPABILITY,
    ANNOTATION_IDENTITY,
    ANNOTATION_INPUT,
    ENV_HANDLER,
    LABEL_EXECUTION_UID,
    LABEL_MANAGED_BY,
    TaskIdentity,
)
from ossa.engine.snapshot import PodView
from ossa.kube.labels import label_value
from ossa.kube.pods import PodSettings, build_pod, identity_of, owner_reference, pod_view

IDENTITY = TaskIdentity(namespace="lab", execution="run", uid="uid-1", workflow="flow", task="ingest", attempt=2)
URL = "http://artifacts:8080"


def agent(runtime: dict[str, Any], **capability: Any) -> AgentSpec:
    return AgentSpec.model_validate({"capabilities": [{"name": "work", **capability}], "runtime": runtime})


def pod_of(runtime: dict[str, Any], identity: TaskIdentity = IDENTITY, **capability: Any) -> dict[str, Any]:
    spec = agent(runtime, **capability)
    return build_pod(
        "run-ingest-1",
        identity,
        agent_name="worker",
        agent=spec,
        image="worker:1",
        capability=spec.capabilities[0],
        input_value={"records": [1, None], "name": "Grüße"},
        settings=PodSettings(artifacts_url=URL, epoch=3),
    )


def with_template(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    runtime = {"container": {"image": "x"}, "podTemplate": {"metadata": metadata, "spec": spec}}
    return pod_of(runtime)


def main_of(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in pod["spec"]["containers"] if c["name"] == "main")
    return found


def env_of(pod: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in main_of(pod)["env"]}


# --- what is ours ---


def test_it_is_found_and_collected_by_its_execution() -> None:
    metadata = pod_of({"handler": "ingest:run"})["metadata"]
    assert metadata["namespace"] == "lab"
    assert metadata["labels"] == {
        LABEL_MANAGED_BY: "ossa",
        "ossa.dev/execution": "run",
        LABEL_EXECUTION_UID: "uid-1",
        "ossa.dev/workflow": "flow",
        "ossa.dev/task": "ingest",
        "ossa.dev/agent": "worker",
        "ossa.dev/attempt": "2",
    }
    assert metadata["ownerReferences"] == [owner_reference("run", "uid-1")]
    assert metadata["ownerReferences"][0]["controller"] is True


def test_its_annotations_hold_identity_input_and_capability() -> None:
    annotations = pod_of({"handler": "a:b"}, inputSchema={"type": "object"})["metadata"]["annotations"]
    assert TaskIdentity.model_validate_json(annotations[ANNOTATION_IDENTITY]) == IDENTITY
    assert annotations["ossa.dev/epoch"] == "3"
    assert json.loads(annotations[ANNOTATION_INPUT]) == {"records": [1, None], "name": "Grüße"}
    assert json.loads(annotations[ANNOTATION_CAPABILITY]) == {"inputSchema": {"type": "object"}, "outputSchema": None}


def test_the_contract_is_in_its_environment_and_mounts() -> None:
    pod = pod_of({"handler": "ingest:run"})
    env, main = env_of(pod), main_of(pod)
    assert env["OSSA_ARTIFACTS_URL"] == URL
    assert env[ENV_HANDLER] == "ingest:run"
    assert TaskIdentity.model_validate_json(env["OSSA_TASK"]) == IDENTITY
    assert env["OSSA_OUTPUT"] == main["terminationMessagePath"]
    assert main["terminationMessagePolicy"] == "FallbackToLogsOnError"
    mounts = {mount["mountPath"]: mount["name"] for mount in main["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    info, account = volumes[mounts["/ossa/in"]]["projected"]["sources"]
    files = {f"/ossa/in/{item['path']}" for item in info["downwardAPI"]["items"]}
    assert files == {env["OSSA_INPUT"], env["OSSA_CAPABILITY"]}
    assert env["OSSA_ARTIFACTS_TOKEN"] == f"/ossa/in/{account['serviceAccountToken']['path']}"
    assert account["serviceAccountToken"]["audience"] == "ossa-artifacts"


def test_a_container_has_no_handler_and_its_own_command() -> None:
    pod = pod_of({"container": {"image": "debian", "command": ["sh"], "args": ["-c", "true"]}})
    assert ENV_HANDLER not in env_of(pod)
    assert (main_of(pod)["command"], main_of(pod)["args"]) == (["sh"], ["-c", "true"])
    assert main_of(pod)["image"] == "worker:1"  # what the revision resolved, not what the agent says by now


def test_it_runs_once_without_the_cluster_s_token() -> None:
    spec = pod_of({"handler": "a:b"})["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "default"
    assert spec["securityContext"]["runAsNonRoot"] is True


def test_resources_and_service_account_are_the_agent_s() -> None:
    resources = {"requests": {"cpu": "50m"}, "limits": {"memory": "64Mi"}}
    pod = pod_of({"handler": "a:b", "serviceAccountName": "reader", "resources": resources})
    assert main_of(pod)["resources"] == resources
    assert pod["spec"]["serviceAccountName"] == "reader"


# --- what a podTemplate may say ---


def test_a_template_adds_what_is_not_ours() -> None:
    pod = with_template(
        {
            "nodeSelector": {"disk": "ssd"},
            "terminationGracePeriodSeconds": 3,
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "containers": [
                {"name": "sidecar", "image": "proxy"},
                {
                    "name": "main",
                    "env": [{"name": "MODE", "value": "fast"}],
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                },
            ],
        },
        labels={"team": "data"},
        annotations={"note": "mine"},
    )
    assert pod["metadata"]["labels"]["team"] == "data"
    assert pod["metadata"]["annotations"]["note"] == "mine"
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert pod["spec"]["terminationGracePeriodSeconds"] == 3
    assert [c["name"] for c in pod["spec"]["containers"]] == ["sidecar", "main"]
    assert env_of(pod)["MODE"] == "fast"
    assert {mount["mountPath"] for mount in main_of(pod)["volumeMounts"]} == {"/scratch", "/ossa/in"}
    assert {volume["name"] for volume in pod["spec"]["volumes"]} == {"scratch", "ossa-in"}


def test_a_template_cannot_take_what_is_ours() -> None:
    pod = with_template(
        {
            "restartPolicy": "Always",
            "serviceAccountName": "admin",
            "volumes": [{"name": "ossa-in", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main",
                    "image": "evil",
                    "env": [{"name": "OSSA_TASK", "value": "{}"}],
                    "terminationMessagePath": "/dev/null",
                    "volumeMounts": [{"name": "x", "mountPath": "/ossa/in"}],
                }
            ],
        },
        labels={LABEL_MANAGED_BY: "me", LABEL_EXECUTION_UID: "another"},
        annotations={ANNOTATION_INPUT: "{}"},
    )
    assert pod["metadata"]["labels"][LABEL_MANAGED_BY] == "ossa"
    assert pod["metadata"]["labels"][LABEL_EXECUTION_UID] == "uid-1"
    assert json.loads(pod["metadata"]["annotations"][ANNOTATION_INPUT])["records"] == [1, None]
    assert (pod["spec"]["restartPolicy"], pod["spec"]["serviceAccountName"]) == ("Never", "default")
    assert "projected" in next(v for v in pod["spec"]["volumes"] if v["name"] == "ossa-in")
    main = main_of(pod)
    assert main["image"] == "worker:1"
    assert main["terminationMessagePath"] == "/ossa/termination-log"
    assert json.loads(env_of(pod)["OSSA_TASK"])["task"] == "ingest"
    assert [m["name"] for m in main["volumeMounts"] if m["mountPath"] == "/ossa/in"] == ["ossa-in"]


def test_a_template_s_security_context_is_kept_and_completed() -> None:
    runtime = {"handler": "a:b", "podTemplate": {"spec": {"securityContext": {"runAsUser": 1000, "fsGroup": 7}}}}
    context = pod_of(runtime)["spec"]["securityContext"]
    assert context == {
        "runAsUser": 1000,
        "fsGroup": 7,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_building_a_pod_leaves_the_agent_as_it_was() -> None:
    spec = agent({"container": {"image": "x"}, "podTemplate": {"spec": {"containers": [{"name": "main"}]}}})
    before = spec.model_dump_json()
    for number in (1, 2):
        build_pod(
            f"pod-{number}",
            IDENTITY,
            agent_name="a",
            agent=spec,
            image="x",
            capability=spec.capabilities[0],
            input_value={},
            settings=PodSettings(artifacts_url=URL, epoch=3),
        )
    assert spec.model_dump_json() == before


@pytest.mark.parametrize("name", ["a" * 63, "a" * 64, "x." * 60 + "y"])
def test_long_names_fit_a_label(name: str) -> None:
    value = label_value(name)
    assert len(value) <= 63
    assert value[-1].isalnum()
    assert value == label_value(name) != label_value(name + "z")


# --- reading it back ---


def seen(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """The pod as the API server has it."""
    pod = pod_of({"handler": "a:b"})
    pod["metadata"].update({"uid": "uid-pod", "creationTimestamp": "2026-01-01T12:00:00Z", **metadata})
    return {**pod, "status": status}


def view(status: dict[str, Any], **metadata: Any) -> PodView:
    return pod_view(seen(status, **metadata), IDENTITY)


def container(state: dict[str, Any], name: str = "main") -> dict[str, Any]:
    return {"name": name, "state": state}


def test_a_new_pod() -> None:
    found = pod_view({**seen({}), "status": {}}, IDENTITY)
    assert (found.name, found.uid, found.task, found.attempt) == ("run-ingest-1", "uid-pod", "ingest", 2)
    assert found.phase == "Pending"
    assert found.created_at == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert json.loads(found.input_json)["records"] == [1, None]
    assert (found.ended, found.deleting) == (False, False)


def test_main_alone_decides_whether_it_has_ended() -> None:
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "message": '{"a": 1}'}}
    found = view({"phase": "Running", "containerStatuses": [container({"running": {}}, "sidecar"), container(ended)]})
    assert found.ended
    assert found.succeeded
    assert found.message == '{"a": 1}'
    other = view({"phase": "Running", "containerStatuses": [container(ended, "sidecar"), container({"running": {}})]})
    assert not other.ended


def test_a_pod_that_is_being_deleted() -> None:
    assert view({"phase": "Running"}, deletionTimestamp="2026-01-01T12:00:30Z").deleting


def test_why_it_waits() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    found = view({"phase": "Pending", "containerStatuses": [container(waiting)]})
    assert (found.waiting_reason, found.waiting_message) == ("ErrImagePull", "no such image")


def test_why_the_node_ended_it() -> None:
    found = view({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    assert (found.pod_reason, found.pod_message, found.ended, found.succeeded) == (
        "Evicted",
        "low on memory",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ({"status": "False", "message": "0/1 nodes are available"}, "0/1 nodes are available"),
        ({"status": "False", "reason": "Unschedulable"}, "Unschedulable"),
        ({"status": "False"}, "unschedulable"),
        ({"status": "True"}, None),
    ],
)
def test_a_pod_that_no_node_takes(condition: dict[str, str], text: str | None) -> None:
    found = view({"phase": "Pending", "conditions": [{"type": "PodScheduled", **condition}]})
    assert found.unschedulable == text


def test_all_containers_count_since_they_share_the_room_for_messages() -> None:
    pod = seen({})
    pod["spec"]["containers"].append({"name": "sidecar"})
    pod["spec"]["initContainers"] = [{"name": "init"}]
    assert pod_view(pod, IDENTITY).containers == 3


@pytest.mark.parametrize("annotations", [None, {}, {ANNOTATION_IDENTITY: "{"}, {ANNOTATION_IDENTITY: "{}"}])
def test_pods_that_are_not_ours_have_no_identity(annotations: dict[str, str] | None) -> None:
    assert identity_of({"metadata": {"annotations": annotations}}) is None


def test_the_identity_is_what_was_given() -> None:
    assert identity_of(pod_of({"handler": "a:b"})) == IDENTITY


@pytest.mark.parametrize(("own", "expected"), [(None, "http://collector:4318"), ("http://mine", "http://mine")])
def test_workers_export_their_spans_where_the_operator_says_unless_the_agent_does(
    own: str | None, expected: str
) -> None:
    env = [] if own is None else [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": own}]
    template = {"spec": {"containers": [{"name": "main", "env": env}]}}
    spec = agent({"container": {"image": "x"}, "podTemplate": template})
    pod = build_pod(
        "run-ingest-1",
        IDENTITY,
        agent_name="worker",
        agent=spec,
        image="worker:1",
        capability=spec.capabilities[0],
        input_value={},
        settings=PodSettings(artifacts_url=URL, epoch=3, otlp_endpoint="http://collector:4318"),
    )
    assert env_of(pod)["OTEL_EXPORTER_OTLP_ENDPOINT"] == expected
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in env_of(pod_of({"container": {"image": "x"}}))
