"""Agents at the gateway: the cluster itself says whose token it is, and for whom it was made."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.harness import Namespace
from tests.e2e.harness.gateway import User
from tests.e2e.harness.namespace import RBAC
from tests.e2e.harness.objects import JSONObject

AUDIENCE = "ossa-gateway"
WHOAMI = "/api/v1/auth/whoami"
ACCOUNT = "robot"


async def account(namespace: Namespace) -> str:
    """A service account that may edit in the namespace; as the cluster knows it."""
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace.name}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ossa-edit"}
    metadata = {"name": ACCOUNT}
    binding: JSONObject = {"metadata": metadata, "roleRef": role, "subjects": [subject]}
    await namespace.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    await namespace.apply({"apiVersion": RBAC, "kind": "RoleBinding", **binding})
    return f"system:serviceaccount:{namespace.name}:{ACCOUNT}"


async def token(namespace: Namespace, *audience: str) -> str:
    """For these audiences; for the API server where none is named."""
    asked = [part for name in audience for part in ("--audience", name)]
    return (await namespace.kubectl("create", "token", ACCOUNT, *asked)).ok().strip()


async def test_an_agent_runs_a_workflow_as_its_service_account(namespace: Namespace, gateway_url: str) -> None:
    name = await account(namespace)
    await namespace.publish_podless()
    agent = User(ACCOUNT, gateway_url, await token(namespace, AUDIENCE))
    told = (await agent.request("GET", WHOAMI)).json()
    assert told["user"] == name
    assert {"system:serviceaccounts", f"system:serviceaccounts:{namespace.name}"} <= set(told["groups"])
    answer = await agent.orchestrate({"namespace": "kube-system", "workflow": "flow"})
    assert answer.status_code == httpx.codes.FORBIDDEN, answer.text
    answer = await agent.orchestrate({"namespace": namespace.name, "workflow": "flow"})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    run = answer.json()["execution"]
    await namespace.completes(run)
    assert (await namespace.get("executions", run))["metadata"]["annotations"]["ossa.dev/created-by"] == name


@pytest.mark.parametrize("audience", [(), ("somebody-else",)])
async def test_a_token_for_another_audience_is_none(
    namespace: Namespace, gateway_url: str, audience: tuple[str, ...]
) -> None:
    """Whoever it was shown to could use it here otherwise."""
    await account(namespace)
    agent = User(ACCOUNT, gateway_url, await token(namespace, *audience))
    answer = await agent.request("GET", WHOAMI)
    assert (answer.status_code, AUDIENCE in answer.json()["detail"]) == (httpx.codes.UNAUTHORIZED, True)


async def test_a_token_of_an_account_that_is_gone_is_none(namespace: Namespace, gateway_url: str) -> None:
    await account(namespace)
    agent = User(ACCOUNT, gateway_url, await token(namespace, AUDIENCE, "somebody-else"))
    (await namespace.kubectl("delete", "serviceaccount", ACCOUNT)).ok()
    assert (await agent.request("GET", WHOAMI)).status_code == httpx.codes.UNAUTHORIZED
