"""What admission does to a request of the gateway: the API server's own policy refuses it, or a webhook is down."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ossa.client import AsyncGateway, FixedToken, Invalid, OrchestrateRequest
from tests.e2e.harness import Namespace, execution, wait_for
from tests.e2e.harness.gateway import User
from tests.e2e.harness.load import requests_of
from tests.e2e.harness.services import Records
from tests.e2e.test_policy_faults import admission_pods, scale

ACCEPTED, UNPROCESSABLE = 202, 422
NATIVE, EMERGENCIES = "ValidatingAdmissionPolicy", "priorities from 100 on are for emergencies"


@pytest.fixture
async def native(namespace: Namespace) -> AsyncIterator[str]:
    """A ValidatingAdmissionPolicy of the namespace, which the API server itself holds: its name."""
    group, version = "/apis/admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/v1"
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    rule = {"apiGroups": ["ossa.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["executions"]}
    validation = {"expression": "!has(object.spec.priority) || object.spec.priority < 100", "message": EMERGENCIES}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": here, "resourceRules": [rule]},
        "validations": [validation],
    }
    name = f"{namespace.name}-calm"
    made = {"apiVersion": version, "metadata": {"name": name}}
    bound = {"policyName": name, "validationActions": ["Deny"]}
    api_ = namespace.cluster.api
    await api_.post(f"{group}/validatingadmissionpolicies", {**made, "kind": NATIVE, "spec": spec})
    await api_.post(f"{group}/validatingadmissionpolicybindings", {**made, "kind": f"{NATIVE}Binding", "spec": bound})
    yield name
    await api_.delete(f"{group}/validatingadmissionpolicybindings/{name}")
    await api_.delete(f"{group}/validatingadmissionpolicies/{name}")


async def test_what_the_api_server_s_own_policy_refuses_is_told_in_its_words(
    namespace: Namespace, user: User, native: str, records: Records
) -> None:
    await namespace.publish_podless()
    probe = execution("probe", "flow")
    probe["spec"]["priority"] = 100

    async def in_force() -> bool:
        said = await namespace.kubectl("create", "--dry-run=server", "-f", "-", objects=[probe])
        return said.code != 0 and EMERGENCIES in said.err

    await namespace.wait(in_force, "the API server to hold the policy")
    answer = await user.orchestrate({"namespace": namespace.name, "workflow": "flow", "priority": 100}, key="once")
    problem = answer.json()
    assert (answer.status_code, problem["detail"], problem["policy"]) == (UNPROCESSABLE, EMERGENCIES, native)
    assert await namespace.execution_names() == set()
    rows = await records.rows("SELECT state, problem FROM requests WHERE namespace = $1", namespace.name)
    assert [(row["state"], EMERGENCIES in row["problem"]) for row in rows] == [("refused", True)]
    async with AsyncGateway(user.url, FixedToken(user.token)) as gateway:
        with pytest.raises(Invalid, match=EMERGENCIES):
            await gateway.orchestrate(OrchestrateRequest(namespace=namespace.name, workflow="flow", priority=101))


@pytest.mark.usefixtures("alone")
async def test_with_admission_down_a_request_waits_for_it(namespace: Namespace, user: User, records: Records) -> None:
    await namespace.publish_podless()
    body = {"namespace": namespace.name, "workflow": "flow"}
    replicas = len(await admission_pods(namespace.cluster))
    await scale(0)
    try:

        async def down() -> bool:
            return not await admission_pods(namespace.cluster)

        await wait_for(down, "admission to be down")
        answers = [await user.orchestrate(body, key="once") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [ACCEPTED, ACCEPTED], [a.text for a in answers]
        first, again = (answer.json() for answer in answers)
        assert first == again
        assert (first["state"], first.get("uid")) == ("Accepted", None)
        assert await namespace.execution_names() == set()
        assert await requests_of(namespace, records) == {"open": 1}
    finally:
        await scale(replicas)

    async def created() -> bool:
        answer = await user.request("GET", f"/api/v1/requests/{first['id']}")
        return answer.status_code == 200 and answer.json()["state"] == "Created"

    await namespace.wait(created, "the request to be carried out")
    await namespace.completes(first["execution"])
    assert await namespace.execution_names() == {first["execution"]}
    assert await requests_of(namespace, records) == {"done": 1}
