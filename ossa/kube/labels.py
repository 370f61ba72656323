"""Values of labels."""

from __future__ import annotations

import hashlib

LABEL_MAX = 63


def label_value(name: str) -> str:
    """A name as a label's value: itself, or where it is longer than 63 characters its start and a hash."""
    if len(name) <= LABEL_MAX:
        return name
    return f"{name[: LABEL_MAX - 11].rstrip('-.')}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
