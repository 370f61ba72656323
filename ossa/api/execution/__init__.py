"""Execution: one run of a workflow."""

from __future__ import annotations

from pydantic import Field

from ossa.api.base import Resource
from ossa.api.execution.spec import ExecutionSpec
from ossa.api.execution.status import (
    MAX_LINEAGE,
    MAX_OVERRULED,
    MAX_PARTS,
    MAX_STARTS,
    MAX_VERSIONS,
    ArchivedPart,
    ArchiveStatus,
    ExecutionError,
    ExecutionPhase,
    ExecutionStatus,
    OverruledDenial,
)
from ossa.api.execution.tasks import MAX_APPROVERS, AttemptStatus, ItemsStatus, Reason, TaskPhase, TaskStatus

__all__ = [
    "MAX_APPROVERS",
    "MAX_LINEAGE",
    "MAX_OVERRULED",
    "MAX_PARTS",
    "MAX_STARTS",
    "MAX_VERSIONS",
    "ArchiveStatus",
    "ArchivedPart",
    "AttemptStatus",
    "Execution",
    "ExecutionError",
    "ExecutionPhase",
    "ExecutionSpec",
    "ExecutionStatus",
    "ItemsStatus",
    "OverruledDenial",
    "Reason",
    "TaskPhase",
    "TaskStatus",
]


class Execution(Resource):
    """One run of a workflow: worker pods along its graph, and where it stands."""

    spec: ExecutionSpec = Field(description="The wanted run.")
    status: ExecutionStatus = Field(default_factory=ExecutionStatus, description="Where the run stands.")
