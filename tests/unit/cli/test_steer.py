"""`ossa suspend`, `resume`, `cancel`, `retry` and `rerun` as they are typed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.unit.cli.terminal import COMPLETED, FAILED, OSSA, RUNNING, Cluster, Terminal, kubeconfig


@dataclass
class Steered(Cluster):
    """An API server that takes patches of executions."""

    patched: list[tuple[str, str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_patch(f"{OSSA}/namespaces/default/executions/{{name}}", self.patch)
        return app

    async def patch(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.json()
        self.patched.append((name, request.content_type, body))
        self.executions[name] = deepcopy(self.executions[name])
        self.executions[name]["spec"] |= body["spec"]
        return web.json_response(self.executions[name])


@pytest.fixture
async def cluster() -> Steered:
    return Steered()


@pytest.fixture
async def terminal(tmp_path: Path, cluster: Steered) -> AsyncIterator[Terminal]:
    typed = Terminal(tmp_path / "kubeconfig", cluster)
    await typed.start()
    (tmp_path / "kubeconfig").write_text(kubeconfig(str(typed.server.make_url("")).rstrip("/")))
    yield typed
    await typed.server.close()


def changed(item: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**deepcopy(item), "spec": {**item["spec"], **spec}}


async def test_suspend_resume_and_cancel_change_the_spec(terminal: Terminal, cluster: Steered) -> None:
    for command, change, told in [
        ("suspend", {"suspend": True}, "suspended"),
        ("suspend", None, "is suspended already"),
        ("resume", {"suspend": False}, "resumed"),
        ("resume", None, "is not suspended"),
        ("cancel", {"cancel": True}, "cancelled"),
        ("cancel", None, "is being cancelled already"),
    ]:
        cluster.patched.clear()
        ended = await terminal.ossa(command, "x1")
        assert (ended.code, ended.out) == (0, f"execution.ossa.dev/x1 {told}\n"), ended.err
        expected = [("x1", "application/merge-patch+json", {"spec": change})] if change is not None else []
        assert cluster.patched == expected


async def test_as_json_it_is_the_execution(terminal: Terminal) -> None:
    held = json.loads((await terminal.ossa("suspend", "x1", "-o", "json")).out)
    assert (held["kind"], held["spec"]["suspend"]) == ("Execution", True)


async def test_what_cannot_be_steered_ends_with_4_and_says_what_to_do(terminal: Terminal, cluster: Steered) -> None:
    child = deepcopy(RUNNING)
    child["metadata"]["ownerReferences"] = [{"kind": "Execution", "name": "top", "uid": "u0", "controller": True}]
    for command, item, words in [
        ("suspend", COMPLETED, "it has ended, and is Completed; run it once more with: ossa rerun x1"),
        ("cancel", FAILED, "it has ended, and is Failed; run what is left with: ossa retry x1"),
        ("resume", changed(RUNNING, cancel=True, suspend=True), "it is being cancelled"),
        ("suspend", child, "it is a part of Execution 'top' and follows that one: ossa suspend top"),
    ]:
        cluster.executions["x1"] = item
        ended = await terminal.ossa(command, "x1")
        assert (ended.code, words in ended.err) == (4, True), ended
    cluster.executions["x1"] = child
    assert (await terminal.ossa("cancel", "x1")).code == 0
    assert [name for name, _, _ in cluster.patched] == ["x1"]
    ended = await terminal.ossa("suspend", "nothing")
    assert (ended.code, "Execution 'nothing' was not found" in ended.err) == (4, True)


async def test_retry_makes_one_that_resumes_it(terminal: Terminal, cluster: Steered) -> None:
    failed = changed(FAILED, inputs={"n": "1"}, priority=7)
    failed["status"]["revision"] = "w-1"
    cluster.executions["x1"] = failed
    ended = await terminal.ossa("retry", "x1", "--name", "x2")
    assert (ended.code, ended.out) == (0, "execution.ossa.dev/x2 created\n"), ended.err
    assert cluster.posted[0]["metadata"] == {"name": "x2"}
    assert cluster.posted[0]["spec"] == {"workflow": "w", "retryOf": "x1", "priority": 7}
    ended = await terminal.ossa("retry", "x1", "-o", "json")
    assert json.loads(ended.out)["spec"]["retryOf"] == "x1"
    assert cluster.posted[1]["metadata"] == {"generateName": "w-"}


async def test_retry_and_rerun_may_be_watched(terminal: Terminal, cluster: Steered) -> None:
    cluster.executions["x1"] = COMPLETED
    ended = await terminal.ossa("rerun", "x1", "--watch", "--timeout", "30s")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("execution.ossa.dev/x1 created\n")
    assert "Completed in 3s" in ended.out


async def test_what_cannot_be_retried_ends_with_4_and_says_what_to_do(terminal: Terminal, cluster: Steered) -> None:
    for item, words in [
        (RUNNING, "is Running: what has failed can be retried. Watch it: ossa watch x1"),
        (COMPLETED, "is Completed: nothing is left to run. Run it once more: ossa rerun x1"),
        (FAILED, "never started: nothing can be taken over. Run it anew: ossa rerun x1"),
    ]:
        cluster.executions["x1"] = item
        ended = await terminal.ossa("retry", "x1")
        assert (ended.code, words in ended.err) == (4, True), ended
    assert cluster.posted == []


async def test_rerun_asks_for_the_same_once_more(terminal: Terminal, cluster: Steered) -> None:
    cluster.executions["x1"] = changed(FAILED, inputs={"n": "1"}, suspend=True, ttlSecondsAfterFinished=60)
    assert (await terminal.ossa("rerun", "x1")).code == 0
    assert cluster.posted[0]["spec"] == {"workflow": "w", "inputs": {"n": "1"}, "ttlSecondsAfterFinished": 60}
    # One that resumed another was asked for without inputs: it took them over.
    resumed = changed(COMPLETED, retryOf="x0")
    resumed["status"]["inputs"] = {"n": "2"}
    cluster.executions["x1"] = resumed
    assert (await terminal.ossa("rerun", "x1")).code == 0
    assert cluster.posted[1]["spec"] == {"workflow": "w", "inputs": {"n": "2"}}
