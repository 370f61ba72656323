"""Policies and questions, as short as a test can say them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ossa.api.base import Metadata
from ossa.api.policy import AgentPolicy
from ossa.governance.policies import CompiledPolicy, compile_policy
from ossa.governance.question import Question

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Made:
    """Makes policies and questions."""

    now = NOW

    def resource(self, *rules: str | dict[str, Any], name: str = "a-policy", **spec: Any) -> AgentPolicy:
        spec.setdefault("match", {"kinds": ["Agent"]})
        made = [rule if isinstance(rule, dict) else {"expression": rule} for rule in rules]
        return AgentPolicy.model_validate(
            {
                "apiVersion": "ossa.dev/v1alpha1",
                "kind": "AgentPolicy",
                "metadata": Metadata(name=name, uid=f"uid-{name}", generation=3).model_dump(by_alias=True),
                "spec": {"rules": made, **spec},
            }
        )

    def policy(self, *rules: str | dict[str, Any], name: str = "a-policy", **spec: Any) -> CompiledPolicy:
        return compile_policy(self.resource(*rules, name=name, **spec))

    def question(self, kind: Any = "Agent", operation: Any = "CREATE", **more: Any) -> Question:
        more.setdefault("bindings", {"object": {"spec": {"owner": "data-team", "risk": "high"}}, "oldObject": None})
        return Question(kind=kind, operation=operation, namespace="team-a", name="an-object", **more)


@pytest.fixture
def made() -> Made:
    return Made()
