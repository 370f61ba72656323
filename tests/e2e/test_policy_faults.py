"""Faults of the admission webhook: nobody is refused who need not be, and nothing passes unjudged that may not."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ossa.governance.native import native_name
from ossa.kube import paths
from ossa.kube.client import ApiError
from tests.e2e.harness import Cluster, Namespace, Output, kubectl, task, wait_for, webhooks, workflow
from tests.e2e.harness.namespace import APPLY_PATCH
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.policies import NOT_BAD, OWNED, Policies, an_agent, bad, dry, is_refused

ADMISSION = "ossa-admission"
# A certificate that signed nothing here.
OTHER_CA = base64.b64encode(Path(__file__).with_name("other-ca.pem").read_bytes()).decode()
NOBODY = {"service": {"name": "nobody", "namespace": "ossa-system", "port": 443, "path": "/agents"}}
BLACK_HOLE = {"url": "https://192.0.2.1:443/agents"}  # of the addresses that lead nowhere
# Of the entries: the one that refuses, and the one that records authors.
ENTRIES = {
    "agents-1.ossa.dev": "ValidatingWebhookConfiguration",
    "authors-agents.ossa.dev": "MutatingWebhookConfiguration",
}


async def broken_entry(namespace: Namespace, name: str, client: JSONObject) -> JSONObject:
    """A copy of an entry that nobody answers."""
    entry = await webhooks.entry(namespace, ENTRIES[name], name)
    broken = client or {**entry["clientConfig"], "caBundle": OTHER_CA}
    return {**entry, "clientConfig": broken, "timeoutSeconds": 2}


@pytest.mark.parametrize("client", [NOBODY, BLACK_HOLE, {}], ids=["down", "slow", "old-certificate"])
@pytest.mark.parametrize("name", list(ENTRIES))
async def test_a_webhook_that_does_not_answer(namespace: Namespace, name: str, client: JSONObject) -> None:
    """Each entry as it is installed, but that nobody answers: Fail refuses, Ignore lets pass, within its time."""
    item = an_agent("probe")
    item["metadata"]["labels"] = {webhooks.MARK: namespace.name}
    elsewhere = Namespace(webhooks.UNSEEN, namespace.cluster)
    entry = await broken_entry(namespace, name, client)

    async def refused() -> Output | None:
        answer = await dry(elsewhere, item)
        return answer if f'failed calling webhook "{name}"' in answer.err else None

    async def taken() -> Output | None:
        answer = await dry(elsewhere, item)
        return answer if answer.code == 0 else None

    # With Fail first, so that it is known that the API server asks in vain, and then as it is installed.
    kind, ignores = ENTRIES[name], entry["failurePolicy"] == "Ignore"
    first = webhooks.configuration(namespace, kind, {**entry, "failurePolicy": "Fail"})
    async with webhooks.installed(namespace, first) as made:
        await wait_for(refused, "the API server to ask in vain", timeout=30)
        then = webhooks.configuration(namespace, kind, entry) | {"metadata": made["metadata"]}
        await namespace.cluster.api.put(webhooks.path(kind, namespace.name), then)
        await wait_for(taken if ignores else refused, "what its failurePolicy says", timeout=30)
        (await dry(elsewhere, an_agent("probe"))).ok()  # what the entry is not about
        began = time.monotonic()
        await dry(elsewhere, item)
        assert time.monotonic() - began < 10


async def scale(replicas: int) -> None:
    (await kubectl("-n", "ossa-system", "scale", "deployment", ADMISSION, f"--replicas={replicas}")).ok()


async def admission_pods(cluster: Cluster) -> list[JSONObject]:
    selector = {"labelSelector": f"app.kubernetes.io/name={ADMISSION}"}
    return list((await cluster.api.get(paths.core("pods", cluster.system_namespace), selector))["items"])


@asynccontextmanager
async def webhook_down(cluster: Cluster) -> AsyncIterator[None]:
    """While no pod of it is there."""
    replicas = len(await admission_pods(cluster))
    await scale(0)
    try:

        async def down() -> bool:
            return not await admission_pods(cluster)

        await wait_for(down, "the webhook to be down")
        yield
    finally:
        await scale(replicas)


@pytest.mark.usefixtures("alone")
async def test_with_the_webhook_down_nobody_but_us_is_held_up(namespace: Namespace, policies: Policies) -> None:
    """What cannot be judged is refused, and policies may be deleted."""
    name = await policies.apply("p", OWNED, kinds=["Agent"])
    await is_refused(namespace, policies, an_agent())
    async with webhook_down(namespace.cluster):
        said = (await dry(namespace, an_agent(owner="team"))).refused()
        assert 'failed calling webhook "agents-' in said
        another = await kubectl("create", "-f", "-", objects=[policies.resource("q", OWNED)])
        assert "failed calling webhook" in another.refused()
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
        (await namespace.kubectl_apply(config)).ok()
        (await kubectl("delete", "agentpolicy", name)).ok()


@pytest.mark.usefixtures("alone")
async def test_with_the_webhook_down_a_policy_that_ignores_lets_nothing_pass(
    namespace: Namespace, policies: Policies
) -> None:
    """What the API server holds itself says so by name; all else is refused because nobody has checked it."""
    native = await policies.apply("native", OWNED, kinds=["Agent"], failurePolicy="Ignore")
    asks = {"expression": "request.operation != 'CREATE'"}  # what the API server's own form cannot say
    await policies.apply("asks", asks, kinds=["Workflow"], failurePolicy="Ignore")
    flow = workflow("flow", [task("a", "absent")])
    await is_refused(namespace, policies, flow)
    (await kubectl("wait", "--for=condition=Native", "--timeout=60s", f"agentpolicy/{native}")).ok()
    assert (await policies.get("asks"))["status"]["native"] == "False"

    async def held() -> bool:
        return native_name(native) in (await dry(namespace, an_agent())).err

    await wait_for(held, "the API server to hold the policy")
    async with webhook_down(namespace.cluster):
        said = (await dry(namespace, an_agent())).refused()
        assert f"ValidatingAdmissionPolicy '{native_name(native)}'" in said
        assert OWNED["message"] in said
        for item in (an_agent(owner="team"), flow):
            assert "failed calling webhook" in (await dry(namespace, item)).refused()
        (await kubectl("delete", "agentpolicy", native)).ok()


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
                    content_type=APPLY_PATCH,
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
