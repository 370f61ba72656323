"""What is there already is judged when a policy comes, and everything that changes afterwards is seen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ossa.api.contract import API_VERSION
from ossa.engine.clock import to_text
from ossa.governance.question import spec_hash
from ossa.governance.world import SPECS
from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness import Namespace, kubectl
from tests.e2e.harness.objects import agent, resource

JSONObject = dict[str, Any]
# Seconds within which what was there has to be reported.
DRIFT = 60.0


class Policy:
    """A policy of the test's own, over one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.name = f"{namespace.name}-owned"

    async def apply(self, rule: str = "object.spec.owner != ''", **spec: Any) -> None:
        spec = {
            "match": {"kinds": ["Agent"], "namespaces": [self.namespace.name]},
            "action": "Audit",
            "failurePolicy": "Ignore",  # so that the API server holds it too
            "severity": "high",
            "controls": [{"framework": "iso-42001", "id": "A.4.2"}],
            "rules": [{"name": "owner", "expression": rule, "message": "name an owner"}],
            **spec,
        }
        item = {"apiVersion": API_VERSION, "kind": "AgentPolicy", "metadata": {"name": self.name}, "spec": spec}
        (await kubectl("apply", "-f", "-", objects=[item])).ok()

    async def delete(self) -> None:
        (await kubectl("delete", "agentpolicy", self.name, "--ignore-not-found")).ok()

    async def status(self) -> JSONObject:
        item = await self.namespace.cluster.api.get(paths.ossa("agentpolicies", name=self.name))
        return dict(item.get("status") or {})

    async def report(self) -> JSONObject | None:
        try:
            return await self.namespace.cluster.api.get(paths.reports(self.namespace.name, f"ossa-{self.name}"))
        except NotFound:
            return None

    async def results(self) -> dict[str, JSONObject]:
        """The result of each object."""
        listed = (await self.report() or {}).get("results") or []
        return {held["resources"][0]["name"]: held for held in listed}

    async def reports(self, **wanted: str) -> dict[str, JSONObject]:
        """Waits until this is the result of each object."""

        async def look() -> dict[str, JSONObject] | None:
            found = await self.results()
            return found if {name: held["result"] for name, held in found.items()} == wanted else None

        return await self.namespace.wait(look, f"a report of {wanted}", patience=DRIFT)

    async def reaches(self, **wanted: Any) -> JSONObject:
        """Waits until these are among the fields of its status."""

        async def look() -> JSONObject | None:
            found = await self.status()
            return found if wanted.items() <= found.items() else None

        return await self.namespace.wait(look, f"policy {self.name}: {wanted}", patience=DRIFT)


@pytest.fixture
async def policy(namespace: Namespace) -> AsyncIterator[Policy]:
    made = Policy(namespace)
    yield made
    await made.delete()


def owned(name: str, owner: str = "") -> JSONObject:
    item = agent(name, {"container": {"image": "busybox"}})
    item["spec"]["owner"] = owner
    return item


async def test_what_was_there_is_reported_and_edits_are_seen(namespace: Namespace, policy: Policy) -> None:
    (await namespace.kubectl_apply(owned("good", "me"), owned("bad"))).ok()
    await policy.apply()
    found = await policy.reports(good="pass", bad="fail")
    assert (found["bad"]["message"], found["bad"]["rule"], found["bad"]["severity"]) == (
        "name an owner",
        "owner",
        "high",
    )
    assert found["bad"]["properties"]["controls"] == "iso-42001/A.4.2"
    assert found["bad"]["source"] == "ossa"
    await policy.reaches(violations=1, ready="True", native="True")
    table = (await kubectl("get", "agentpolicies", policy.name)).ok().split("\n")
    assert table[0].split()[:4] == ["NAME", "ACTION", "READY", "VIOLATIONS"]
    assert table[1].split()[:4] == [policy.name, "Audit", "True", "1"]
    reports = (await namespace.kubectl("get", "policyreports")).ok()
    assert f"ossa-{policy.name}" in reports
    events = (await namespace.kubectl("get", "events", "-o", "json")).json()["items"]
    about = [e for e in events if e["reason"] == "PolicyViolation"]
    assert [event["involvedObject"]["name"] for event in about] == ["bad"]

    await policy.apply("object.spec.owner == 'you'")
    await policy.reports(good="fail", bad="fail")
    await policy.reaches(violations=2, observedGeneration=2)
    (await namespace.kubectl_apply(owned("good", "you"))).ok()
    await policy.reports(good="pass", bad="fail")
    await namespace.delete("agents", "bad")
    await policy.reports(good="pass")
    await policy.reaches(violations=0)


async def test_an_exception_turns_a_failure_into_a_skip_until_it_ends(namespace: Namespace, policy: Policy) -> None:
    await policy.apply(exceptions={"maxDuration": "1h", "secondPerson": False})
    (await namespace.kubectl_apply(owned("bad"))).ok()
    await policy.reports(bad="fail")
    held = await namespace.get("agents", "bad")
    spec = {
        "policy": policy.name,
        "target": {
            "kind": "Agent",
            "name": "bad",
            "specHash": spec_hash(SPECS["Agent"].model_validate(held["spec"])),
        },
        "owner": "me",
        "reason": "a test",
        "expiresAt": to_text(datetime.now(UTC) + timedelta(seconds=25)),
    }
    (await namespace.kubectl_apply(resource("AgentPolicyException", "spared", spec))).ok()
    found = await policy.reports(bad="skip")
    assert found["bad"]["properties"]["exception"] == f"{namespace.name}/spared"
    await policy.reaches(violations=0, native="False")
    status = (await namespace.get("agentpolicyexceptions", "spared"))["status"]
    assert (status["state"], status["uid"]) == ("Active", held["metadata"]["uid"])
    await policy.reports(bad="fail")
    assert (await namespace.get("agentpolicyexceptions", "spared"))["status"]["state"] == "Expired"
    await policy.reaches(violations=1)


async def test_a_policy_that_is_deleted_takes_its_results_along(namespace: Namespace, policy: Policy) -> None:
    (await namespace.kubectl_apply(owned("bad"))).ok()
    await policy.apply(action="Enforce")
    await policy.reports(bad="fail")
    await policy.reaches(native="True")
    native = f"ossa-policy-{policy.name}"
    kinds = ("validatingadmissionpolicy", "validatingadmissionpolicybinding")
    for kind in kinds:
        held = json.loads((await kubectl("get", kind, native, "-o", "json")).ok())
        assert held["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "ossa"

    async def refused() -> bool:
        said = await namespace.kubectl("create", "--dry-run=server", "-f", "-", objects=[owned("worse")])
        return said.code != 0 and native in said.err

    await namespace.wait(refused, "the API server to refuse by itself")
    await policy.delete()

    async def gone() -> bool:
        left = [(await kubectl("get", kind, native, "--ignore-not-found")).ok() for kind in kinds]
        return not any(left) and await policy.report() is None

    await namespace.wait(gone, "what is left of the policy to go", patience=DRIFT)

    async def taken() -> bool:
        # The API server goes on with what it has read for a moment.
        return (await namespace.kubectl("create", "-f", "-", objects=[owned("worse")])).code == 0

    await namespace.wait(taken, "the API server to let it in")
