"""How the objects of a policy are called and found."""

from __future__ import annotations

NAME_PREFIX = "ossa-policy-"
LABEL_POLICY = "ossa.dev/policy"


def native_name(policy: str) -> str:
    """Name of the ValidatingAdmissionPolicy of a policy, and of its binding."""
    return NAME_PREFIX + policy
