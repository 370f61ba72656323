"""Names of pods, child Executions and approvals."""

from __future__ import annotations

import hashlib

from ossa.api.contract import TaskIdentity

_LIMIT = 63
_HASH_LENGTH = 10
_TASK_SHARE = 24


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
