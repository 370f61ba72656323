"""What the monitor tells of the audit trail, for whoever may not read the trail itself: a ConfigMap."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from ossa.api.base import StatusModel, Timestamp

# In the namespace where the platform runs: the ConfigMap, and the key in it that holds a TrailStatus as JSON.
TRAIL_STATUS: Final = "ossa-audit"
STATUS_KEY: Final = "status"


class TrailStatus(StatusModel):
    """What the last verification found. It is the monitor's word; `ossa audit verify` is the proof."""

    verified_at: Timestamp = Field(description="When it was verified last.")
    chains: int = Field(ge=0, description="Of all writers and epochs that are there.")
    links: int = Field(ge=0, description="Links in them, in PostgreSQL.")
    faults: int = Field(ge=0, description="What is missing, altered, reordered, duplicated, unsigned or forged.")
    finding: str = Field(default="", max_length=1024, description="The first of these.")
    since: Timestamp | None = Field(default=None, description="When the oldest link was recorded.")
    kept_days: int = Field(ge=0, description="How long links are kept in PostgreSQL.")
    archived: bool = Field(description="Whether there is an archive, which was verified, too.")
