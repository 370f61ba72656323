"""Two reconcilers, of which one leads: whatever happens to it, the other goes on, and no task is lost or run twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from ossa.api.contract import ANNOTATION_EPOCH, LABEL_MANAGED_BY, MANAGED_BY
from ossa.kube import paths
from ossa.kube.elector import EXIT_LOST
from tests.e2e.harness import Cluster, Namespace, kubectl, wait_for
from tests.e2e.harness.cluster import RECONCILER, is_ready
from tests.e2e.harness.diamond import diamond, each_ran_once
from tests.e2e.harness.executioner import Executioner
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.recorder import PodRecorder, recorded

RUNS = ("one", "two", "three")
TAKEN_OVER = 15.0  # seconds from the death of the leader to the Lease that names another one
RESIGNED = 7.5  # from SIGTERM; a Lease that is not given up expires 8 s after the end of its leader at the earliest


@pytest.fixture
async def executioner(namespace: Namespace) -> Executioner:
    """Ready to act."""
    made = Executioner(namespace)
    await made.prepare()
    return made


@pytest.fixture
async def recorder(namespace: Namespace) -> AsyncIterator[PodRecorder]:
    """Of all worker pods of the namespace."""
    async with recorded(namespace.cluster.api, namespace.name) as made:
        yield made


async def started(namespace: Namespace, recorder: PodRecorder, runs: Sequence[str] = RUNS) -> None:
    """Executions in flight: some tasks run, and more are to come."""
    await namespace.apply(*diamond(namespace))
    for name in runs:
        await namespace.start("flow", name=name)
    await recorder.until(lambda seen: len(seen.running()) >= 2, "tasks to run")


async def led_anew(cluster: Cluster, before: JSONObject, *, within: float) -> JSONObject:
    """The Lease once another one leads."""

    async def look() -> JSONObject | None:
        lease = await cluster.lease()
        return lease if lease.get("holderIdentity") not in (None, before["holderIdentity"]) else None

    return await wait_for(look, "another leader", timeout=within)


async def all_complete(namespace: Namespace, recorder: PodRecorder, *runs: str) -> None:
    for name in runs:
        await namespace.completes(name)
    await recorder.until_all_ended()
    await each_ran_once(namespace, recorder, *runs)


async def reconcilers(cluster: Cluster) -> list[JSONObject]:
    selector = {"labelSelector": f"app.kubernetes.io/name={RECONCILER}"}
    listed = await cluster.api.get(paths.core("pods", cluster.system_namespace), selector)
    return list(listed["items"])


@pytest.mark.usefixtures("alone")
async def test_one_leads_and_all_are_ready(cluster: Cluster) -> None:
    await wait_for(cluster.is_well, "the installation to be well")
    pods, lease = await reconcilers(cluster), await cluster.lease()
    assert len(pods) == 2
    assert all(map(is_ready, pods))
    for pod in pods:
        name = pod["metadata"]["name"]
        path = paths.core("pods", cluster.system_namespace, f"{name}:9090", "proxy/metrics")
        lines = (await cluster.api.text(path)).splitlines()
        told = dict(line.split() for line in lines if line.startswith("ossa_leader"))
        leads = name == await cluster.leader()
        assert float(told["ossa_leader"]) == leads
        assert float(told["ossa_leader_epoch"]) == (lease["leaseTransitions"] if leads else 0)


@pytest.mark.usefixtures("alone")
async def test_a_leader_that_is_killed(namespace: Namespace, executioner: Executioner, recorder: PodRecorder) -> None:
    aim, before = await executioner.aim(), await namespace.cluster.lease()
    await started(namespace, recorder)
    await executioner.kill(aim)
    after = await led_anew(namespace.cluster, before, within=TAKEN_OVER)
    assert after["leaseTransitions"] == before["leaseTransitions"] + 1
    await all_complete(namespace, recorder, *RUNS)


@pytest.mark.usefixtures("alone")
async def test_a_leader_that_was_stopped_for_too_long(
    namespace: Namespace, executioner: Executioner, recorder: PodRecorder
) -> None:
    """It wakes up with events to act on, and ends without having acted: before its kubelet ends it as dead."""
    cluster = namespace.cluster
    aim, before = await executioner.aim(), await cluster.lease()
    await started(namespace, recorder, RUNS[:1])
    await executioner.signal(aim, "STOP")
    try:
        await namespace.start("flow", name="meanwhile")
        await led_anew(cluster, before, within=TAKEN_OVER)
        await all_complete(namespace, recorder, RUNS[0], "meanwhile")
        pods, lease = set(recorder.pods), await cluster.lease()
        versions = await _versions(namespace)
    finally:
        await executioner.signal(aim, "CONT")

    async def how_it_ended() -> JSONObject | None:
        pod = await cluster.api.get(paths.core("pods", cluster.system_namespace, aim.pod))
        (container,) = pod["status"]["containerStatuses"]
        ended: JSONObject | None = (container.get("lastState") or {}).get("terminated") or container["state"].get(
            "terminated"
        )
        return ended

    ended = await wait_for(how_it_ended, "the old leader to end", timeout=30)
    assert ended["exitCode"] == EXIT_LOST
    await asyncio.sleep(1.0)  # what it had sent would have shown by now
    assert set(recorder.pods) == pods
    assert await _versions(namespace) == versions
    now = await cluster.lease()
    assert (now["holderIdentity"], now["leaseTransitions"]) == (lease["holderIdentity"], lease["leaseTransitions"])


async def _versions(namespace: Namespace) -> dict[str, str]:
    listed = await namespace.cluster.api.get(paths.ossa("executions", namespace.name))
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}


@pytest.mark.usefixtures("alone")
async def test_a_rolling_update(namespace: Namespace, recorder: PodRecorder) -> None:
    cluster = namespace.cluster
    system, before = ("-n", cluster.system_namespace), await cluster.lease()
    await started(namespace, recorder)
    (await kubectl(*system, "rollout", "restart", f"deployment/{RECONCILER}")).ok()
    (await kubectl(*system, "rollout", "status", f"deployment/{RECONCILER}", "--timeout=120s")).ok()
    after = await led_anew(cluster, before, within=TAKEN_OVER)
    assert after["leaseTransitions"] > before["leaseTransitions"]
    await all_complete(namespace, recorder, *RUNS)


@pytest.mark.usefixtures("alone")
async def test_a_leader_that_resigns_hands_over_at_once(
    namespace: Namespace, executioner: Executioner, recorder: PodRecorder
) -> None:
    aim, before = await executioner.aim(), await namespace.cluster.lease()
    await started(namespace, recorder)
    await executioner.signal(aim, "TERM")
    await led_anew(namespace.cluster, before, within=RESIGNED)
    await all_complete(namespace, recorder, *RUNS)


@pytest.mark.usefixtures("alone")
async def test_a_lease_that_is_deleted(namespace: Namespace, recorder: PodRecorder) -> None:
    cluster = namespace.cluster
    before = await cluster.lease()
    await started(namespace, recorder)
    await cluster.api.delete(paths.leases(cluster.system_namespace, RECONCILER))

    async def made_anew() -> JSONObject | None:
        held = (await cluster.api.get(paths.leases(cluster.system_namespace)))["items"]
        specs = [item["spec"] for item in held if item["metadata"]["name"] == RECONCILER]
        return next((spec for spec in specs if spec.get("holderIdentity")), None)

    after = await wait_for(made_anew, "another Lease", timeout=TAKEN_OVER)
    assert after["holderIdentity"] != before["holderIdentity"]
    assert after["leaseTransitions"] > before["leaseTransitions"]
    await all_complete(namespace, recorder, *RUNS)


# --- the fence ---


def worker_pod(namespace: Namespace, **annotations: str) -> JSONObject:
    """A pod as the reconciler makes it, as far as policies look."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "late", "labels": {LABEL_MANAGED_BY: MANAGED_BY}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": namespace.cluster.shell_image}]},
    }


@pytest.mark.usefixtures("alone")
async def test_a_pod_of_another_epoch_is_refused(namespace: Namespace) -> None:
    epoch = (await namespace.cluster.lease())["leaseTransitions"]
    account = f"system:serviceaccount:{namespace.cluster.system_namespace}:{RECONCILER}"
    create = ("create", "--dry-run=server", "-f", "-", "--as", account)

    for written, found in (
        ({ANNOTATION_EPOCH: str(epoch - 1)}, str(epoch - 1)),
        ({ANNOTATION_EPOCH: str(epoch + 1)}, str(epoch + 1)),
        ({ANNOTATION_EPOCH: f"0{epoch}"}, f"0{epoch}"),
        ({}, "none"),
    ):
        said = (await namespace.kubectl(*create, objects=[worker_pod(namespace, **written)])).refused()
        assert "ValidatingAdmissionPolicy 'ossa-epoch'" in said
        assert f"this one has {found}, and spec.leaseTransitions of the Lease ossa-reconciler is {epoch}" in said
    (await namespace.kubectl(*create, objects=[worker_pod(namespace, **{ANNOTATION_EPOCH: str(epoch)})])).ok()
