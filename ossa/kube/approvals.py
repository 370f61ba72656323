"""The Approval of an attempt: built as the API server takes it."""

from __future__ import annotations

from ossa.api.approval import ApprovalSpec
from ossa.api.base import JSONObject
from ossa.api.contract import (
    API_VERSION,
    LABEL_ATTEMPT,
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_MANAGED_BY,
    LABEL_TASK,
    LABEL_WORKFLOW,
    MANAGED_BY,
    TaskIdentity,
)
from ossa.engine.names import approval_name
from ossa.kube.labels import label_value
from ossa.kube.pods import owner_reference


def build_approval(identity: TaskIdentity, spec: ApprovalSpec) -> JSONObject:
    """The Approval of an attempt. It goes with its Execution, and the same attempt has the same name."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Approval",
        "metadata": {
            "name": approval_name(identity),
            "namespace": identity.namespace,
            "labels": {
                LABEL_MANAGED_BY: MANAGED_BY,
                LABEL_EXECUTION: label_value(identity.execution),
                LABEL_EXECUTION_UID: identity.uid,
                LABEL_WORKFLOW: label_value(identity.workflow),
                LABEL_TASK: label_value(identity.task),
                LABEL_ATTEMPT: str(identity.attempt),
            },
            "ownerReferences": [owner_reference(identity.execution, identity.uid)],
        },
        "spec": spec.to_json(),
    }


def is_of(item: JSONObject, identity: TaskIdentity) -> bool:
    """Whether an Approval that has the name already (409) is that of this attempt."""
    spec = item.get("spec") or {}
    held = (spec.get("execution") or {}).get("uid"), spec.get("task"), spec.get("round"), spec.get("attempt")
    return held == (identity.uid, identity.task, identity.round, identity.attempt)
