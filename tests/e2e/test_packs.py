"""The packs of policies, and what `ossa` says of them, on the cluster."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.harness import Namespace, Output, kubectl, ossa, wait_for
from tests.e2e.harness.gateway import User

JSONObject = dict[str, Any]
POLICIES = Path(__file__).resolve().parents[2] / "manifests" / "policies"
PACK = "eu-ai-act"
UNAPPROVED = POLICIES.parent / "samples" / "refused" / "unapproved-release.yaml"


def of_namespace(namespace: str) -> list[JSONObject]:
    """The pack, for one namespace alone: other tests run beside this one."""
    made = []
    for file in sorted((POLICIES / PACK).glob("*.yaml")):
        policy = yaml.safe_load(file.read_text())
        policy["metadata"]["name"] = f"{namespace}-{policy['metadata']['name']}"
        policy["spec"]["match"]["namespaces"] = [namespace]
        made.append(policy)
    return made


@pytest.fixture
async def pack(namespace: Namespace) -> AsyncIterator[list[JSONObject]]:
    """The pack is there, and Ready."""
    made = of_namespace(namespace.name)
    (await kubectl("apply", "-f", "-", objects=made)).ok()
    names = [f"agentpolicy/{policy['metadata']['name']}" for policy in made]
    (await kubectl("wait", "--for=condition=Ready", "--timeout=60s", *names)).ok()
    yield made
    (await kubectl("delete", "--ignore-not-found", *names)).ok()


async def controls_of(namespace: Namespace) -> dict[str, JSONObject]:
    """What the report says of the pack's framework, a control at a time."""
    said = (await ossa("compliance", "report", "-n", namespace.name, "--framework", PACK, "-o", "json")).ok()
    (framework,) = json.loads(said)["frameworks"]
    return {held["id"]: held for held in framework["controls"]}


async def test_the_audit_trail_is_evidence_soon_after_it_begins(namespace: Namespace, user: User) -> None:
    """To sign in makes an entry; the monitor looks each minute while it knows of none."""
    assert user.token

    async def proven() -> JSONObject | None:
        held = (await controls_of(namespace))["12"]
        return held if held["status"] == "evidence-present" else None

    (evidence,) = (await wait_for(proven, "the monitor to verify the trail", timeout=150))["evidence"]
    assert evidence["source"] == "trail"
    assert "all proven by signed heads" in evidence["text"]


@pytest.mark.parametrize("name", ["baseline", "iso-42001", "nist-ai-rmf", "eu-ai-act"])
async def test_a_pack_can_be_applied_as_it_is(name: str) -> None:
    said = (await kubectl("apply", "--dry-run=server", "-f", str(POLICIES / name))).ok()
    assert len(said.splitlines()) == len(list((POLICIES / name).glob("*.yaml")))


async def test_what_a_pack_refuses_and_the_report_of_it(namespace: Namespace, pack: list[JSONObject]) -> None:
    policy = f"{namespace.name}-{PACK}-human-oversight"

    bad_agent, bad_workflow = yaml.safe_load_all(UNAPPROVED.read_text())
    (await namespace.kubectl("apply", "-f", "-", objects=[bad_agent])).ok()

    async def refused() -> Output | None:
        answer = await namespace.kubectl("apply", "--dry-run=server", "-f", "-", objects=[bad_workflow])
        return answer if f"policy '{policy}'" in answer.err and answer.code != 0 else None

    # Until each replica has seen the policy, one may let it pass.
    assert "put a task with `approval` before it" in (await wait_for(refused, "the policy to refuse")).err
    approval = {"name": "ask", "approval": {"message": "Release?", "approverGroups": ["board"]}}
    bad_workflow["spec"]["tasks"] = [approval, {**bad_workflow["spec"]["tasks"][0], "dependsOn": ["ask"]}]
    (await namespace.kubectl("apply", "-f", "-", objects=[bad_workflow])).ok()

    controls = await controls_of(namespace)
    assert controls["14"]["status"] == "enforced"
    (evidence,) = [one for one in controls["14"]["evidence"] if one["name"] == policy]
    assert [held["name"] for held in evidence["objects"]] == ["unapproved-release"]
    assert controls["17"]["status"] == "organisational"

    explained = (await ossa("policy", "explain", policy, "-n", namespace.name)).ok()
    assert "It is about 1 of the objects that are there; 0 do not keep to it:" in explained
    assert len(pack) == 9
