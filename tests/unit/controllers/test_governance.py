"""What the reconciler does about policies, against an API server of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from controllers.cache import ObjectCache
from controllers.governance.scan import Scanner
from controllers.governance.wiring import Governance
from controllers.metrics import Metrics
from controllers.policycache import PolicyCache
from controllers.resync import Followed, learn
from ossa.api.agent import AgentSpec
from ossa.engine.clock import to_exact_text
from ossa.governance.question import spec_hash
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.watch import list_and_watch
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import SETTINGS

JSONObject = dict[str, Any]
POLICIES, AGENTS = paths.ossa("agentpolicies"), paths.ossa("agents", "team")
WORKFLOWS, EXECUTIONS = paths.ossa("workflows", "team"), paths.ossa("executions", "team")
EXCEPTIONS = paths.ossa("agentpolicyexceptions", "team")
REPORTS = paths.reports("team")
NATIVES, BINDINGS = paths.admission("validatingadmissionpolicies"), paths.admission("validatingadmissionpolicybindings")
EVENTS = (paths.core("events", "team"), paths.core("events", "default"))
OWNED = {"expression": "object.spec.owner != ''", "message": "name an owner"}


class Events:
    """A `Listener` that hands objects to their controller, as kopf does in the process."""

    def __init__(self, seen: Callable[[str | None, JSONObject], None]) -> None:
        self._seen = seen

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        for item in items:
            self._seen(None, item)

    def changed(self, kind: str, item: JSONObject) -> None:
        self._seen(kind, item)

    def advanced(self, version: int) -> None:
        """Nothing to do."""


class Cluster(ApiServer):
    """With a namespace, and what a test says of it in few words."""

    def __init__(self) -> None:
        super().__init__()
        self.create(paths.core("namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})

    def ours(self, collection: str, kind: str, name: str, spec: JSONObject, **metadata: Any) -> JSONObject:
        """Creates an object, or changes its spec."""
        path = f"{collection}/{name}"
        namespace = {} if kind == "AgentPolicy" else {"namespace": "team"}
        item = {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **namespace, **metadata}}
        if path not in self.objects:
            return self.create(collection, {**item, "spec": spec})
        held = self.objects[path]
        changed = {**held["metadata"], **metadata, "generation": held["metadata"]["generation"] + 1}
        return self.put(collection, {**held, "metadata": changed, "spec": spec})

    def agent(self, name: str, **spec: Any) -> JSONObject:
        return self.ours(AGENTS, "Agent", name, agent_spec(**spec))

    def policy(self, name: str, *rules: JSONObject, **spec: Any) -> JSONObject:
        return self.ours(POLICIES, "AgentPolicy", name, {"match": {"kinds": ["Agent"]}, "rules": list(rules), **spec})

    def exception(self, name: str, policy: str, agent: JSONObject, *, ends_in: float = 600.0) -> JSONObject:
        spec = {
            "policy": policy,
            "target": {"kind": "Agent", "name": "bad", "specHash": spec_hash(AgentSpec.model_validate(agent["spec"]))},
            "owner": "o",
            "reason": "r",
            "expiresAt": to_exact_text(datetime.now(UTC) + timedelta(seconds=ends_in)),
        }
        made = to_exact_text(datetime.now(UTC))
        return self.ours(EXCEPTIONS, "AgentPolicyException", name, spec, creationTimestamp=made)

    def status(self, collection: str, name: str) -> JSONObject:
        found: JSONObject = self.objects[f"{collection}/{name}"].get("status") or {}
        return found

    def report(self, policy: str) -> JSONObject | None:
        return self.objects.get(f"{REPORTS}/ossa-{policy}")

    def results(self, policy: str) -> dict[str, str]:
        """The result of each object."""
        listed = (self.report(policy) or {}).get("results") or []
        return {held["resources"][0]["name"]: held["result"] for held in listed}


def agent_spec(**spec: Any) -> JSONObject:
    return {"capabilities": [{"name": "do"}], "runtime": {"handler": "do:run"}, "owner": "", **spec}


async def until(true: Callable[[], object], what: str = "") -> None:
    """Raises AssertionError where it does not become true in time."""
    try:
        async with asyncio.timeout(15):
            while not true():  # noqa: ASYNC110 - the other side is a process of its own
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(what or "it did not become true") from None


def _kept(cache: ObjectCache, kind: str | None, item: JSONObject) -> None:
    cache.take(kind, item)


@asynccontextmanager
async def governed(server: Cluster, *, metrics: Metrics | None = None, **settings: Any) -> AsyncIterator[Governance]:
    """The process, without kopf. metrics: those that follow its scan."""
    held = replace(SETTINGS, **{"native_policies": "Always", **settings})
    async with server.served() as config, ApiClient(config) as api:
        policies = PolicyCache(api, ["ossa-system"])
        scanner = Scanner(api, policies)
        if metrics is not None:
            metrics.follow_scan(scanner)
        objects = {kind: ObjectCache(partial(scanner.changed, kind)) for kind in ("Agent", "Workflow", "Execution")}
        made = Governance(api, held, policies=policies, scanner=scanner, objects=objects)
        kinds = [
            *made.followed,
            *(Followed(f"{kind.lower()}s", cache, partial(_kept, cache)) for kind, cache in objects.items()),
        ]
        await learn(api, [kind for kind in kinds if server.of(paths.ossa(kind.plural))])
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(policies.run()), group.create_task(made.run())]
            for kind in kinds:
                watch = list_and_watch(api, paths.ossa(kind.plural), {}, Events(kind.seen))
                tasks.append(group.create_task(watch))
            yield made
            for task in tasks:
                task.cancel()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr("controllers.governance.reports.INTERVAL", 0.2)
    return Cluster()


async def test_what_was_there_before_the_policy_is_reported(server: Cluster) -> None:
    server.agent("good", owner="me")
    server.agent("bad")
    async with governed(server):
        server.policy("owned", OWNED)
        await until(lambda: server.results("owned") == {"bad": "fail", "good": "pass"})
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 1)
        status = server.status(POLICIES, "owned")
        assert (status["ready"], status["native"], status["observedGeneration"]) == ("True", "True", 1)
        assert {held["type"]: held["status"] for held in status["conditions"]} == {
            "Ready": "True",
            "Native": "True",
            "Scanned": "True",
        }
        told = [event for path in EVENTS for event in server.of(path)]
        assert {event["involvedObject"]["kind"] for event in told} == {"Agent", "AgentPolicy"}
        assert all(event["reason"] == "PolicyViolation" for event in told)
        assert any("name an owner" in event["message"] for event in told)


async def test_edits_change_the_report(server: Cluster) -> None:
    server.agent("bad")
    server.policy("owned", OWNED)
    async with governed(server) as made:
        await until(lambda: server.results("owned") == {"bad": "fail"})
        server.agent("bad", owner="me")
        await until(lambda: server.results("owned") == {"bad": "pass"})
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 0)
        server.policy("owned", {"expression": "object.spec.owner == 'you'"})
        await until(lambda: server.results("owned") == {"bad": "fail"})
        await until(lambda: server.status(POLICIES, "owned").get("observedGeneration") == 2)
        assert dict(made.reports._scanner.findings.counts()) == {("owned", "Agent"): 1}
        server.remove(f"{AGENTS}/bad")
        await until(lambda: server.report("owned") is None)
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 0)


async def test_a_policy_that_is_gone_leaves_nothing(server: Cluster) -> None:
    server.agent("bad")
    server.policy("owned", OWNED)
    async with governed(server):
        await until(lambda: server.results("owned") == {"bad": "fail"} and server.of(BINDINGS))
        server.remove(f"{POLICIES}/owned")
        await until(lambda: server.report("owned") is None)
        await until(lambda: not server.of(NATIVES) and not server.of(BINDINGS))


async def test_what_is_left_of_another_life_goes(server: Cluster) -> None:
    server.agent("bad")
    server.policy("owned", OWNED)
    server.policy("passing", {"expression": "true"})
    async with governed(server):
        await until(lambda: server.results("owned") and server.results("passing") and len(server.of(BINDINGS)) == 2)
    server.remove(f"{POLICIES}/owned")
    async with governed(server):
        await until(lambda: server.report("owned") is None)
        await until(lambda: [held["metadata"]["name"] for held in server.of(BINDINGS)] == ["ossa-policy-passing"])
        assert server.results("passing") == {"bad": "pass"}


async def test_a_policy_that_is_not_common_is_not_native(server: Cluster) -> None:
    server.policy("owned", OWNED)
    async with governed(server):
        await until(lambda: server.of(NATIVES) and server.status(POLICIES, "owned").get("native") == "True")
        server.policy("owned", OWNED, exceptions={"maxDuration": "1h"})
        await until(lambda: server.status(POLICIES, "owned").get("native") == "False")
        assert not server.of(NATIVES)
        assert not server.of(BINDINGS)
        (why,) = (held for held in server.status(POLICIES, "owned")["conditions"] if held["type"] == "Native")
        assert (why["reason"], why["observedGeneration"]) == ("NotCommon", 2)
        assert "spec.exceptions" in why["message"]


async def test_the_agent_that_answers_for_a_policy_is_looked_for(server: Cluster) -> None:
    def governed_by() -> tuple[str, str] | None:
        conditions = server.status(POLICIES, "owned").get("conditions") or []
        return next(((held["status"], held["reason"]) for held in conditions if held["type"] == "Governed"), None)

    server.agent("other")
    server.policy("owned", OWNED, governor={"namespace": "team", "name": "gov"})
    async with governed(server):
        await until(lambda: governed_by() == ("False", "NoAgent"))
        assert server.status(POLICIES, "owned")["ready"] == "True"
        server.agent("gov")
        await until(lambda: governed_by() == ("False", "NoGovernor"))
        server.agent("gov", type="governor")
        await until(lambda: governed_by() == ("True", "Governed"))
        server.remove(f"{AGENTS}/gov")
        await until(lambda: governed_by() == ("False", "NoAgent"))
        server.policy("owned", OWNED)
        await until(lambda: governed_by() is None and server.status(POLICIES, "owned")["observedGeneration"] == 2)


async def test_native_policies_can_be_off(server: Cluster) -> None:
    server.policy("owned", OWNED)
    server.policy("lenient", OWNED, failurePolicy="Ignore")
    async with governed(server, native_policies="Never"):
        await until(lambda: server.status(POLICIES, "owned").get("native") == "False")
        assert not server.of(NATIVES)
    async with governed(server, native_policies="Ignore"):
        await until(lambda: server.status(POLICIES, "lenient").get("native") == "True")
        assert [held["metadata"]["name"] for held in server.of(NATIVES)] == ["ossa-policy-lenient"]
        assert server.status(POLICIES, "owned")["native"] == "False"


async def test_a_policy_that_cannot_be_judged_by(server: Cluster) -> None:
    server.agent("a")
    server.policy("broken", {"expression": "object.spec.owner =="})
    server.policy("lacking", {"expression": "params.a == 'b'"}, params={"namespace": "ossa-system", "name": "none"})
    async with governed(server):
        await until(lambda: server.status(POLICIES, "broken").get("ready") == "False")
        assert "spec.rules[0].expression" in server.status(POLICIES, "broken")["message"]
        await until(lambda: server.status(POLICIES, "lacking").get("ready") == "False")
        assert "there is no ConfigMap 'none'" in server.status(POLICIES, "lacking")["message"]
        await until(lambda: server.results("lacking") == {"a": "error"})
        held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "none", "namespace": "ossa-system"}}
        server.create(paths.core("configmaps", "ossa-system"), {**held, "data": {"a": "b"}})
        await until(lambda: server.status(POLICIES, "lacking").get("ready") == "True")
        await until(lambda: server.results("lacking") == {"a": "pass"})
        assert "message" not in server.status(POLICIES, "lacking")


async def test_an_exception_holds_until_it_ends(server: Cluster) -> None:
    agent = server.agent("bad")
    server.policy("owned", OWNED, exceptions={"maxDuration": "1h", "secondPerson": False})
    async with governed(server):
        await until(lambda: server.results("owned") == {"bad": "fail"})
        server.exception("spared", "owned", agent, ends_in=4)
        await until(lambda: server.results("owned") == {"bad": "skip"})
        (result,) = (server.report("owned") or {})["results"]
        assert result["properties"]["exception"] == "team/spared"
        status = server.status(EXCEPTIONS, "spared")
        assert (status["state"], status["uid"]) == ("Active", agent["metadata"]["uid"])
        await until(lambda: server.status(EXCEPTIONS, "spared").get("state") == "Expired")
        await until(lambda: server.results("owned") == {"bad": "fail"})


async def test_an_exception_is_bound_to_the_first_object(server: Cluster) -> None:
    server.policy("owned", OWNED, exceptions={"maxDuration": "1h", "secondPerson": False})
    server.exception("spared", "owned", {"spec": agent_spec()})
    async with governed(server):
        await until(lambda: server.status(EXCEPTIONS, "spared").get("state") == "Active")
        assert "uid" not in server.status(EXCEPTIONS, "spared")
        first = server.agent("bad")
        await until(lambda: server.status(EXCEPTIONS, "spared").get("uid") == first["metadata"]["uid"])
        await until(lambda: server.results("owned") == {"bad": "skip"})
        server.remove(f"{AGENTS}/bad")
        server.agent("bad")
        await until(lambda: server.status(EXCEPTIONS, "spared").get("state") == "Refused")
        await until(lambda: server.results("owned") == {"bad": "fail"})


async def test_workflows_and_their_executions_are_judged_with_their_agents(server: Cluster) -> None:
    server.agent("worker", risk="limited")
    server.ours(WORKFLOWS, "Workflow", "flow", {"tasks": [{"name": "t", "agent": "worker"}], "version": "1"})
    server.ours(EXECUTIONS, "Execution", "run", {"workflow": "flow"})
    ended = server.ours(EXECUTIONS, "Execution", "ended", {"workflow": "flow"})
    server.put(EXECUTIONS, {**ended, "status": {"phase": "Completed"}})
    rule = {"expression": "plan.tasks.all(t, t.agent.risk != 'high')"}
    async with governed(server):
        server.policy("risk", rule, match={"kinds": ["Workflow", "Execution"]})
        await until(lambda: server.results("risk") == {"flow": "pass", "run": "pass"})
        server.agent("worker", risk="high")
        await until(lambda: server.results("risk") == {"flow": "fail", "run": "fail"})
        run = server.objects[f"{EXECUTIONS}/run"]
        server.put(EXECUTIONS, {**run, "status": {"phase": "Completed"}})
        await until(lambda: server.results("risk") == {"flow": "fail"})
        await until(lambda: server.status(POLICIES, "risk").get("violations") == 1)


async def test_labels_of_a_namespace_are_followed(server: Cluster) -> None:
    server.agent("bad")
    match = {"kinds": ["Agent"], "namespaceSelector": {"matchLabels": {"tier": "gold"}}}
    server.policy("owned", OWNED, match=match)
    async with governed(server):
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 0)
        held = server.objects[f"{paths.core('namespaces')}/team"]
        labelled = {**held, "metadata": {**held["metadata"], "labels": {"tier": "gold"}}}
        server.put(paths.core("namespaces"), labelled)
        await until(lambda: server.results("owned") == {"bad": "fail"})


async def test_what_somebody_else_changed_is_put_right(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controllers.governance.natives.LOOK_SECONDS", 0.2)
    server.policy("owned", OWNED)
    async with governed(server):
        await until(lambda: server.of(BINDINGS) and server.status(POLICIES, "owned").get("native") == "True")
        held = server.objects[f"{NATIVES}/ossa-policy-owned"]
        metadata = {**held["metadata"], "generation": held["metadata"]["generation"] + 1}
        server.put(NATIVES, {**held, "metadata": metadata, "spec": {"validations": []}})
        server.remove(f"{BINDINGS}/ossa-policy-owned")
        await until(lambda: server.objects[f"{NATIVES}/ossa-policy-owned"]["spec"].get("validations"))
        await until(lambda: server.of(BINDINGS))


async def test_nothing_is_written_twice(server: Cluster) -> None:
    for number in range(30):
        server.agent(f"bad-{number}")
    server.policy("owned", OWNED)
    async with governed(server) as made:
        await until(lambda: len(server.results("owned")) == 30)
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 30)
        # The first ten have an event of their own, the policy tells of all.
        assert len(server.of(EVENTS[0])) == 10
        (event,) = server.of(EVENTS[1])
        assert "and 20 more" in event["message"]
        await asyncio.sleep(1.5)
        before = {path: item["metadata"]["resourceVersion"] for path, item in server.objects.items()}
        made.reports._scanner._agenda.again(made.reports._scanner._present.all())
        made.reports._scanner._wake.set()
        await asyncio.sleep(2.5)
        assert {path: item["metadata"]["resourceVersion"] for path, item in server.objects.items()} == before
