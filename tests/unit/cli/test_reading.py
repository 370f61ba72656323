"""What `ossa policy explain NAME` and `ossa compliance report` read, against an API server of ours."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ossa.api.trail import TrailStatus
from ossa.cli.outcome import Exit
from ossa.engine.clock import to_text
from ossa.monitor.trailstatus import manifest

REPO = Path(__file__).resolve().parents[3]
OSSA = "/apis/ossa.dev/v1alpha1"
POLICY = {
    "metadata": {"name": "owners", "uid": "u", "generation": 2},
    "spec": {
        "match": {"kinds": ["Agent"], "namespaceSelector": {"matchLabels": {"tier": "prod"}}},
        "controls": [{"framework": "eu-ai-act", "id": "26"}],
        "params": {"namespace": "governance", "name": "owners"},
        "rules": [{"name": "owner", "expression": "object.spec.owner in params.owners.split(',')", "message": "who?"}],
    },
    "status": {
        "ready": "True",
        "conditions": [{"type": "Native", "status": "False", "reason": "NotNative", "message": "it reads params"}],
    },
}


def agent(name: str, owner: str, namespace: str = "team") -> dict[str, Any]:
    spec = {"owner": owner, "capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


@dataclass
class Cluster:
    """Answers by path; what is not there is 404, what is `forbidden` 403."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    unknown: bool = False  # who asks

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path
        if self.unknown:
            return self._refused(401, "Unauthorized", "Unauthorized")
        if path in self.forbidden:
            return self._refused(403, "Forbidden", f"{path} is forbidden")
        if path in self.objects:
            return web.json_response(self.objects[path])
        if path not in self.lists:
            return self._refused(404, "NotFound", f"{path} was not found")
        # Pages of one, so that every list has several.
        start = int(request.query.get("continue", "0"))
        items = self.lists[path]
        metadata = {"continue": str(start + 1)} if start + 1 < len(items) else {}
        return web.json_response({"metadata": metadata, "items": items[start : start + 1]})

    @staticmethod
    def _refused(status: int, reason: str, message: str) -> web.Response:
        return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=status)


@dataclass
class Terminal:
    cluster: Cluster
    kubeconfig: Path

    async def ossa(self, *arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ossa.cli", *arguments),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "KUBECONFIG": str(self.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert "Traceback" not in out.decode(), out.decode()
        return process.returncode, out.decode()


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    cluster = Cluster(
        lists={
            f"{OSSA}/agentpolicies": [POLICY],
            f"{OSSA}/agents": [agent("good", "ml-team"), agent("bad", "nobody"), agent("else", "nobody", "other")],
            f"{OSSA}/workflows": [],
            f"{OSSA}/executions": [],
            f"{OSSA}/approvals": [],
            f"{OSSA}/agentpolicyexceptions": [],
            "/api/v1/namespaces": [
                {"metadata": {"name": "other"}},
                {"metadata": {"name": "team", "labels": {"tier": "prod"}}},
            ],
        },
        objects={
            "/api/v1/namespaces/governance/configmaps/owners": {
                "metadata": {"name": "owners", "namespace": "governance"},
                "data": {"owners": "data-team,ml-team"},
            }
        },
    )
    app = web.Application()
    app.router.add_get("/{path:.*}", cluster.answer)
    server = TestServer(app)
    await server.start_server()
    address = str(server.make_url("")).rstrip("/")
    config = {
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    yield Terminal(cluster, tmp_path / "kubeconfig")
    await server.close()


async def test_explain_says_what_a_policy_of_the_cluster_would_hit(terminal: Terminal) -> None:
    code, out = await terminal.ossa("policy", "explain", "owners")
    assert code == Exit.OK
    assert "native       False: it reads params" in out
    assert "It is about 2 of the objects that are there; 1 do not keep to it:" in out
    assert "Agent team/bad   fail      who?" in out
    assert "other/else" not in out


async def test_explain_of_one_that_is_not_there_names_those_that_are(terminal: Terminal) -> None:
    code, out = await terminal.ossa("policy", "explain", "owner")
    assert (code, out) == (Exit.CLUSTER, "ossa: There is no AgentPolicy 'owner'. There are: owners\n")


async def test_the_report_is_made_with_the_users_own_rights(terminal: Terminal) -> None:
    terminal.cluster.forbidden = {f"{OSSA}/agents", f"{OSSA}/approvals", f"{OSSA}/namespaces/team/approvals"}
    terminal.cluster.lists[f"{OSSA}/namespaces/team/agents"] = [agent("good", "ml-team")]
    code, out = await terminal.ossa("compliance", "report", "--framework", "eu-ai-act", "-o", "json")
    assert code == Exit.OK
    (framework,) = json.loads(out)["frameworks"]
    assert framework["origin"] == "from the cluster"
    assert framework["notes"] == [
        "agents: only those of namespace team may be listed",
        f"approvals: not looked at: {OSSA}/namespaces/team/approvals is forbidden",
    ]
    (control,) = [held for held in framework["controls"] if held["id"] == "26"]
    assert control["status"] == "evidence-present"
    assert control["evidence"][0]["text"] == "Enforce: 1 of 1 objects keep to it; not all could be looked at"


async def test_one_namespace_alone(terminal: Terminal) -> None:
    for plural in ("agents", "workflows", "executions", "approvals", "agentpolicyexceptions"):
        terminal.cluster.lists[f"{OSSA}/namespaces/team/{plural}"] = []
    terminal.cluster.objects["/api/v1/namespaces/team"] = {"metadata": {"name": "team", "labels": {"tier": "prod"}}}
    terminal.cluster.lists[f"{OSSA}/namespaces/team/agents"] = [agent("good", "ml-team")]
    code, out = await terminal.ossa("compliance", "report", "-n", "team", "--framework", "eu-ai-act", "-o", "json")
    (framework,) = json.loads(out)["frameworks"]
    assert (code, framework["origin"], framework["notes"]) == (Exit.OK, "from namespace team of the cluster", [])
    assert next(held["status"] for held in framework["controls"] if held["id"] == "26") == "enforced"


async def test_a_cluster_without_our_kinds_gives_a_report_without_evidence(terminal: Terminal) -> None:
    terminal.cluster.lists = {"/api/v1/namespaces": []}
    code, out = await terminal.ossa("compliance", "report", "--summary", "--framework", "eu-ai-act")
    assert code == Exit.OK
    assert "0 enforced, 0 evidence-present, 0 not-met, 13 unavailable, 10 organisational" in out
    assert "note: agentpolicies: there are none in this cluster" in out


async def test_who_is_not_known_gets_no_report(terminal: Terminal) -> None:
    terminal.cluster.unknown = True
    code, out = await terminal.ossa("compliance", "report")
    assert code == Exit.CLUSTER
    assert "Log in again, or choose another --context" in out


TRAIL = "/api/v1/namespaces/ossa-system/configmaps/ossa-audit"


def told(**more: Any) -> dict[str, Any]:
    status = TrailStatus(
        verified_at=to_text(datetime.now(UTC)), chains=2, links=7, faults=0, kept_days=183, archived=True
    )
    return manifest("ossa-system", status.model_copy(update=more))


@pytest.mark.parametrize(
    ("item", "status", "text", "notes"),
    [
        (told(), "evidence-present", "7 links in 2 chains, verified ", 0),
        (told(faults=1, finding="records: missing"), "not-met", "1 findings, the first: records: missing", 0),
        (None, "unavailable", "nothing tells of an audit trail", 0),
        ({**told(), "data": {"status": "{"}}, "unavailable", "is not what the monitor would write", 1),
        ({**told(), "data": None}, "unavailable", "is not what the monitor would write", 1),
        ({**told(), "data": {"status": '{"links": -1}'}}, "unavailable", "is not what the monitor would write", 1),
    ],
)
async def test_what_the_monitor_tells_of_the_audit_trail(
    terminal: Terminal, item: dict[str, Any] | None, status: str, text: str, notes: int
) -> None:
    if item is not None:
        terminal.cluster.objects[TRAIL] = item
    control, said = await recorded_events(terminal)
    assert control["status"] == status
    assert text in control["evidence"][0]["text"]
    assert sum("ossa-audit" in note for note in said) == notes


async def test_an_audit_trail_that_is_not_for_the_user_to_see(terminal: Terminal) -> None:
    terminal.cluster.objects[TRAIL] = told()
    terminal.cluster.forbidden = {TRAIL}
    control, notes = await recorded_events(terminal)
    assert control["status"] == "unavailable"
    assert control["evidence"][0]["text"] == "what the monitor tells of the audit trail is not for you to see"
    assert notes[-1] == f"the audit trail (ConfigMap ossa-system/ossa-audit): not looked at: {TRAIL} is forbidden"


async def recorded_events(terminal: Terminal) -> tuple[dict[str, Any], list[str]]:
    """The control about them, and the notes."""
    code, out = await terminal.ossa("compliance", "report", "--framework", "eu-ai-act", "-o", "json")
    assert code == Exit.OK
    (framework,) = json.loads(out)["frameworks"]
    return next(held for held in framework["controls"] if held["id"] == "12"), framework["notes"]
