"""`ossa download`: what is among the outputs, and nothing where something is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.terminal import (
    COMPLETED,
    PLOT,
    REFERENCE,
    RUNNING,
    Cluster,
    Terminal,
)


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
