"""Names of pods, child Executions, approvals, and the Executions that triggers make."""

from __future__ import annotations

import hashlib
from datetime import datetime

from ossa.api.contract import TaskIdentity

_LIMIT = 63
_HASH_LENGTH = 10
_TASK_SHARE = 24
_OBJECT_LIMIT = 253
_MINUTES_SHARE = 10


def pod_name(identity: TaskIdentity) -> str:
    """EXECUTION-TASK-HASH, a DNS label: readable in front, different for every attempt of every Execution."""
    parts = (identity.uid, identity.task, identity.index, identity.round, identity.attempt, identity.epoch)
    key = "/".join(map(str, parts))
    digest = hashlib.sha256(key.encode()).hexdigest()[:_HASH_LENGTH]
    task = identity.task[:_TASK_SHARE].strip("-")
    room = _LIMIT - _HASH_LENGTH - len(task) - 2
    execution = identity.execution.replace(".", "-")[:room].strip("-")
    return f"{execution}-{task}-{digest}"


def approval_name(identity: TaskIdentity) -> str:
    """The Approval of an attempt is called as its pod would be, whichever reconciler asks for it."""
    return pod_name(identity.model_copy(update={"epoch": 0}))


def triggered_name(workflow: str, trigger: str, scheduled_at: datetime) -> str:
    """WORKFLOW.TRIGGER-MINUTES: the Execution of a scheduled time has this name and no other.

    A trigger's name has no dot and the minutes no hyphen, so no two triggers of a namespace share a name.
    """
    room = _OBJECT_LIMIT - len(trigger) - _MINUTES_SHARE - 2
    if len(workflow) > room:
        digest = hashlib.sha256(workflow.encode()).hexdigest()[:_HASH_LENGTH]
        workflow = f"{workflow[: room - _HASH_LENGTH - 1].rstrip('-.')}-{digest}"
    return f"{workflow}.{trigger}-{int(scheduled_at.timestamp()) // 60}"
