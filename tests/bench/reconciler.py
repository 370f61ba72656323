"""The reconciler of the checkout as a child process, in place of the one in the cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench import measure
from tests.bench.processes import REPO, ChildEnded, child, cpu_seconds, memory_mb, needed
from tests.ports import free_port

FOLDER = REPO / ".dev" / "bench"
START_SECONDS = 60.0
PROFILE_RATE = 100  # samples a second


class ReconcilerError(Exception):
    """It does not run; says where its log is."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """A reconciler that runs."""

    pid: int
    started: float  # monotonic
    metrics_url: str
    _session: aiohttp.ClientSession

    async def metrics(self) -> str:
        """What its /metrics says."""
        async with self._session.get(self.metrics_url) as answer:
            return await answer.text()

    async def requests(self) -> dict[str, float]:
        """Requests to the API server until now, by verb."""
        return measure.total(await self.metrics(), "ossa_api_requests_total", ["verb"])

    async def executions(self) -> float:
        """Those that it has looked at."""
        return sum(measure.total(await self.metrics(), "ossa_executions", []).values())

    async def waiting(self) -> float:
        """Keys that wait to be reconciled, of all kinds."""
        return sum(measure.total(await self.metrics(), "ossa_queue_depth", []).values())

    def cpu(self) -> float:
        """CPU seconds until now."""
        return cpu_seconds(self.pid)

    def peak_mb(self) -> float:
        """Peak of its resident memory."""
        return memory_mb(self.pid)


@asynccontextmanager
async def reconciler(environment: Mapping[str, str], *, keep_pods: float) -> AsyncIterator[Reconciler]:
    """Runs while the block does. `keep_pods`: seconds that pods stay after the end of their execution.

    Raises:
        ReconcilerError: it ended, or gave no metrics in time.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "reconciler.log"
    metrics_port, liveness_port = free_port(), free_port()
    env = {
        **environment,
        "OSSA_KEEP_COMPLETED_PODS": str(keep_pods),
        "OSSA_METRICS_PORT": str(metrics_port),
        "OSSA_LIVENESS": f"http://127.0.0.1:{liveness_port}/healthz",
    }
    started = time.monotonic()
    with log.open("wb") as stderr:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            child([str(REPO / "operator" / "reconciler.py")], env=env, stderr=stderr) as process,
        ):
            held = Reconciler(process.pid, started, f"http://127.0.0.1:{metrics_port}/metrics", session)
            await _answers(held, process, log)
            try:
                async with needed(process):
                    yield held
            except ChildEnded as error:
                raise ReconcilerError(f"the reconciler {error}; its log: {log}") from error


async def _answers(held: Reconciler, process: asyncio.subprocess.Process, log: Path) -> None:
    while True:
        try:
            await held.metrics()
        except aiohttp.ClientError as error:
            if process.returncode is not None or time.monotonic() - held.started > START_SECONDS:
                tail = _tail(log)
                raise ReconcilerError(f"the reconciler does not start; its log: {log}\n{tail}") from error
            await asyncio.sleep(0.1)
        else:
            return


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])


@asynccontextmanager
async def profiled(pid: int, file: Path | None) -> AsyncIterator[None]:
    """Samples the process by py-spy while the block runs, into a file of folded stacks; nothing without a file."""
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    rate = str(PROFILE_RATE)
    options = ["--pid", str(pid), "--rate", rate, "--format", "raw", "--output", str(file)]
    try:
        process = await asyncio.create_subprocess_exec(
            "py-spy", "record", *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise ReconcilerError("--profile needs py-spy on the PATH: .venv/bin/pip install py-spy") from error
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # it writes its file
        await process.wait()


@contextmanager
def environment() -> Iterator[tuple[dict[str, str], str]]:
    """The settings of the Deployment, put right for here as `make dev` does, and a token of its account."""
    from hack import dev  # noqa: PLC0415 - kubectl is asked only where a cluster is wanted

    dev.DEV.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            settings = {**stack.enter_context(dev.environment()), "PATH": os.environ["PATH"]}
        except SystemExit as error:
            raise ReconcilerError(f"{error} (is the cluster of `make up` there?)") from error
        user = json.loads(Path(settings["KUBECONFIG"]).read_text())["users"][0]["user"]
        yield settings, str(user["token"])
