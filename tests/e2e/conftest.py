"""Fixtures of the end-to-end tests: the cluster of the current kubeconfig, and a fresh namespace a test."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import IO

import pytest
from redis.asyncio import Redis

from ossa.kube import paths
from ossa.kube.client import ApiClient, Conflict, NotFound
from ossa.kube.config import load_config
from tests.e2e.harness import Cluster, Namespace, wait_for
from tests.e2e.harness.cluster import connect
from tests.e2e.harness.gateway import Account, User, allow, make_accounts, sign_in
from tests.e2e.harness.policies import Policies, policies_of
from tests.e2e.harness.services import Records, reached, reached_url

HERE = Path(__file__).parent
TLS_CLOSE = 0.25  # seconds, as aiohttp's documentation advises
# A watch that a test broke off may be collected in a later test of the same process, after its loop is gone.
LATE_SOCKETS = (
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning",
)
FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder is one that needs a cluster; those that harm the others are marked."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)
            for late in LATE_SOCKETS:
                item.add_marker(pytest.mark.filterwarnings(late))
            if "alone" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.alone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers whether the test itself failed, for the namespace to tell how things stood."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
async def api() -> AsyncIterator[ApiClient]:
    """The API server, as the user of the kubeconfig."""
    async with ApiClient(load_config()) as client:
        yield client
    # aiohttp closes TLS connections after its session has: the loop has to live on for a moment.
    await asyncio.sleep(TLS_CLOSE)


@pytest.fixture
async def cluster(api: ApiClient) -> Cluster:
    """The installation that is tested."""
    return await connect(api)


@pytest.fixture
async def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Namespace]:
    """A fresh namespace, deleted at the end; kept with OSSA_E2E_KEEP=1. A failed test tells how things stood in it."""
    made = await create_namespace(cluster)
    yield made
    if request.node.stash.get(FAILED, False):
        print(await made.diagnosis())
    if not os.environ.get("OSSA_E2E_KEEP"):
        with contextlib.suppress(NotFound, Conflict):  # a test may have deleted it itself
            await cluster.api.delete(paths.core("namespaces", name=made.name))


@pytest.fixture
async def policies(namespace: Namespace) -> AsyncIterator[Policies]:
    """AgentPolicies of the test, which are about its namespace alone; deleted at the end."""
    async with policies_of(namespace) as made:
        yield made


@pytest.fixture(scope="session")
def gateway_url() -> Iterator[str]:
    """The gateway, as this machine reaches it."""
    with reached("ossa-gateway", 8080) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="session")
def accounts(gateway_url: str) -> list[Account]:
    """Two local users of the gateway for all tests of this process: to make them costs a sign-in, which are limited."""
    return make_accounts(gateway_url, 2)


@pytest.fixture
async def user(namespace: Namespace, gateway_url: str, accounts: list[Account]) -> User:
    """The first of them, signed in afresh, who may edit in the test's namespace and nowhere else."""
    signed_in = sign_in(gateway_url, accounts[0])
    await allow(namespace, signed_in)
    return signed_in


@pytest.fixture
def colleague(gateway_url: str, accounts: list[Account]) -> User:
    """The second one, signed in afresh, who may do nothing yet."""
    return sign_in(gateway_url, accounts[1])


@pytest.fixture
def records() -> Iterator[Records]:
    """PostgreSQL of the installation."""
    with reached_url("ossa-postgresql") as url:
        yield Records(url)


@pytest.fixture
async def bus() -> AsyncIterator[Redis]:
    """Redis of the installation."""
    with reached_url("ossa-redis") as url:
        async with Redis.from_url(url, decode_responses=True) as client:
            yield client


@pytest.fixture
async def alone(cluster: Cluster) -> AsyncIterator[None]:
    """For tests that kill or stop a part of the installation: one of them at a time, in whatever process.

    `make e2e` runs them apart from the others, which say how many attempts each task takes.
    """
    path = Path(tempfile.gettempdir()) / f"ossa-e2e-{os.getuid()}.lock"
    with path.open("w") as file:

        async def mine() -> bool:
            return _locked(file)

        await wait_for(mine, "the other tests that run alone", timeout=1800)
        yield
        await wait_for(cluster.is_well, "the installation to be well again")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def create_namespace(cluster: Cluster) -> Namespace:
    """A namespace with a name of its own, once pods can be created in it."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "e2e-"}}
    name = (await cluster.api.post(paths.core("namespaces"), body))["metadata"]["name"]

    async def account() -> object:
        try:
            return await cluster.api.get(paths.core("serviceaccounts", name, "default"))
        except NotFound:
            return None

    await wait_for(account, f"the service account of namespace {name}")
    return Namespace(name, cluster)
