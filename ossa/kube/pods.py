"""The pod that runs an attempt of a task: built from a request, and read back as a slim record."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ossa.api.agent import AgentSpec, Capability
from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_CAPABILITY,
    ANNOTATION_EPOCH,
    ANNOTATION_IDENTITY,
    ANNOTATION_INPUT,
    API_VERSION,
    ARTIFACTS_AUDIENCE,
    DEFAULT_SERVICE_ACCOUNT,
    ENV_ARTIFACTS_TOKEN,
    ENV_ARTIFACTS_URL,
    ENV_CAPABILITY,
    ENV_HANDLER,
    ENV_INPUT,
    ENV_OUTPUT,
    ENV_TASK,
    LABEL_AGENT,
    LABEL_ATTEMPT,
    LABEL_BATCH,
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_MANAGED_BY,
    LABEL_TASK,
    LABEL_WORKFLOW,
    MAIN_CONTAINER,
    MANAGED_BY,
    OUTPUT_PATH,
    POD_INFO_PATH,
    TOKEN_FILE,
    TaskIdentity,
)
from ossa.engine.snapshot import PodView
from ossa.kube.labels import label_value
from ossa.tracing import ENV_ENDPOINT

VOLUME = "ossa-in"
TOKEN_SECONDS = 3600
GRACE_SECONDS = 30
# What of the identity is no part of the contract with a worker.
OPERATOR_S_OWN = {"lost", "locks", "lineage", "judged", "epoch"}


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What every pod of this installation is given."""

    artifacts_url: str
    epoch: int  # of the leader that creates it; the API server refuses any but the newest
    otlp_endpoint: str = ""  # where its SDK exports spans; empty: nowhere. An agent's own goes first


def build_pod(  # noqa: PLR0913 - each by name
    name: str,
    identity: TaskIdentity,
    *,
    agent_name: str,
    agent: AgentSpec,
    image: str,
    capability: Capability,
    input_value: JSONObject,
    settings: PodSettings,
    batch: int | None = None,
) -> JSONObject:
    """The Pod as the API server takes it; `batch` is set for an item of a forEach.

    What the agent's podTemplate says is kept where it is not ours to say.
    """
    template = agent.runtime.pod_template
    spec: JSONObject = copy.deepcopy(template.spec) if template is not None and template.spec is not None else {}
    base = template.metadata if template is not None else None
    _set_pod_defaults(spec, agent)
    _set_volumes(spec)
    _set_main(spec, agent, image, _environment(identity, agent, settings), settings.otlp_endpoint)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": identity.namespace,
            "labels": {**((base and base.labels) or {}), **_labels(identity, agent_name, batch)},
            "annotations": {
                **((base and base.annotations) or {}),
                ANNOTATION_EPOCH: str(settings.epoch),
                ANNOTATION_IDENTITY: identity.model_dump_json(),
                ANNOTATION_INPUT: orjson.dumps(input_value).decode(),
                ANNOTATION_CAPABILITY: orjson.dumps(
                    {"inputSchema": capability.input_schema, "outputSchema": capability.output_schema}
                ).decode(),
            },
            "ownerReferences": [owner_reference(identity.execution, identity.uid)],
        },
        "spec": spec,
    }


def owner_reference(execution: str, uid: str, *, controller: bool = True) -> JSONObject:
    """Deleting the Execution deletes what carries this."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "name": execution,
        "uid": uid,
        "controller": controller,
        "blockOwnerDeletion": False,
    }


def _labels(identity: TaskIdentity, agent_name: str, batch: int | None) -> dict[str, str]:
    return {
        **({LABEL_BATCH: str(batch)} if batch is not None else {}),
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_EXECUTION: label_value(identity.execution),
        LABEL_EXECUTION_UID: identity.uid,
        LABEL_WORKFLOW: label_value(identity.workflow),
        LABEL_TASK: label_value(identity.task),
        LABEL_AGENT: label_value(agent_name),
        LABEL_ATTEMPT: str(identity.attempt),
    }


def _environment(identity: TaskIdentity, agent: AgentSpec, settings: PodSettings) -> dict[str, str]:
    env = {
        ENV_INPUT: f"{POD_INFO_PATH}/input.json",
        ENV_OUTPUT: OUTPUT_PATH,
        ENV_TASK: identity.model_dump_json(exclude=OPERATOR_S_OWN),
        ENV_CAPABILITY: f"{POD_INFO_PATH}/capability.json",
        ENV_ARTIFACTS_URL: settings.artifacts_url,
        ENV_ARTIFACTS_TOKEN: f"{POD_INFO_PATH}/{TOKEN_FILE}",
    }
    if agent.runtime.handler is not None:
        env[ENV_HANDLER] = agent.runtime.handler
    return env


def _set_pod_defaults(spec: JSONObject, agent: AgentSpec) -> None:
    spec["restartPolicy"] = "Never"  # an attempt is one run; a new attempt is a new pod
    spec["serviceAccountName"] = agent.runtime.service_account_name or DEFAULT_SERVICE_ACCOUNT
    spec.setdefault("automountServiceAccountToken", False)
    spec.setdefault("enableServiceLinks", False)
    spec.setdefault("terminationGracePeriodSeconds", GRACE_SECONDS)
    context = spec.setdefault("securityContext", {})
    context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    if agent.runtime.handler is not None:
        context.setdefault("runAsNonRoot", True)


def _set_volumes(spec: JSONObject) -> None:
    """One volume for all: each volume more, and each mount, makes every event and every write of the pod dearer."""
    files = [
        _annotation_file("input.json", ANNOTATION_INPUT),
        _annotation_file("capability.json", ANNOTATION_CAPABILITY),
    ]
    token = {"path": TOKEN_FILE, "audience": ARTIFACTS_AUDIENCE, "expirationSeconds": TOKEN_SECONDS}
    sources = [{"downwardAPI": {"items": files}}, {"serviceAccountToken": token}]
    ours = {"name": VOLUME, "projected": {"sources": sources}}
    spec["volumes"] = _placed(spec.get("volumes") or [], [ours], "name")


def _annotation_file(path: str, annotation: str) -> JSONObject:
    return {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}


def _set_main(
    spec: JSONObject, agent: AgentSpec, image: str, environment: Mapping[str, str], otlp_endpoint: str
) -> None:
    containers = spec.setdefault("containers", [])
    main: JSONObject | None = next((c for c in containers if c.get("name") == MAIN_CONTAINER), None)
    if main is None:
        main = {"name": MAIN_CONTAINER}
        containers.insert(0, main)
    main["image"] = image
    container = agent.runtime.container
    if container is not None:
        if container.command is not None:
            main["command"] = list(container.command)
        if container.args is not None:
            main["args"] = list(container.args)
    if agent.runtime.resources is not None:
        main["resources"] = agent.runtime.resources.to_json()
    main.setdefault("imagePullPolicy", "IfNotPresent")
    main["terminationMessagePath"] = OUTPUT_PATH
    main["terminationMessagePolicy"] = "FallbackToLogsOnError"
    main["env"] = _placed(
        main.get("env") or [], [{"name": key, "value": value} for key, value in environment.items()], "name"
    )
    if otlp_endpoint and all(held["name"] != ENV_ENDPOINT for held in main["env"]):
        main["env"].append({"name": ENV_ENDPOINT, "value": otlp_endpoint})
    mount = {"name": VOLUME, "mountPath": POD_INFO_PATH, "readOnly": True}
    main["volumeMounts"] = _placed(main.get("volumeMounts") or [], [mount], "mountPath")
    if agent.runtime.handler is not None:
        security = main.setdefault("securityContext", {})
        security.setdefault("allowPrivilegeEscalation", False)
        security.setdefault("capabilities", {"drop": ["ALL"]})


def _placed(theirs: list[JSONObject], ours: list[JSONObject], key: str) -> list[JSONObject]:
    """Both lists, ours in place of those of theirs that have the same key."""
    taken = {item[key] for item in ours}
    return [item for item in theirs if item.get(key) not in taken] + ours


def identity_of(pod: Mapping[str, Any]) -> TaskIdentity | None:
    """Which attempt a pod runs; None for a pod that no operator of ours made."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_IDENTITY)
    if text is None:
        return None
    try:
        return TaskIdentity.model_validate_json(text)
    except ValueError:
        return None


def pod_view(pod: Mapping[str, Any], identity: TaskIdentity) -> PodView:
    """The part of a pod that decisions need: a pod is 11 to 20 KB as a dict, this is a few hundred bytes."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    main: JSONObject = next((c for c in containers if c.get("name") == MAIN_CONTAINER), {})
    state = main.get("state") or {}
    ended, waiting = state.get("terminated") or {}, state.get("waiting") or {}
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        task=identity.task,
        attempt=identity.attempt,
        phase=status.get("phase", "Pending"),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting=metadata.get("deletionTimestamp") is not None,
        exit_code=ended.get("exitCode"),
        terminated_reason=ended.get("reason"),
        message=ended.get("message"),
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message"),
        pod_reason=status.get("reason"),
        pod_message=status.get("message"),
        unschedulable=_unschedulable(status),
        disrupted=_disrupted(status),
        containers=len(pod["spec"].get("containers") or []) + len(pod["spec"].get("initContainers") or []),
        input_json=(metadata.get("annotations") or {}).get(ANNOTATION_INPUT, "{}"),
        index=identity.index,
        round=identity.round,
        lost=identity.lost,
        locks=identity.locks,
        judged=identity.judged,
    )


def _unschedulable(status: Mapping[str, Any]) -> str | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason") or "unschedulable")
    return None


def _disrupted(status: Mapping[str, Any]) -> str | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return str(condition.get("reason") or "unknown")
    return None
