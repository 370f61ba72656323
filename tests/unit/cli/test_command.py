"""The command as it is typed, in a process of its own, against an API server of ours on the loopback device."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from tests.unit.cli.terminal import (
    COMPLETED,
    FAILED,
    RUNNING,
    RUNNING_STILL,
    Cluster,
    Terminal,
    kubeconfig,
)


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


def all_of(screen: int) -> bytes:
    """What was written on a pseudo-terminal that nobody writes on any more: it gives some kilobytes at a time."""
    shown = b""
    with open(screen, "rb", buffering=0) as held, contextlib.suppress(OSError):  # EIO: that was all
        while chunk := held.read(1 << 16):
            shown += chunk
    return shown


async def test_watch_on_a_terminal_is_a_table(terminal: Terminal) -> None:
    terminal.cluster.watches = [[("MODIFIED", COMPLETED)]]
    screen, keyboard = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "ossa.cli", "watch", "x1"), env={**terminal.env, "COLUMNS": "100"}, stdout=keyboard
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), 60) == 0
    os.close(keyboard)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", all_of(screen).decode())
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
