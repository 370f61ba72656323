"""Running the SDK as the pod would: a process of its own, with the contract in its environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossa.api.artifact import ArtifactRef
from ossa.api.base import JSONObject
from ossa.api.contract import TaskIdentity
from tests.unit.store.running import EXECUTION_UID, NAMESPACE, Running

ROOT = Path(__file__).parents[3]
IDENTITY = TaskIdentity(
    namespace=NAMESPACE, execution="run-1", uid=EXECUTION_UID, workflow="pipeline", task="score", attempt=2
)


@dataclass(frozen=True)
class Ended:
    """How the process ended, and what it left."""

    code: int
    output: str
    stdout: str
    stderr: str

    @property
    def fields(self) -> dict[str, Any]:
        """The output as JSON."""
        assert self.code == 0, self.stderr
        fields: dict[str, Any] = json.loads(self.output)
        return fields

    def ref(self, name: str) -> ArtifactRef:
        """A field of the output that is a reference."""
        return ArtifactRef.model_validate(self.fields[name])

    @property
    def last_line(self) -> str:
        return self.stderr.strip().splitlines()[-1]


class Pod:
    """A folder that looks like a task's container; `served` is the artifact service it may use."""

    def __init__(self, folder: Path, *, code: str, served: Running | None = None, token: str = "") -> None:
        self.folder = folder
        (folder / "agents" / "scorer").mkdir(parents=True, exist_ok=True)
        (folder / "agents" / "scorer" / "handler.py").write_text(textwrap.dedent(code))
        (folder / "token").write_text(token)
        (folder / "output").write_text("left over from before")
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "OSSA_INPUT": str(folder / "input.json"),
            "OSSA_OUTPUT": str(folder / "output"),
            "OSSA_TASK": IDENTITY.model_dump_json(),
            "OSSA_HANDLER": "scorer:run",
            "OSSA_CAPABILITY": str(folder / "capability.json"),
            "OSSA_AGENTS_PATH": str(folder / "agents"),
            "OSSA_ARTIFACTS_URL": served.url if served else "http://127.0.0.1:9",
            "OSSA_ARTIFACTS_TOKEN": str(folder / "token"),
        }

    async def start(
        self, task_input: object = None, *, schemas: JSONObject | None = None, **environ: str | None
    ) -> asyncio.subprocess.Process:
        """Start the process; `environ` changes variables, None removes one."""
        (self.folder / "input.json").write_text(json.dumps({} if task_input is None else task_input))
        (self.folder / "capability.json").write_text(json.dumps(schemas or {}))
        merged = {name: value for name, value in {**self.environ, **environ}.items() if value is not None}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ossa.worker"),
            cwd=self.folder,
            env=merged,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, process: asyncio.subprocess.Process) -> Ended:
        """Wait for the end."""
        stdout, stderr = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        output = (self.folder / "output").read_text()
        return Ended(process.returncode, output, stdout.decode(), stderr.decode())

    async def run(
        self, task_input: object = None, *, schemas: JSONObject | None = None, **environ: str | None
    ) -> Ended:
        """Start and wait."""
        return await self.end(await self.start(task_input, schemas=schemas, **environ))
