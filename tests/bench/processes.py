"""Child processes, and what /proc tells of these and of the control plane's."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

REPO = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 15.0

# What a command line of a process holds -> its name in the figures. The first that fits counts.
KNOWN = (
    ("tests.bench.node", "fake_node"),
    ("tests.bench.observer", "observer"),
    ("tests.bench", "load"),
    ("operator/reconciler.py", "reconciler"),
    ("operator/admission.py", "admission"),
    ("kube-apiserver", "apiserver"),
    ("kube-controller-manager", "controller_manager"),
    ("kube-scheduler", "scheduler"),
    ("etcd ", "etcd"),
)


@asynccontextmanager
async def child(
    arguments: Sequence[str], *, env: Mapping[str, str], stderr: IO[bytes] | None = None, cwd: Path = REPO
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that does not outlive us; ended at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(REPO / "hack" / "tied.py"), str(os.getpid()), sys.executable, *arguments),
        env={**env, "PYTHONPATH": str(REPO)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        cwd=cwd,
        start_new_session=True,  # an interrupt of the terminal reaches us alone, and we end the children in order
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class ChildEnded(Exception):
    """A process that others rely on has ended by itself."""


@asynccontextmanager
async def needed(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Breaks the block off when the process ends: however long somebody waited, nothing would happen any more.

    Raises:
        ChildEnded: it did.
    """
    block, over = asyncio.current_task(), False
    assert block is not None

    def break_off(_: asyncio.Task[int]) -> None:
        if not over:
            block.cancel()

    ended = asyncio.create_task(process.wait())
    ended.add_done_callback(break_off)
    try:
        yield
    except asyncio.CancelledError:
        if process.returncode is None:
            raise
        block.uncancel()
        raise ChildEnded(f"ended with exit code {process.returncode}") from None
    finally:
        over = True
        ended.cancel()


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """User and system time that a process has used."""
    # The second field is the command in brackets, which may hold anything.
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid: int, field: str = "VmHWM", proc: Path = PROC) -> float:
    """Resident memory in MB: VmHWM its peak, VmRSS now."""
    for line in (proc / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/status has no {field}")


def name_of(command: str) -> str | None:
    """What a process is called in the figures; None for one that is none of ours."""
    return next((name for part, name in KNOWN if part in command), None)


def cpu_by_name(proc: Path = PROC) -> dict[str, float]:
    """CPU seconds until now of the processes that we know, and of the whole machine as `machine`."""
    found: dict[str, float] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it has ended meanwhile
            name = name_of((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            if name is not None:
                found[name] = found.get(name, 0.0) + cpu_seconds(int(entry.name), proc)
    found["machine"] = busy_seconds((proc / "stat").read_text())
    return found


def busy_seconds(stat: str) -> float:
    """CPU seconds that the machine has been busy, of the text of /proc/stat."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(part) for part in stat.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK
