"""Keys that are made from what they name, so that whoever writes it writes the same."""

from __future__ import annotations

import uuid
from typing import Literal

_PRINCIPALS = uuid.UUID("6f1d4f0e-7d0e-5c5a-9b0c-0f6c1f0a55a1")
_DECISIONS = uuid.UUID("0a7be1f0-2f6b-5f0d-8a52-6a3f0b1d55a2")
SERVICE_ACCOUNT = "system:serviceaccount:"


def principal_id(name: str) -> uuid.UUID:
    """Key of whoever has this name in Kubernetes."""
    return uuid.uuid5(_PRINCIPALS, name)


def principal_kind(name: str) -> Literal["person", "agent", "system"]:
    """agent: a service account, which is what agents and automation run as; system: another part of the cluster."""
    if name.startswith(SERVICE_ACCOUNT):
        return "agent"
    return "system" if name.startswith("system:") else "person"


def decision_id(approval: str, user: str) -> uuid.UUID:
    """Key of what a user decided about an Approval, by its UID."""
    return uuid.uuid5(_DECISIONS, f"{approval}/{user}")
