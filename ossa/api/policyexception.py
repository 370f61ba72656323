"""AgentPolicyException: one object that need not keep to one policy, for a while, and who answers for that."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ossa.api.approval import MAX_DECISIONS
from ossa.api.base import Condition, Model, ObjectName, Resource, StatusModel, Timestamp

ExceptionState = Literal["Pending", "Active", "Expired", "Refused"]


class ExceptionTarget(Model):
    """The object. Its spec is pinned: a change of it ends the exception."""

    kind: Literal["Agent", "Workflow", "Execution"] = Field(description="Agent, Workflow or Execution.")
    name: ObjectName = Field(description="Name of the object, in the exception's namespace.")
    uid: str | None = Field(
        default=None,
        max_length=64,
        description="UID of the object. Unset while it is not there: the first one with this name and spec gets it.",
    )
    spec_hash: str = Field(
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="Hash of the object's spec, as `ossa policy hash` prints it.",
    )


class AgentPolicyExceptionSpec(Model):
    """What is excepted, why, and until when. It never changes."""

    policy: ObjectName = Field(description="Name of the AgentPolicy.")
    target: ExceptionTarget = Field(description="The object that need not keep to it.")
    owner: str = Field(min_length=1, max_length=253, description="Who answers for it.")
    reason: str = Field(min_length=1, max_length=2048, description="Why it is needed.")
    expires_at: Timestamp = Field(description="When it ends; the policy says how far off that may be.")


class Confirmation(StatusModel):
    """A second person's word."""

    reason: str = Field(default="", max_length=1024, description="Why, in words.")


class AgentPolicyExceptionStatus(StatusModel):
    """Where it stands."""

    observed_generation: int = Field(default=0, description="The metadata.generation that was looked at.")
    state: ExceptionState = Field(
        default="Pending", description="Pending (it waits for a second person), Active, Expired or Refused."
    )
    uid: str | None = Field(default=None, max_length=64, description="UID of the object that it is bound to.")
    message: str | None = Field(
        default=None, max_length=4096, description="What it waits for, or why it does not hold."
    )
    conditions: list[Condition] = Field(default_factory=list, max_length=16, description="Active: it holds now.")


class AgentPolicyException(Resource):
    """One object that need not keep to one policy for a while. The policy has to allow exceptions."""

    spec: AgentPolicyExceptionSpec = Field(description="What is excepted, why, and until when; it never changes.")
    confirmations: dict[str, Confirmation] = Field(
        default_factory=dict,
        max_length=MAX_DECISIONS,
        description="Who confirmed it, by user name. Each adds an entry of their own; none is changed or removed.",
    )
    status: AgentPolicyExceptionStatus = Field(
        default_factory=AgentPolicyExceptionStatus, description="Where it stands."
    )
