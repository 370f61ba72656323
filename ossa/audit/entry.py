"""One line of the audit trail."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

# asked: written down before it is carried out; the entry of the same id that says how it ended follows.
Outcome = Literal["asked", "allowed", "denied", "failed"]


class Entry(BaseModel):
    """Who did what, when, and how it ended. Nothing of a body, a token or a password is in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(max_length=64, description="The request's id; the same where it is written twice.")
    time: AwareDatetime
    user: str = Field(max_length=512, description="As Kubernetes knows them; empty where nobody signed in.")
    address: str = Field(default="", max_length=64)
    verb: str = Field(max_length=32, description="create, update, delete, approve, sign-in, …")
    resource: str = Field(max_length=64, description="What kind of thing: executions, approvals, sessions, …")
    namespace: str = ""
    name: str = Field(default="", max_length=512)
    outcome: Outcome
    status: int = Field(description="Of the HTTP answer; 0 where there was none yet.")
    count: int = Field(default=1, ge=1, description="How many alike this one stands for, where they were too many.")
    reason: str = Field(default="", max_length=1024)
    trace_id: str | None = None
