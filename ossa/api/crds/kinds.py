"""The kinds as the API server knows them: how they are called, and shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ossa.api.agent import Agent
from ossa.api.approval import Approval
from ossa.api.base import JSONObject, Resource
from ossa.api.execution import Execution
from ossa.api.policy import AgentPolicy
from ossa.api.policyexception import AgentPolicyException
from ossa.api.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column; a wide one is shown under `-o wide` alone."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False

    def to_json(self) -> JSONObject:
        column: JSONObject = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        if self.wide:
            column["priority"] = 1
        return column


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as it is known to the API server."""

    model: type[Resource]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"

    @property
    def name(self) -> str:
        return self.model.__name__


KINDS = (
    Kind(
        Agent,
        "agents",
        "oagent",
        (
            Column("Type", ".spec.type", description="Place in the taxonomy of agents."),
            Column("Version", ".spec.version"),
            Column("Ready", ".status.ready", description="Whether a task can run on it now."),
            Column("Image", ".status.image", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Workflow,
        "workflows",
        "owf",
        (
            Column("Phase", ".status.phase", description="Draft, or Published: Executions can start."),
            Column("Tasks", ".status.tasks", "integer"),
            Column("Version", ".spec.version"),
            Column("Message", ".status.message", description="Why it is a Draft, and what to do."),
            Column("Revision", ".status.revision", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Execution,
        "executions",
        "exe",
        (
            Column("Workflow", ".spec.workflow"),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress", description="Tasks that ended well of all tasks."),
            Column("Message", ".status.message", description="What it waits for, or why it failed."),
            Column("Duration", ".status.duration", description="Written when it ends.", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Approval,
        "approvals",
        "oappr",
        (
            Column("Execution", ".spec.execution.name"),
            Column("Task", ".spec.task"),
            Column("State", ".status.state", description="Pending, Approved, Rejected or Expired."),
            Column("Approved", ".status.approved", description="Approvals given of those needed."),
            Column("Message", ".spec.message", description="What is asked.", wide=True),
            _AGE,
        ),
    ),
    Kind(
        AgentPolicy,
        "agentpolicies",
        "apol",
        (
            Column("Action", ".spec.action", description="Enforce, Warn or Audit."),
            Column("Ready", ".status.ready", description="Whether it is judged by."),
            Column("Violations", ".status.violations", "integer", "Objects that do not keep to it now."),
            Column("Native", ".status.native", description="Whether the API server enforces it too.", wide=True),
            Column("Severity", ".spec.severity", wide=True),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
        scope="Cluster",
    ),
    Kind(
        AgentPolicyException,
        "agentpolicyexceptions",
        "apolex",
        (
            Column("Policy", ".spec.policy"),
            Column("Kind", ".spec.target.kind"),
            Column("Object", ".spec.target.name"),
            Column("State", ".status.state", description="Pending, Active, Expired or Refused."),
            Column("Expires", ".spec.expiresAt"),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
    ),
)
