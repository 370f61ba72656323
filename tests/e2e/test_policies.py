"""Policies at `kubectl apply`: what they refuse, warn of and record, and who may govern."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.engine.clock import to_text
from ossa.governance.question import spec_hash
from ossa.kube import paths
from ossa.kube.client import ApiError, NotFound
from tests.e2e.harness import Cluster, Namespace, Output, execution, kubectl, task, wait_for, workflow
from tests.e2e.harness.objects import JSONObject, agent, resource
from tests.e2e.harness.people import OPERATOR, Person
from tests.e2e.harness.policies import Policies, policies_of

OWNED = {"expression": "has(object.spec.owner) && object.spec.owner != ''", "message": "name an owner in spec.owner"}
NOT_BAD = {"expression": "!has(object.metadata.labels) || !('bad' in object.metadata.labels)", "message": "it is bad"}
ADMISSION = "ossa-admission"
# A certificate that signed nothing here.
OTHER_CA = base64.b64encode(Path(__file__).with_name("other-ca.pem").read_bytes()).decode()


@pytest.fixture
async def policies(namespace: Namespace) -> AsyncIterator[Policies]:
    """Those of the test."""
    async with policies_of(namespace) as made:
        yield made


def an_agent(name: str = "worker", **spec: Any) -> JSONObject:
    """One without an owner, unless it is given."""
    item = agent(name, {"container": {"image": "busybox"}})
    item["spec"].update(spec)
    return item


def bad(item: JSONObject) -> JSONObject:
    """With the label that NOT_BAD refuses."""
    return {**item, "metadata": {**item["metadata"], "labels": {"bad": "yes"}}}


def failed(answer: Output) -> bool:
    return answer.code != 0


def passed(answer: Output) -> bool:
    return answer.code == 0


async def dry(namespace: Namespace, *items: JSONObject) -> Output:
    return await namespace.kubectl("create", "--dry-run=server", "-f", "-", objects=list(items))


async def is_refused(namespace: Namespace, policies: Policies, item: JSONObject) -> str:
    """What is said once every replica refuses it; no object of the name is there."""
    answer = await policies.settle(lambda: dry(namespace, item), failed, "a policy to refuse")
    return answer.refused()


async def is_taken(namespace: Namespace, policies: Policies, item: JSONObject) -> Output:
    """The answer once every replica lets it pass; no object of the name is there."""
    return await policies.settle(lambda: dry(namespace, item), passed, "an object to pass")


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


async def bind(cluster: Cluster, name: str, user: str, rules: list[JSONObject]) -> None:
    """Gives a user rights in the whole cluster."""
    rbac = "rbac.authorization.k8s.io"
    version = f"{rbac}/v1"
    role = {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
    }
    for plural, item in (("clusterroles", role), ("clusterrolebindings", binding)):
        await cluster.api.post(f"/apis/{version}/{plural}", item)


@pytest.fixture
async def people(namespace: Namespace) -> AsyncIterator[tuple[Person, Person, Person]]:
    """Alice and bob, who may except from all policies, and govern one; and mallory, who may merely write them."""
    writes = [
        {
            "apiGroups": ["ossa.dev"],
            "resources": ["agentpolicies", "agentpolicyexceptions"],
            "verbs": ["get", "list", "create", "patch", "update", "delete"],
        }
    ]
    governs = {"apiGroups": ["ossa.dev"], "resources": ["agentpolicies"], "verbs": ["govern"]}
    excepts = {"apiGroups": ["ossa.dev"], "resources": ["agentpolicies"], "verbs": ["except"]}
    one = {**governs, "resourceNames": [f"{namespace.name}-p"]}
    users = {"alice": [*writes, one, excepts], "bob": [*writes, excepts], "mallory": writes}
    names = {user: f"{user}-{namespace.name}" for user in users}
    for user, rules in users.items():
        await bind(namespace.cluster, names[user], names[user], rules)
    alice, bob, mallory = (Person(names[user], namespace, almighty=False) for user in users)
    yield alice, bob, mallory
    for name in names.values():
        for plural in ("clusterrolebindings", "clusterroles"):
            with contextlib.suppress(NotFound):
                await namespace.cluster.api.delete(f"/apis/rbac.authorization.k8s.io/v1/{plural}/{name}")


async def test_who_may_govern(policies: Policies, people: tuple[Person, Person, Person]) -> None:
    alice, bob, mallory = people
    name = policies.name("p")
    item = policies.resource("p", OWNED)

    async def governs() -> bool:
        return (await alice.create(item)).code == 0  # once the API server knows of the right

    try:
        assert "you lack the verb 'govern'" in (await mallory.create(item)).refused()
        await wait_for(governs, "alice to make a policy", timeout=30)
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

    async def may() -> bool:
        return (await alice.kubectl("create", "--dry-run=server", "-f", "-", objects=[wanted])).code == 0

    await wait_for(may, "alice to have the right", timeout=30)
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


# --- faults ---

NOBODY = {"service": {"name": "nobody", "namespace": "ossa-system", "port": 443, "path": "/agents"}}
BLACK_HOLE = {"url": "https://192.0.2.1:443/agents"}  # of the addresses that lead nowhere
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


async def broken_entry(namespace: Namespace, name: str, client: JSONObject) -> JSONObject:
    """A copy of an entry of the installation, for marked objects in the one namespace that it does not look at."""
    held = await namespace.cluster.api.get(f"{WEBHOOKS}/ossa-admission")
    (entry,) = (hook for hook in held["webhooks"] if hook["name"] == name)
    made = {
        **entry,
        "clientConfig": client or {**entry["clientConfig"], "caBundle": OTHER_CA},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "objectSelector": {"matchLabels": {"e2e": namespace.name}},
        "timeoutSeconds": 2,
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    return {**kind, "metadata": {"name": namespace.name}, "webhooks": [made]}


@pytest.mark.parametrize("client", [NOBODY, BLACK_HOLE, {}], ids=["down", "slow", "old-certificate"])
@pytest.mark.parametrize("name", ["agents.ossa.dev", "policies-ignore-agents.ossa.dev"])
async def test_a_webhook_that_does_not_answer(namespace: Namespace, name: str, client: JSONObject) -> None:
    """Each entry as it is installed, but that nobody answers: Fail refuses, Ignore lets pass, within its time."""
    item = an_agent("probe")
    item["metadata"]["labels"] = {"e2e": namespace.name}
    elsewhere = Namespace("kube-system", namespace.cluster)
    entry = await broken_entry(namespace, name, client)
    (hook,) = entry["webhooks"]

    async def refused() -> Output | None:
        answer = await dry(elsewhere, item)
        return answer if f'failed calling webhook "{name}"' in answer.err else None

    async def taken() -> Output | None:
        answer = await dry(elsewhere, item)
        return answer if answer.code == 0 else None

    # With Fail first, so that it is known that the API server asks in vain, and then as it is installed.
    first = {**entry, "webhooks": [{**hook, "failurePolicy": "Fail"}]}
    made = await namespace.cluster.api.post(WEBHOOKS, first)
    try:
        await wait_for(refused, "the API server to ask in vain", timeout=30)
        await namespace.cluster.api.put(f"{WEBHOOKS}/{namespace.name}", {**entry, "metadata": made["metadata"]})
        await wait_for(
            taken if hook["failurePolicy"] == "Ignore" else refused, "what its failurePolicy says", timeout=30
        )
        (await dry(elsewhere, an_agent("probe"))).ok()  # what the entry is not about
        began = time.monotonic()
        await dry(elsewhere, item)
        assert time.monotonic() - began < 10
    finally:
        await namespace.cluster.api.delete(f"{WEBHOOKS}/{namespace.name}")


async def scale(replicas: int) -> None:
    (await kubectl("-n", "ossa-system", "scale", "deployment", ADMISSION, f"--replicas={replicas}")).ok()


async def admission_pods(cluster: Cluster) -> list[JSONObject]:
    selector = {"labelSelector": f"app.kubernetes.io/name={ADMISSION}"}
    return list((await cluster.api.get(paths.core("pods", cluster.system_namespace), selector))["items"])


@pytest.mark.usefixtures("alone")
async def test_with_the_webhook_down_nobody_but_us_is_held_up(namespace: Namespace, policies: Policies) -> None:
    """What cannot be judged is refused, and policies may be deleted."""
    cluster = namespace.cluster
    name = await policies.apply("p", OWNED, kinds=["Agent"])
    await is_refused(namespace, policies, an_agent())
    replicas = len(await admission_pods(cluster))
    await scale(0)
    try:

        async def down() -> bool:
            return not await admission_pods(cluster)

        await wait_for(down, "the webhook to be down")
        said = (await dry(namespace, an_agent(owner="team"))).refused()
        assert 'failed calling webhook "agents.ossa.dev"' in said
        another = await kubectl("create", "-f", "-", objects=[policies.resource("q", OWNED)])
        assert "failed calling webhook" in another.refused()
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
        (await namespace.kubectl_apply(config)).ok()
        (await kubectl("delete", "agentpolicy", name)).ok()
    finally:
        await scale(replicas)


@pytest.mark.usefixtures("alone")
async def test_one_replica_that_ends_refuses_no_request(namespace: Namespace, policies: Policies) -> None:
    """As when its node is drained: eight clients ask all the while, and policies judge."""
    await policies.apply("p", NOT_BAD)
    await is_refused(namespace, policies, bad(an_agent()))
    path = paths.ossa("agents", namespace.name)
    refused: list[str] = []
    done = 0
    ended = asyncio.Event()

    async def load(number: int) -> None:
        nonlocal done
        item = an_agent(f"load-{number}")
        while not ended.is_set():
            try:
                await namespace.cluster.api.patch(
                    f"{path}/{item['metadata']['name']}",
                    item,
                    content_type="application/apply-patch+yaml",
                    params={"fieldManager": "e2e", "dryRun": "All", "force": "true"},
                )
                done += 1
            except ApiError as error:
                refused.append(str(error))
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(load(number))
        await asyncio.sleep(2)
        before = time.monotonic()
        victim = (await admission_pods(namespace.cluster))[0]["metadata"]["name"]
        await kubectl("-n", "ossa-system", "delete", "pod", victim, "--wait=true")
        await asyncio.sleep(max(0.0, 10 - (time.monotonic() - before)))
        ended.set()
    assert refused == []
    assert done > 100
