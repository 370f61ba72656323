"""Paths within a JSON value, as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$-]*")


def joined_path(path: Sequence[str | int], prefix: str = "") -> str:
    """``records[3].age`` of ``("records", 3, "age")``, after `prefix` where there is one."""
    text = prefix
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _IDENTIFIER.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text
