"""The metrics that the documentation tells of."""

from __future__ import annotations

import re
from pathlib import Path

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"
# Name, type and labels.
ROW = re.compile(r"^\| `(ossa_\w+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric in the tables of the documentation."""
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(TABLE.read_text())}
