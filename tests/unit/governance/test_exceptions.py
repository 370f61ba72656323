"""For whom an exception holds, until when, and who had to confirm it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ossa.api.policyexception import AgentPolicyException
from ossa.governance.exceptions import problem_of
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Subject
from tests.unit.governance.conftest import NOW, Made

HASH = f"sha256:{'0' * 64}"
OTHER = f"sha256:{'1' * 64}"


def exception(*, author: str = "alice", by: tuple[str, ...] = ("bob",), **spec: Any) -> AgentPolicyException:
    target = {"kind": "Agent", "name": "an-object", "specHash": HASH, "uid": "u1"}
    return AgentPolicyException.model_validate(
        {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": "AgentPolicyException",
            "metadata": {
                "name": "an-exception",
                "namespace": "team-a",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"ossa.dev/spec-changed-by": author} if author else {},
            },
            "spec": {
                "policy": "a-policy",
                "target": target,
                "owner": "team-a",
                "reason": "a migration",
                "expiresAt": "2026-01-02T00:00:00Z",
                **spec,
            },
            "confirmations": {user: {} for user in by},
        }
    )


def outcome(made: Made, held: AgentPolicyException, *, after: timedelta = timedelta(), **rules: Any) -> str:
    policy = made.policy("false", exceptions={"maxDuration": "720h", **rules})
    subject = Subject("Agent", "team-a", "an-object", "u1", HASH)
    verdict = PolicySet((policy,), exceptions=(held,)).judge(made.question(subjects=(subject,)), NOW + after)
    assert bool(verdict.denials) == (verdict.judged[0].outcome == "fail")
    return verdict.judged[0].outcome


def test_it_holds_and_is_named(made: Made) -> None:
    policy = made.policy("false", exceptions={"maxDuration": "720h"})
    subject = Subject("Agent", "team-a", "an-object", "u1", HASH)
    question = made.question(subjects=(subject,))
    (judgement,) = PolicySet((policy,), exceptions=(exception(),)).judge(question, NOW).judged
    assert (judgement.outcome, judgement.exception, judgement.refuses) == ("excepted", "team-a/an-exception", False)


def test_it_ends(made: Made) -> None:
    assert outcome(made, exception(), after=timedelta(hours=11, minutes=59)) == "excepted"
    assert outcome(made, exception(), after=timedelta(hours=12)) == "fail"


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "Agent", "name": "an-object", "specHash": OTHER, "uid": "u1"},
        {"kind": "Agent", "name": "an-object", "specHash": HASH, "uid": "u2"},
        {"kind": "Agent", "name": "another", "specHash": HASH},
        {"kind": "Workflow", "name": "an-object", "specHash": HASH},
    ],
)
def test_it_is_bound_to_the_object_and_its_spec(made: Made, target: dict[str, str]) -> None:
    assert outcome(made, exception(target=target)) == "fail"


def test_one_without_a_uid_is_for_what_is_about_to_be_created_and_then_bound(made: Made) -> None:
    held = exception(target={"kind": "Agent", "name": "an-object", "specHash": HASH})
    assert outcome(made, held) == "excepted"
    held.status.uid = "u0"
    assert outcome(made, held) == "fail"


@pytest.mark.parametrize(("author", "by"), [("alice", ()), ("alice", ("alice",)), ("", ("bob",))])
def test_a_second_person_is_somebody_else_than_a_known_author(made: Made, author: str, by: tuple[str, ...]) -> None:
    assert outcome(made, exception(author=author, by=by)) == "fail"
    assert outcome(made, exception(author=author, by=by), secondPerson=False) == "excepted"


def test_the_policy_says_how_long_and_whether_at_all(made: Made) -> None:
    assert outcome(made, exception(), maxDuration="23h") == "fail"
    refused = problem_of(exception(), made.policy("false", exceptions={"maxDuration": "23h"}), author="alice")
    assert refused == "spec.expiresAt: it would hold for 1 day, 0:00:00, and policy 'a-policy' allows 23h"
    none = problem_of(exception(), made.policy("false"), author="alice")
    assert none == "policy 'a-policy' honours no exceptions (it has no spec.exceptions)"
