"""The artifact service: who may write and read what."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import aiohttp
import pytest

from ossa.store.signing import Signer
from tests.unit.store.asking import bearer, fetch, store
from tests.unit.store.running import EXECUTION_UID, KEY, NAMESPACE, Running


async def test_a_pod_stores_and_another_that_was_given_the_reference_reads(
    served: Running, http: aiohttp.ClientSession
) -> None:
    writer = served.cluster.add_pod("writer")
    ref = await store(http, served, writer, b'{"a": 1}')
    assert (ref.size, ref.sha256) == (8, hashlib.sha256(b'{"a": 1}').hexdigest())
    issued = {"namespace": NAMESPACE, "execution_uid": EXECUTION_UID, "pod_uid": "uid-writer"}
    assert Signer(KEY).verify(ref, **issued)
    reader = served.cluster.add_pod("reader", task_input={"deep": [{"records": ref.to_json()}]})
    assert await fetch(http, served, reader, ref.id) == (200, b'{"a": 1}', "application/json")
    assert await fetch(http, served, writer, ref.id) == (200, b'{"a": 1}', "application/json")


async def test_a_pod_that_was_not_given_the_reference_is_refused(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"1")
    status, body, kind = await fetch(http, served, served.cluster.add_pod("other"), ref.id)
    assert (status, kind) == (403, "application/problem+json")
    assert "neither wrote the artifact" in json.loads(body)["detail"]


async def test_the_same_id_means_nothing_in_another_execution(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"1")
    elsewhere: list[tuple[str, dict[str, Any]]] = [
        ("foreign", {"namespace": "elsewhere"}),
        ("later", {"execution_uid": "another-execution"}),
    ]
    for name, where in elsewhere:
        token = served.cluster.add_pod(name, task_input={"x": ref.to_json()}, **where)
        status, body, _ = await fetch(http, served, token, ref.id)
        assert status == 404, body


async def test_a_forged_id_is_refused(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"1")
    forged = ref.id[:22] + ("B" if ref.id[22] == "A" else "A") + ref.id[23:]
    reader = served.cluster.add_pod("reader", task_input={"x": {"$artifact": forged}})
    status, body, _ = await fetch(http, served, reader, forged)
    assert status == 403
    assert "not issued" in json.loads(body)["detail"]
    assert (await fetch(http, served, reader, "nonsense"))[0] == 400


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
async def test_nothing_is_written_over(served: Running, http: aiohttp.ClientSession, method: str) -> None:
    token = served.cluster.add_pod("writer")
    ref = await store(http, served, token, b"1")
    url = f"{served.url}/v1/artifacts/{ref.id}"
    async with http.request(method, url, data=b"2", headers=bearer(token)) as answer:
        assert answer.status == 405
        assert "never written over" in (await answer.json())["detail"]
    assert (await fetch(http, served, token, ref.id))[1] == b"1"


async def test_who_is_no_running_pod_of_a_task_is_refused(served: Running, http: aiohttp.ClientSession) -> None:
    cluster = served.cluster
    cluster.persons["jane"] = frozenset({NAMESPACE})
    finished = cluster.add_pod("finished")
    cluster.pods[NAMESPACE, "finished"]["status"]["phase"] = "Succeeded"
    ordinary = cluster.add_pod("ordinary")
    cluster.pods[NAMESPACE, "ordinary"]["metadata"]["labels"] = {}
    replaced = cluster.add_pod("replaced")
    cluster.pods[NAMESPACE, "replaced"]["metadata"]["uid"] = "a-new-pod"
    foreign = cluster.add_pod("foreign")
    identity = json.loads(cluster.pods[NAMESPACE, "foreign"]["metadata"]["annotations"]["ossa.dev/identity"])
    cluster.pods[NAMESPACE, "foreign"]["metadata"]["annotations"]["ossa.dev/identity"] = json.dumps(
        {**identity, "uid": "../../other"}
    )
    expected = {
        None: (401, "no token"),
        "lab/nobody": (401, "does not know this token"),
        "jane": (403, "a person reads artifacts at"),
        finished: (403, "has finished"),
        ordinary: (403, "no pod of a task"),
        replaced: (403, "is gone"),
        foreign: (403, "for no execution"),
    }
    for token, (status, detail) in expected.items():
        headers = {} if token is None else bearer(token)
        async with http.put(f"{served.url}/v1/artifacts", data=b"1", headers=headers) as answer:
            assert (answer.status, detail in (await answer.json())["detail"]) == (status, True), token
    assert served.objects() == []


async def test_a_resumed_execution_reads_what_it_has_taken_over(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"rows", "text/csv")
    given, uid = {"rows": ref.to_json()}, "0e7c2f9e-1111-4a4a-9e9e-000000000002"
    heir = served.cluster.add_pod("heir", task_input=given, execution_uid=uid, lineage=(EXECUTION_UID,))
    stranger = served.cluster.add_pod("stranger", task_input=given, execution_uid=uid)
    careless = served.cluster.add_pod("careless", execution_uid=uid, lineage=(EXECUTION_UID,))
    url = f"{served.url}/v1/artifacts/{ref.id}"
    async with http.get(url, headers=bearer(heir)) as answer:
        assert (answer.status, await answer.read()) == (200, b"rows")
    for token, status in ((stranger, 404), (careless, 403)):
        async with http.get(url, headers=bearer(token)) as answer:
            assert answer.status == status
    served.cluster.persons.update(jane=frozenset({NAMESPACE}))
    served.cluster.executions[NAMESPACE] = frozenset({uid})
    of_heir = f"{served.url}/v1/namespaces/{NAMESPACE}/executions/{uid}/artifacts/{ref.id}"
    async with http.get(of_heir, headers=bearer("jane")) as answer:
        assert answer.status == 404
    served.cluster.taken_over[uid] = (EXECUTION_UID,)
    async with http.get(of_heir, headers=bearer("jane")) as answer:
        assert (answer.status, await answer.read()) == (200, b"rows")


async def test_a_person_reads_where_the_cluster_allows_it(served: Running, http: aiohttp.ClientSession) -> None:
    served.cluster.persons.update(jane=frozenset({NAMESPACE}), joe=frozenset())
    ref = await store(http, served, served.cluster.add_pod("writer"), b"<html>", "text/html")
    url = f"{served.url}/v1/namespaces/{NAMESPACE}/executions/{EXECUTION_UID}/artifacts/{ref.id}"
    async with http.get(url, headers={"X-Ossa-Token": "jane"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"<html>")
        assert answer.headers["Content-Disposition"] == "attachment"
    async with http.get(url, headers=bearer("joe")) as answer:
        assert answer.status == 403
        assert "executions/artifacts" in (await answer.json())["detail"]
    async with http.get(url.replace(EXECUTION_UID, "other"), headers=bearer("jane")) as answer:
        assert answer.status == 404
    async with http.get(url.replace(EXECUTION_UID, ".."), headers=bearer("jane")) as answer:
        assert answer.status in (400, 404)
