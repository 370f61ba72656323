"""One line of the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

# asked: written down before it is carried out; the entry of the same id that says how it ended follows.
Outcome = Literal["asked", "allowed", "denied", "failed"]
# Statuses of HTTP by which somebody is refused: unknown, not permitted, too often.
REFUSALS: Final = frozenset({401, 403, 429})
# Characters of each text. PostgreSQL has an index of kind, namespace and name, whose rows may have 2704 bytes.
_MOST: Final[Mapping[str, int]] = MappingProxyType(
    {
        "id": 64,
        "user": 512,
        "address": 64,
        "verb": 32,
        "resource": 64,
        "namespace": 63,
        "name": 512,
        "reason": 1024,
    }
)


class Entry(BaseModel):
    """Who did what, when, and how it ended. Nothing of a body, a token or a password is in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(max_length=_MOST["id"], description="The request's id; the same where it is written twice.")
    time: AwareDatetime
    user: str = Field(max_length=_MOST["user"], description="As Kubernetes knows them; empty where nobody signed in.")
    address: str = Field(default="", max_length=_MOST["address"])
    verb: str = Field(max_length=_MOST["verb"], description="create, update, delete, approve, sign-in, …")
    resource: str = Field(
        max_length=_MOST["resource"], description="What kind of thing: executions, approvals, sessions, …"
    )
    namespace: str = Field(default="", max_length=_MOST["namespace"])
    name: str = Field(default="", max_length=_MOST["name"])
    outcome: Outcome
    status: int = Field(description="Of the HTTP answer; 0 where there was none yet.")
    count: int = Field(default=1, ge=1, description="How many alike this one stands for, where they were too many.")
    reason: str = Field(default="", max_length=_MOST["reason"])
    trace_id: str | None = None


def outcome_of(status: int) -> Outcome:
    """How a request ended, of its HTTP status; 0 where there is none yet."""
    if status == 0:
        return "asked"
    if status < 400:
        return "allowed"
    return "denied" if status in REFUSALS else "failed"


def entry_of(  # noqa: PLR0913 - what an entry has
    *,
    id: str,  # noqa: A002 - the field's name
    time: datetime,
    user: str,
    verb: str,
    resource: str,
    status: int,
    outcome: Outcome | None = None,
    address: str = "",
    namespace: str = "",
    name: str = "",
    reason: str = "",
    trace_id: str | None = None,
) -> Entry:
    """An entry about what somebody sent: texts that are longer than an entry may hold are cut.

    outcome: by default what the status says.
    """
    texts = {
        "id": id,
        "user": user,
        "address": address,
        "verb": verb,
        "resource": resource,
        "namespace": namespace,
        "name": name,
        "reason": reason,
    }
    cut = {field: text[: _MOST[field]] for field, text in texts.items()}
    ended = outcome if outcome is not None else outcome_of(status)
    return Entry.model_validate({**cut, "time": time, "outcome": ended, "status": status, "trace_id": trace_id})
