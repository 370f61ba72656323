"""The commands as a user starts them: kubectl, and our own `ossa`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

UNREACHED = "Internal error"  # what `kubectl exec` says where the way to the kubelet breaks for a moment


@dataclass(frozen=True, slots=True)
class Output:
    """How a command ended."""

    command: str
    code: int
    out: str
    err: str

    def ok(self) -> str:
        """What it printed. Raises AssertionError where it failed."""
        assert self.code == 0, f"{self.command} ended with {self.code}:\n{self.out}\n{self.err}"
        return self.out

    def json(self) -> Any:
        """What it printed, as one JSON value."""
        return json.loads(self.ok())

    def lines(self) -> list[Any]:
        """What it printed, as a JSON value a line."""
        return [json.loads(line) for line in self.ok().splitlines()]

    def refused(self) -> str:
        """What it said when it was refused. Raises AssertionError where it was not."""
        assert self.code != 0, f"{self.command} was not refused:\n{self.out}"
        return self.err


async def run(*command: str, stdin: str | None = None, timeout: float = 300.0) -> Output:  # noqa: ASYNC109
    """Starts a command and waits for its end; after `timeout` seconds it is killed and TimeoutError raised."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode() if stdin is not None else None), timeout)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    return Output(" ".join(command), process.returncode or 0, out.decode(), err.decode())


async def kubectl(*arguments: str, objects: list[dict[str, Any]] | None = None) -> Output:
    """`kubectl ARGUMENTS`, with `objects` on its standard input where they are given."""
    # As JSON: kubectl's YAML is an old one, in which a bare n is false.
    held = {"apiVersion": "v1", "kind": "List", "items": objects}
    return await run("kubectl", *arguments, stdin=json.dumps(held) if objects is not None else None)


async def ossa(*arguments: str) -> Output:
    """`ossa ARGUMENTS`, from the checkout."""
    return await run(sys.executable, "-m", "ossa.cli", *arguments)
