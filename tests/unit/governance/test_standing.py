"""Where an exception stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ossa.api.policyexception import AgentPolicyException
from ossa.governance.question import Subject
from ossa.governance.standing import Standing, standing
from tests.unit.governance.conftest import NOW, Made

HASH, OTHER = "sha256:" + "0" * 64, "sha256:" + "1" * 64
END = datetime(2026, 1, 2, tzinfo=UTC)


def exception(*, status: dict[str, Any] | None = None, by: str | None = "bob", **spec: Any) -> AgentPolicyException:
    held = {
        "policy": "a-policy",
        "target": {"kind": "Agent", "name": "a", "specHash": HASH, **spec.pop("target", {})},
        "owner": "o",
        "reason": "r",
        "expiresAt": "2026-01-02T00:00:00Z",
        **spec,
    }
    metadata = {
        "name": "e",
        "namespace": "team-a",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"ossa.dev/spec-changed-by": "alice"},
    }
    return AgentPolicyException.model_validate(
        {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": "AgentPolicyException",
            "metadata": metadata,
            "spec": held,
            "confirmations": {by: {}} if by else {},
            "status": status or {},
        }
    )


def found(
    made: Made, held: AgentPolicyException, target: Subject | None, now: datetime = NOW, **policy: Any
) -> Standing:
    policy = {"exceptions": {"maxDuration": "48h"}, **policy}
    return standing(held, made.policy("true", **policy), target, now)


def agent(uid: str = "u", spec_hash: str = HASH) -> Subject:
    return Subject("Agent", "team-a", "a", uid, spec_hash)


def test_it_waits_for_its_object_and_is_bound_to_the_first(made: Made) -> None:
    waits = found(made, exception(), None)
    assert (waits.state, waits.reason, waits.uid, waits.until) == ("Active", "NoObjectYet", None, END)
    holds = found(made, exception(), agent("u1"))
    assert (holds.state, holds.reason, holds.uid) == ("Active", "Active", "u1")
    bound = exception(status={"uid": "u1"})
    assert found(made, bound, agent("u1")).state == "Active"
    for other in (agent("u2"), None):
        gone = found(made, bound, other)
        assert (gone.state, gone.reason, gone.uid) == ("Refused", "ObjectGone", "u1")


def test_another_spec_is_not_excepted(made: Made) -> None:
    for held in (exception(), exception(status={"uid": "u"})):
        changed = found(made, held, agent(spec_hash=OTHER))
        assert (changed.state, changed.reason) == ("Refused", "SpecChanged")
        assert OTHER in changed.message
        assert changed.uid == held.status.uid


def test_a_uid_that_the_spec_names(made: Made) -> None:
    held = exception(target={"uid": "u9"})
    assert found(made, held, agent("u9")).state == "Active"
    assert found(made, held, agent("u1")).reason == "ObjectGone"


def test_it_ends(made: Made) -> None:
    ended = found(made, exception(), agent(), END)
    assert (ended.state, ended.until) == ("Expired", None)
    assert found(made, exception(), agent(), END - timedelta(seconds=1)).state == "Active"


@pytest.mark.parametrize("by", [None, "alice"])
def test_it_waits_for_a_second_person(made: Made, by: str | None) -> None:
    waits = found(made, exception(by=by), agent())
    assert (waits.state, waits.reason) == ("Pending", "NotConfirmed")
    assert "somebody else than 'alice'" in waits.message
    assert waits.uid is None
    alone = found(made, exception(by=by), agent(), exceptions={"maxDuration": "48h", "secondPerson": False})
    assert alone.state == "Active"


def test_the_policy_decides_what_it_honours(made: Made) -> None:
    assert found(made, exception(), agent(), exceptions=None).state == "Refused"
    assert "allows 1h" in found(made, exception(), agent(), exceptions={"maxDuration": "1h"}).message
    assert standing(exception(), None, agent(), NOW).state == "Pending"


def test_a_time_that_is_none(made: Made) -> None:
    # The API server takes a leap second.
    held = found(made, exception(expiresAt="2026-12-31T23:59:60Z"), agent())
    assert (held.state, held.reason) == ("Refused", "InvalidTime")
