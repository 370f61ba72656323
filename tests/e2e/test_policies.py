"""Policies at `kubectl apply`: what they refuse, warn of and record, and who may govern."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.engine.clock import to_text
from ossa.governance.question import spec_hash
from ossa.kube import paths
from tests.e2e.harness import Namespace, execution, kubectl, task, wait_for, workflow
from tests.e2e.harness.objects import JSONObject, resource
from tests.e2e.harness.people import OPERATOR, Person
from tests.e2e.harness.policies import NOT_BAD, OWNED, Policies, an_agent, bad, dry, is_refused, is_taken
from tests.e2e.harness.rights import WRITES_POLICIES, bind, governs, unbind


async def events(namespace: Namespace, policy: str) -> list[JSONObject]:
    selector = {"fieldSelector": f"involvedObject.kind=AgentPolicy,involvedObject.name={policy}"}
    listed = await namespace.cluster.api.get(paths.core("events", "default"), selector)
    return [item for item in listed["items"] if item["reason"] == "PolicyViolation"]


async def test_enforce_warn_and_audit(namespace: Namespace, policies: Policies) -> None:
    name = await policies.apply("p", OWNED, kinds=["Agent"])
    said = await is_refused(namespace, policies, an_agent("probe"))
    assert f"policy '{name}': name an owner in spec.owner" in said
    assert "403" not in (await namespace.kubectl_apply(an_agent(owner="team"))).ok()
    assert await events(namespace, name) == []  # dry runs alone have been refused
    assert name in (await namespace.kubectl_apply(an_agent("other"))).refused()

    async def told() -> list[JSONObject]:
        return await events(namespace, name)

    (event,) = await wait_for(told, "an Event of the policy", timeout=30)
    assert f"CREATE of Agent {namespace.name}/other by " in event["message"]
    await policies.apply("p", OWNED, kinds=["Agent"], action="Warn")
    answer = await is_taken(namespace, policies, an_agent("probe"))
    assert f"Warning: policy '{name}': name an owner in spec.owner" in answer.err
    await policies.apply("p", OWNED, kinds=["Agent"], action="Audit")
    await policies.settle(
        lambda: dry(namespace, an_agent("probe")), lambda answer: "Warning" not in answer.err, "Audit to be silent"
    )
    (await namespace.kubectl_apply(an_agent("third"))).ok()


async def test_all_that_refuse_are_named(namespace: Namespace, policies: Policies) -> None:
    """Also two that contradict each other."""
    first = await policies.apply("a", {"expression": "object.spec.owner == 'a'"}, kinds=["Agent"])
    second = await policies.apply("b", {"expression": "object.spec.owner == 'b'"}, kinds=["Agent"])
    said = await policies.settle(
        lambda: dry(namespace, an_agent()), lambda answer: first in answer.err and second in answer.err, "both"
    )
    assert "2 policies refuse it" in said.refused()


async def test_every_way_to_write_an_object(namespace: Namespace, policies: Policies) -> None:
    name = await policies.apply("p", NOT_BAD)
    flow, run = workflow("flow", [task("a", "absent")]), execution("run", "flow")
    for item in (an_agent(), flow, run):
        assert name in await is_refused(namespace, policies, bad(item))
        unnamed = {**bad(item), "metadata": {"generateName": "a-", "labels": {"bad": "yes"}}}
        assert name in (await namespace.kubectl("create", "-f", "-", objects=[unnamed])).refused()
        assert name in (await namespace.kubectl("apply", "--server-side", "-f", "-", objects=[bad(item)])).refused()
        (await namespace.kubectl("apply", "--server-side", "-f", "-", objects=[item])).ok()
        assert name in (await namespace.kubectl("replace", "-f", "-", objects=[bad(item)])).refused()
        kind, object_ = item["kind"].lower(), item["metadata"]["name"]
        assert name in (await namespace.kubectl("label", kind, object_, "bad=yes")).refused()
        (await namespace.kubectl("label", kind, object_, "good=yes")).ok()


async def test_what_was_there_before_the_policy(namespace: Namespace, policies: Policies) -> None:
    """Its status is written, labels that no policy sees are taken, it is stopped and deleted; its spec has to keep to
    the policy."""
    (await namespace.kubectl_apply(an_agent(), workflow("flow", [task("a", "absent")]), execution("run", "flow"))).ok()
    owned = await policies.apply("owned", OWNED, kinds=["Agent"])
    never = await policies.apply("never", {"expression": "object.spec.workflow == ''"}, kinds=["Execution"])
    assert owned in await is_refused(namespace, policies, an_agent("other"))
    assert never in await is_refused(namespace, policies, execution("other", "flow"))
    (await namespace.kubectl("label", "oagent", "worker", "team=a")).ok()
    (await namespace.kubectl("annotate", "oagent", "worker", "note=a")).ok()
    writer = Person(OPERATOR, namespace)
    (await writer.patch("oagent", "worker", {"status": {"message": "seen"}}, "--subresource=status")).ok()
    change = '{"spec": {"description": "other"}}'
    assert owned in (await namespace.kubectl("patch", "oagent", "worker", "--type=merge", "-p", change)).refused()
    assert (
        never
        in (
            await namespace.kubectl("patch", "execution", "run", "--type=merge", "-p", '{"spec": {"priority": 3}}')
        ).refused()
    )
    (await namespace.kubectl("patch", "execution", "run", "--type=merge", "-p", '{"spec": {"cancel": true}}')).ok()
    await namespace.ends()
    for plural, name in (("agents", "worker"), ("executions", "run")):
        await namespace.delete(plural, name)


async def test_a_policy_that_does_not_compile_is_refused_with_its_position(
    namespace: Namespace, policies: Policies
) -> None:
    broken = policies.resource("broken", {"expression": "object.spec.owner == 'a' &&"}, OWNED)
    said = (await kubectl("create", "-f", "-", objects=[broken])).refused()
    assert "spec.rules[0].expression: `object.spec.owner == 'a' &&`: at character " in said
    elsewhere = policies.resource("params", OWNED, params={"namespace": namespace.name, "name": "x"})
    said = (await kubectl("create", "-f", "-", objects=[elsewhere])).refused()
    assert "spec.params.namespace: the operator reads no ConfigMaps in" in said
    assert "governance.paramsNamespaces" in said
    huge = policies.resource("huge", *({"expression": f"'{'x' * 4000}' != object.spec.owner"} for _ in range(20)))
    assert "bytes of JSON, and at most" in (await kubectl("create", "-f", "-", objects=[huge])).refused()


@pytest.fixture
async def people(namespace: Namespace) -> AsyncIterator[tuple[Person, Person, Person]]:
    """Alice and bob, who may except from all policies, and govern one; and mallory, who may merely write them."""
    excepts = {"apiGroups": ["ossa.dev"], "resources": ["agentpolicies"], "verbs": ["except"]}
    one = governs(f"{namespace.name}-p")
    users = {
        "alice": [WRITES_POLICIES, one, excepts],
        "bob": [WRITES_POLICIES, excepts],
        "mallory": [WRITES_POLICIES],
    }
    names = {user: f"{user}-{namespace.name}" for user in users}
    for user, rules in users.items():
        await bind(namespace.cluster, names[user], names[user], rules)
    alice, bob, mallory = (Person(names[user], namespace, almighty=False) for user in users)
    yield alice, bob, mallory
    for name in names.values():
        await unbind(namespace.cluster, name)


async def test_who_may_govern(policies: Policies, people: tuple[Person, Person, Person]) -> None:
    alice, bob, mallory = people
    name = policies.name("p")
    item = policies.resource("p", OWNED)

    try:
        assert "you lack the verb 'govern'" in (await mallory.create(item)).refused()
        (await alice.create(item)).ok()
        assert (await policies.get("p"))["metadata"]["annotations"]["ossa.dev/spec-changed-by"] == alice.name
        other = policies.resource("other", OWNED)
        assert "you lack the verb 'govern'" in (await alice.create(other)).refused()
        weaker = {"spec": {"action": "Audit"}}
        assert "you lack the verb 'govern'" in (await bob.patch("agentpolicy", name, weaker)).refused()
        (await alice.patch("agentpolicy", name, weaker)).ok()
        # Deleting one is up to RBAC alone: no policy and no webhook is in the way.
        (await mallory.kubectl("delete", "agentpolicy", name)).ok()
    finally:
        await policies.remove(name)


def exception_of(policy: str, item: JSONObject, **spec: Any) -> JSONObject:
    """An exception for an Agent, for an hour."""
    digest = spec_hash(AgentSpec.model_validate(item["spec"]))
    target = {"kind": "Agent", "name": item["metadata"]["name"], "specHash": digest}
    until = to_text(datetime.now(UTC) + timedelta(hours=1))
    held = {"policy": policy, "target": target, "owner": "team", "reason": "a migration", "expiresAt": until, **spec}
    return resource("AgentPolicyException", "exception", held)


async def test_an_exception_needs_the_right_and_a_second_person(
    namespace: Namespace, policies: Policies, people: tuple[Person, Person, Person]
) -> None:
    alice, bob, mallory = people
    strict = await policies.apply("strict", OWNED, kinds=["Agent"])
    name = await policies.apply("p", OWNED, kinds=["Agent"], exceptions={"maxDuration": "2h"})
    assert name in await is_refused(namespace, policies, an_agent())
    await policies.remove(strict)
    wanted = exception_of(name, an_agent())

    late = exception_of(name, an_agent(), expiresAt=to_text(datetime.now(UTC) + timedelta(hours=5)))
    assert "and policy" in (await alice.create(late)).refused()
    assert "you lack the verb 'except'" in (await mallory.create(wanted)).refused()
    ready = {**wanted, "confirmations": {bob.name: {"reason": "fine"}}}
    assert "is made without confirmations" in (await alice.create(ready)).refused()
    (await alice.create(wanted)).ok()
    assert name in (await namespace.kubectl_apply(an_agent())).refused()  # it waits for a second person

    def confirms(user: str) -> JSONObject:
        return {"confirmations": {user: {"reason": "fine"}}}

    kind = "agentpolicyexception"
    assert "you are the author" in (await alice.patch(kind, "exception", confirms(alice.name))).refused()
    assert "nobody confirms for another" in (await alice.patch(kind, "exception", confirms(bob.name))).refused()
    assert "you lack the verb 'except'" in (await mallory.patch(kind, "exception", confirms(mallory.name))).refused()
    (await bob.patch(kind, "exception", confirms(bob.name))).ok()
    assert "is final" in (await bob.patch(kind, "exception", {"confirmations": {bob.name: None}})).refused()
    await is_taken(namespace, policies, an_agent())
    assert name in (await namespace.kubectl_apply(an_agent(description="another spec"))).refused()
    (await namespace.kubectl_apply(an_agent())).ok()
