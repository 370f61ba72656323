"""What tests of events share."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ossa.api.gateway import ExecutionView


@pytest.fixture
def views() -> list[ExecutionView]:
    """Executions as they stand, one of them elsewhere."""
    now = datetime.now(UTC)
    return [
        ExecutionView(namespace=namespace, name=name, uid=f"uid-{name}", created_at=now, phase="Running")
        for namespace, name in (("team", "run-1"), ("team", "run-2"), ("other", "run-3"))
    ]
