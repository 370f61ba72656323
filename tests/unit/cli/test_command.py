"""The command as it is typed, in a process of its own, against an API server of ours on the loopback device."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pty
import re
import sys
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

REPO = Path(__file__).resolve().parents[3]
OSSA = "/apis/ossa.dev/v1alpha1"
PLOT = b"\x89PNG and so on"
REFERENCE = {
    "$artifact": "abc",
    "size": len(PLOT),
    "sha256": hashlib.sha256(PLOT).hexdigest(),
    "mediaType": "image/png",
}


def execution(version: int, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": "x1", "namespace": "default", "uid": "u1", "resourceVersion": str(version)},
        "spec": {"workflow": "w"},
        "status": status,
    }


RUNNING = execution(1, phase="Running", progress="0/1", tasks={"t": {"phase": "Running", "attempt": 1, "pod": "p"}})
RUNNING_STILL = {**RUNNING, "metadata": {**RUNNING["metadata"], "resourceVersion": "7"}}
COMPLETED = execution(
    2,
    phase="Completed",
    progress="1/1",
    duration="3s",
    outputs={"report": {"plot": REFERENCE}},
    tasks={"t": {"phase": "Completed", "attempt": 1, "pod": "p"}},
)
FAILED = execution(
    2,
    phase="Failed",
    progress="0/1",
    tasks={"t": {"phase": "Failed", "attempt": 1, "pod": "p", "reason": "Error", "message": "exit code 1"}},
    error={"task": "t", "attempt": 1, "reason": "Error", "exitCode": 1, "message": "see its log", "logTail": "boom"},
    conditions=[{"type": "Finished", "status": "True", "reason": "Failed"}],
)
WORKFLOW = {
    "metadata": {"name": "w", "namespace": "default"},
    "spec": {"tasks": [{"name": "t"}], "inputs": {"properties": {"n": {"type": "string"}}}},
}
Event = tuple[str, dict[str, Any]]


@dataclass
class Cluster:
    """What the API server has, and what it was asked for."""

    executions: dict[str, dict[str, Any]] = field(default_factory=lambda: {"x1": deepcopy(RUNNING)})
    watches: list[list[Event]] = field(default_factory=list)  # one list of events for each watch; then none ends
    content: bytes = PLOT
    contents: dict[str, bytes] = field(default_factory=dict)  # of other artifacts, by ID
    posted: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    watched_from: list[str] = field(default_factory=list)
    watching: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(f"{OSSA}/namespaces/default/executions/{{name}}", self.get)
        app.router.add_get(f"{OSSA}/namespaces/default/executions", self.watch)
        app.router.add_post(f"{OSSA}/namespaces/default/executions", self.create)
        app.router.add_get(f"{OSSA}/executions", self.list)
        app.router.add_get(f"{OSSA}/namespaces/default/workflows/w", self.workflow)
        app.router.add_post("/api/v1/namespaces/default/serviceaccounts/report-reader/token", self.token)
        proxied = "/api/v1/namespaces/ossa-system/services/http:ossa-artifacts:8080/proxy"
        app.router.add_get(f"{proxied}/v1/namespaces/default/executions/u1/artifacts/{{id}}", self.artifact)
        return app

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.executions:
            said = {"kind": "Status", "reason": "NotFound", "message": f'executions.ossa.dev "{name}" not found'}
            return web.json_response(said, status=404)
        return web.json_response(self.executions[name])

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response({"items": list(self.executions.values())})

    async def workflow(self, _: web.Request) -> web.Response:
        return web.json_response(WORKFLOW)

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.posted.append(body)
        name = body["metadata"].get("name") or "x1"
        made = {**deepcopy(self.executions["x1"]), "spec": body["spec"]}
        made["metadata"]["name"] = name
        self.executions[name] = made
        return web.json_response(made, status=201)

    async def watch(self, request: web.Request) -> web.StreamResponse:
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        self.watching.set()
        if not self.watches:
            await asyncio.sleep(60)
        for kind, found in self.watches.pop(0):
            self.executions["x1"] = found if kind == "MODIFIED" else self.executions["x1"]
            await response.write(json.dumps({"type": kind, "object": found}).encode() + b"\n")
        return response

    async def token(self, request: web.Request) -> web.Response:
        self.posted.append(await request.json())
        return web.json_response({"status": {"token": "a-token"}}, status=201)

    async def artifact(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("X-Ossa-Token"))
        if self.content == b"refused":
            problem = {"title": "Forbidden", "detail": "report-reader may not read it"}
            return web.json_response(problem, status=403, content_type="application/problem+json")
        return web.Response(body=self.contents.get(request.match_info["id"], self.content), content_type="image/png")


@dataclass(frozen=True, slots=True)
class Ended:
    code: int | None
    out: str
    err: str


class Terminal:
    """Types commands, and has the API server that they speak to."""

    server: TestServer

    def __init__(self, kubeconfig: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "KUBECONFIG": str(kubeconfig)}

    async def start(self, port: int = 0) -> None:
        self.server = TestServer(self.cluster.app(), port=port)
        await self.server.start_server(shutdown_timeout=0.1)

    async def restart(self, *, away: float) -> None:
        """The API server dies, and comes back after so many seconds."""
        port = self.server.port
        await self.server.close()
        await asyncio.sleep(away)
        await self.start(int(port or 0))

    async def ossa(self, *arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ossa.cli", *arguments),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert "Traceback" not in err.decode(), err.decode()
        return Ended(process.returncode, out.decode(), err.decode())


def kubeconfig(server: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
            "current-context": "here",
        }
    )


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    cluster = Cluster()
    typed = Terminal(tmp_path / "kubeconfig", cluster)
    await typed.start()
    (tmp_path / "kubeconfig").write_text(kubeconfig(str(typed.server.make_url("")).rstrip("/")))
    yield typed
    await typed.server.close()


async def test_watch_tells_every_change_and_ends_with_0(terminal: Terminal) -> None:
    terminal.cluster.watches = [[], [("MODIFIED", COMPLETED)]]  # the first is closed by the server at once
    ended = await terminal.ossa("watch", "x1")
    assert ended.code == 0, ended.err
    lines = [line[10:] for line in ended.out.splitlines()[:4]]
    assert lines == [
        "t                    Running    p",
        "execution            Running    0/1",
        "t                    Completed  p",
        "execution            Completed  1/1",
    ]
    assert "Completed in 3s" in ended.out
    assert "<image/png, 14 bytes>" in ended.out


async def test_watch_of_a_failure_ends_with_1_and_says_why(terminal: Terminal) -> None:
    terminal.cluster.watches = [[("MODIFIED", FAILED)]]
    ended = await terminal.ossa("watch", "x1", "-o", "json")
    assert ended.code == 1, ended.err
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert told[-2:] == [
        {"task": "t", "phase": "Failed", "attempt": 1, "pod": "p", "message": "Error: exit code 1"},
        {"phase": "Failed", "progress": "0/1"},
    ]
    shown = await terminal.ossa("watch", "x1")
    assert "Failed (task t, attempt 1, Error, exit code 1): see its log" in shown.out
    assert "  boom" in shown.out


async def test_watch_on_a_terminal_is_a_table(terminal: Terminal) -> None:
    terminal.cluster.watches = [[("MODIFIED", COMPLETED)]]
    screen, keyboard = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "ossa.cli", "watch", "x1"), env={**terminal.env, "COLUMNS": "100"}, stdout=keyboard
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), 60) == 0
    os.close(keyboard)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(screen, 1 << 16).decode())
    os.close(screen)
    assert "default/x1  w  Completed  1/1  3s" in shown
    assert re.search(r"TASK +PHASE +ATTEMPT +DURATION +POD +MESSAGE", shown)
    assert re.search(r"t +Completed +1 +- +p", shown)
    assert "Completed in 3s" in shown


async def test_watch_starts_again_where_its_place_is_gone(terminal: Terminal) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    terminal.cluster.watches = [[("MODIFIED", RUNNING_STILL), ("ERROR", gone)], [("MODIFIED", COMPLETED)]]
    assert (await terminal.ossa("watch", "x1")).code == 0
    assert terminal.cluster.watched_from == ["1", "7"]


async def test_watch_outlives_the_api_server(terminal: Terminal) -> None:
    watching = asyncio.create_task(terminal.ossa("watch", "x1", "--timeout", "30s"))
    await asyncio.wait_for(terminal.cluster.watching.wait(), 30)
    await terminal.restart(away=1.5)
    # Its history starts anew: nobody can go on from where they were.
    terminal.cluster.executions["x1"] = COMPLETED
    ended = await watching
    assert ended.code == 0, ended.err
    assert "Completed in 3s" in ended.out


async def test_watch_ends_with_3_when_time_is_over(terminal: Terminal) -> None:
    ended = await terminal.ossa("watch", "x1", "--timeout", "0.5s")
    assert ended.code == 3
    assert "has not ended within 0.5 s; it goes on" in ended.err


async def test_watch_of_what_is_deleted_ends_with_1(terminal: Terminal) -> None:
    terminal.cluster.watches = [[("DELETED", RUNNING)]]
    ended = await terminal.ossa("watch", "x1")
    assert ended.code == 1
    assert "was deleted before it ended" in ended.err


async def test_what_is_not_there_ends_with_4_and_says_what_is(terminal: Terminal) -> None:
    for command in ("watch", "tasks", "download"):
        ended = await terminal.ossa(command, "nothing")
        assert ended.code == 4
        assert ended.err == "ossa: Execution 'nothing' was not found in namespace 'default'. It has: x1\n"


async def test_no_cluster_ends_with_4_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:1"))
    for file in ("kubeconfig", "missing"):
        ended = await Terminal(tmp_path / file, Cluster()).ossa("tasks", "x1")
        assert ended.code == 4
        assert "make " in ended.err


async def test_tasks_as_table_and_json(terminal: Terminal) -> None:
    table = await terminal.ossa("tasks", "x1")
    assert table.out.splitlines()[1].split() == ["t", "Running", "1", "-", "p", "-"]
    parsed = json.loads((await terminal.ossa("tasks", "x1", "-o", "json")).out)
    assert (parsed["phase"], parsed["tasks"][0]["task"]) == ("Running", "t")


async def test_run_creates_and_watches(terminal: Terminal) -> None:
    terminal.cluster.executions["x1"] = COMPLETED
    ended = await terminal.ossa("run", "w", "--input", "n=12", "--input", "k=12", "--watch")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("execution.ossa.dev/x1 created\n")
    assert terminal.cluster.posted[0]["spec"] == {"workflow": "w", "inputs": {"n": "12", "k": 12}}
    assert terminal.cluster.posted[0]["metadata"] == {"generateName": "w-"}


async def test_run_takes_the_workflow_of_a_file(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    head = "apiVersion: ossa.dev/v1alpha1\nkind: Workflow\nmetadata: {name: flow}\n"
    file.write_text(head + "spec: {published: false, triggers: [], version: 2.0.0, tasks: [{name: t, agent: a}]}\n")
    ended = await terminal.ossa("run", "--file", str(file), "--input", "n=12")
    assert ended.code == 0, ended.err
    runs = {"version": "2.0.0", "tasks": [{"name": "t", "agent": "a"}]}
    assert terminal.cluster.posted[0]["spec"] == {"workflowSpec": runs, "inputs": {"n": 12}}
    assert terminal.cluster.posted[0]["metadata"] == {"generateName": "flow-"}
    again = await terminal.ossa("rerun", "x1")
    assert again.code == 0, again.err
    made = terminal.cluster.posted[1]
    assert made["spec"]["workflowSpec"]["tasks"][0]["agent"] == "a"
    assert (made["spec"].get("workflow"), made["metadata"]) == (None, {"generateName": "x1-"})
    assert (await terminal.ossa("tasks", "x1")).out.splitlines()[1].startswith("t ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "give the name of a Workflow, or --file with one in it"),
        (["run", "w", "--file", "{file}"], "give the name of a Workflow, or --file with one in it"),
        (["run", "--file", "{file}"], "holds 0 Workflows; name a file with one, which has a spec"),
    ],
)
async def test_run_wants_one_workflow(terminal: Terminal, tmp_path: Path, arguments: list[str], said: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("apiVersion: ossa.dev/v1alpha1\nkind: Agent\nmetadata: {name: a}\nspec: {}\n")
    ended = await terminal.ossa(*(argument.format(file=file) for argument in arguments))
    assert (ended.code, terminal.cluster.posted) == (2, [])
    assert said in ended.err


async def test_download_writes_the_artifacts(terminal: Terminal, tmp_path: Path) -> None:
    terminal.cluster.executions["x1"] = COMPLETED
    ended = await terminal.ossa("download", "x1", "--to", str(tmp_path / "to"))
    assert ended.code == 0, ended.err
    assert ended.out == f"{tmp_path}/to/report.png\n"
    assert (tmp_path / "to" / "report.png").read_bytes() == PLOT
    assert terminal.cluster.posted[0]["spec"]["audiences"] == ["ossa-artifacts"]
    assert terminal.cluster.tokens == ["a-token"]


async def test_download_of_what_a_large_output_refers_to(terminal: Terminal, tmp_path: Path) -> None:
    content = json.dumps([{"plot": REFERENCE}, {"n": 1}]).encode()
    large = {
        "$artifact": "large",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "mediaType": "application/vnd.ossa.value+json",
    }
    terminal.cluster.executions["x1"] = {**COMPLETED, "status": {**COMPLETED["status"], "outputs": {"all": large}}}
    terminal.cluster.contents["large"] = content
    ended = await terminal.ossa("download", "x1", "--to", str(tmp_path))
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [f"{tmp_path}/all.json", f"{tmp_path}/all.png"]
    assert (tmp_path / "all.json").read_bytes() == content
    assert (tmp_path / "all.png").read_bytes() == PLOT


async def test_download_of_the_output_of_a_task(terminal: Terminal, tmp_path: Path) -> None:
    """Where the outputs are many, the status says only where they lie."""
    content = json.dumps({"each": {"0": {"n": 0}, "2": {"n": 2}}}).encode()
    part = {"id": "abc", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    each = {"phase": "Completed", "items": {"total": 3, "started": 3, "completed": 2, "outputs": []}}
    status = {"phase": "Running", "tasks": {"each": each, "next": {"phase": "Running"}}, "archive": {"outputs": [part]}}
    terminal.cluster.executions["x1"] = {**COMPLETED, "status": status}
    terminal.cluster.content = content
    ended = await terminal.ossa("download", "x1", "--task", "each", "--to", str(tmp_path), "-o", "json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == [{"path": f"{tmp_path}/each.json", "task": "each"}]
    assert json.loads((tmp_path / "each.json").read_text()) == [{"n": 0}, None, {"n": 2}]
    for task, words in (("next", "has no output: it is Running"), ("nix", "There is no task 'nix'")):
        ended = await terminal.ossa("download", "x1", "--task", task)
        assert ended.code == 4
        assert words in ended.err


def damaged(cluster: Cluster) -> None:
    cluster.content = b"something else"


def refused(cluster: Cluster) -> None:
    cluster.content = b"refused"


def running(cluster: Cluster) -> None:
    cluster.executions["x1"] = RUNNING


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            damaged,
            "outputs.report.plot: the size or digest of what the artifact service gave is not that of the reference",
        ),
        (refused, "report-reader may not read it. Service account 'report-reader' needs the ClusterRole ossa-view"),
        (running, "has no outputs: it is Running"),
    ],
)
async def test_download_that_cannot_be_writes_nothing(
    terminal: Terminal, tmp_path: Path, change: Callable[[Cluster], None], words: str
) -> None:
    terminal.cluster.executions["x1"] = COMPLETED
    change(terminal.cluster)
    ended = await terminal.ossa("download", "x1", "--to", str(tmp_path / "to"))
    assert ended.code == 4
    assert words in ended.err
    assert not (tmp_path / "to").exists()


async def test_download_as_a_service_account_that_is_not_there(terminal: Terminal, tmp_path: Path) -> None:
    terminal.cluster.executions["x1"] = COMPLETED
    ended = await terminal.ossa("download", "x1", "--to", str(tmp_path), "--as-service-account", "nobody")
    assert ended.code == 4
    assert "Service account 'nobody' was not found in namespace 'default'. Make one" in ended.err
