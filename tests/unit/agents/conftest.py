"""Runs shipped agents as their pods do: `python -m ossa.worker`, the file contract, artifacts over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ossa.api.agent import Agent
from ossa.api.artifact import is_reference
from ossa.api.contract import API_VERSION, TaskIdentity

REPO = Path(__file__).resolve().parents[3]


@dataclass
class Artifacts:
    """What lies in the artifact service, by ID."""

    url: str = ""
    stored: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def open(self, value: Any) -> Any:
        """A value with its references replaced by what they refer to: JSON, else bytes."""
        if is_reference(value):
            content, media_type = self.stored[value["$artifact"]]
            return json.loads(content) if media_type == "application/json" else content
        if isinstance(value, dict):
            return {key: self.open(inner) for key, inner in value.items()}
        return value


@pytest.fixture(scope="session")
def artifacts() -> Iterator[Artifacts]:
    """An artifact service that stores in memory and trusts everybody."""
    store = Artifacts()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            content = self._body()
            identity = secrets.token_urlsafe(32)
            store.stored[identity] = (content, self.headers["Content-Type"])
            reference = {
                "$artifact": identity,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "mediaType": self.headers["Content-Type"],
            }
            self._answer(201, json.dumps(reference).encode(), "application/json")

        def do_GET(self) -> None:
            content, media_type = store.stored[self.path.rpartition("/")[2]]
            self._answer(200, content, media_type)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def _answer(self, status: int, content: bytes, media_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        store.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield store
        server.shutdown()
        thread.join()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a task ended."""

    exit_code: int
    message: str
    log: str

    @property
    def output(self) -> dict[str, Any]:
        assert self.exit_code == 0, self.log
        parsed = json.loads(self.message)
        assert isinstance(parsed, dict)
        return parsed


RunAgent = Callable[[str, dict[str, Any]], Ran]


def shipped_agents() -> dict[str, Agent]:
    """The shipped agents by name."""
    files = sorted((REPO / "agents").glob("*/agent.yaml"))
    agents = [Agent.model_validate(yaml.safe_load(file.read_text())) for file in files]
    return {agent.metadata.name: agent for agent in agents}


@pytest.fixture(scope="session")
def run_agent(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> RunAgent:
    """Runs an agent's first capability on an input, in a process of its own."""
    agents = shipped_agents()

    def run(name: str, given: dict[str, Any]) -> Ran:
        folder = tmp_path_factory.mktemp(name)
        agent = agents[name]
        assert agent.api_version == API_VERSION
        (folder / "input.json").write_text(json.dumps(given))
        (folder / "capability.json").write_text(json.dumps(agent.spec.capabilities[0].to_json()))
        (folder / "token").write_text("a-token")
        identity = TaskIdentity(namespace="default", execution="test", uid="0", workflow="test", task=name)
        done = subprocess.run(
            [sys.executable, "-m", "ossa.worker"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPO),
                "OSSA_INPUT": str(folder / "input.json"),
                "OSSA_OUTPUT": str(folder / "output"),
                "OSSA_CAPABILITY": str(folder / "capability.json"),
                "OSSA_TASK": identity.model_dump_json(),
                "OSSA_HANDLER": str(agent.spec.runtime.handler),
                "OSSA_AGENTS_PATH": str(REPO / "agents"),
                "OSSA_ARTIFACTS_URL": artifacts.url,
                "OSSA_ARTIFACTS_TOKEN": str(folder / "token"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Ran(done.returncode, (folder / "output").read_text(), done.stderr)

    return run
