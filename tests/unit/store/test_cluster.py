"""What the service asks an API server, over a real connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.store.access import Caller
from ossa.store.cluster import ClusterAccess
from ossa.store.errors import Unavailable
from tests.unit.store.api_server import ApiServer, api_server
from tests.unit.store.running import NAMESPACE, Cluster


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server(Cluster()) as found:
        yield found


@pytest.fixture
async def access(server: ApiServer) -> AsyncIterator[ClusterAccess]:
    config = KubeConfig(server=server.url, token=lambda: None, namespace="default")
    async with ApiClient(config) as api:
        yield ClusterAccess(api)


async def test_a_pods_token(server: ApiServer, access: ClusterAccess) -> None:
    token = server.cluster.add_pod("a")
    caller = await access.review(token)
    assert caller is not None
    assert (caller.namespace, caller.pod_name, caller.pod_uid) == (NAMESPACE, "a", "uid-a")
    assert server.asked[0][1]["spec"] == {"token": token, "audiences": ["ossa-artifacts"]}
    assert (await access.pod(NAMESPACE, "a") or {})["metadata"]["uid"] == "uid-a"
    assert await access.pod(NAMESPACE, "b") is None


async def test_a_persons_token(server: ApiServer, access: ClusterAccess) -> None:
    server.cluster.persons["jane"] = frozenset({NAMESPACE})
    caller = await access.review("jane")
    assert caller == Caller(username="jane", uid="u-1", groups=("g",))
    assert await access.may(caller, "get", NAMESPACE)
    assert not await access.may(caller, "create", NAMESPACE)
    assert server.asked[-1][1]["spec"]["resourceAttributes"]["verb"] == "create"
    assert not await access.may(caller, "get", "other")
    spec = server.asked[-1][1]["spec"]
    assert (spec["user"], spec["uid"], spec["groups"]) == ("jane", "u-1", ["g"])
    assert spec["resourceAttributes"] == {
        "namespace": "other", "verb": "get", "group": "ossa.dev", "resource": "executions", "subresource": "artifacts"
    }  # fmt: skip


async def test_a_token_for_another_audience_is_none(server: ApiServer, access: ClusterAccess) -> None:
    token = server.cluster.add_pod("a")
    server.audiences = ("https://kubernetes.default.svc",)
    assert await access.review(token) is None
    server.audiences = ()
    assert await access.review(token) is None
    assert await access.review("unknown") is None


async def test_all_pages_are_read(server: ApiServer, access: ClusterAccess) -> None:
    server.cluster.executions["lab"] = frozenset({"a", "b", "c"})
    assert (await access.lineages("lab")).keys() == {"a", "b", "c"}
    assert await access.lineages("other") == {}


async def test_no_answer_is_not_the_callers_doing(server: ApiServer, access: ClusterAccess) -> None:
    server.failing = True
    with pytest.raises(Unavailable, match="did not let the artifact service review a token: 503"):
        await access.review("x")
    with pytest.raises(Unavailable, match="list the executions of lab"):
        await access.lineages("lab")
