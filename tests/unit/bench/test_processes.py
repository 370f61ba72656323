"""What is read from /proc, and that a child does not outlive its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.bench.processes import (
    REPO,
    TICK,
    ChildEnded,
    busy_seconds,
    child,
    cpu_by_name,
    cpu_seconds,
    memory_mb,
    name_of,
    needed,
)


def write(proc: Path, pid: int, command: str, ticks: tuple[int, int]) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(command.encode().replace(b" ", b"\0"))
    # A command may hold brackets and blanks.
    (folder / "stat").write_text(f"{pid} (a) b (c) S 1 1 1 0 -1 4194304 9 9 9 9 {ticks[0]} {ticks[1]} 7 7 20 0 1 0 5")


def test_cpu_is_summed_by_name(tmp_path: Path) -> None:
    write(tmp_path, 10, "/x/devcluster kube-apiserver --flag", (TICK, TICK))
    write(tmp_path, 11, "/x/python /app/operator/admission.py", (TICK, 0))
    write(tmp_path, 12, "/x/python /app/operator/admission.py", (TICK, 0))
    write(tmp_path, 13, "/bin/other", (TICK, TICK))
    (tmp_path / "stat").write_text(f"cpu  {TICK} {TICK} {TICK} 999 999 {TICK} {TICK} {TICK} 0 0\ncpu0 1\n")
    assert cpu_by_name(tmp_path) == {"apiserver": 2.0, "admission": 2.0, "machine": 6.0}
    assert cpu_seconds(13, tmp_path) == 2.0


def test_idle_and_waiting_for_disks_is_not_busy() -> None:
    assert busy_seconds(f"cpu  {TICK} 0 0 {9 * TICK} {9 * TICK} 0 0 0 0 0") == 1.0


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -m tests.bench --only 2", "load"),
        ("python -m tests.bench.node ns", "fake_node"),
        ("python -m tests.bench.observer ns", "observer"),
        ("/x/devcluster etcd --data-dir /y", "etcd"),
        ("kube-apiserver --etcd-servers=http://127.0.0.1:12379 --etcd x", "apiserver"),
        ("bash", None),
    ],
)
def test_names_of_processes(command: str, name: str | None) -> None:
    assert name_of(command) == name


def test_peak_of_memory_is_in_megabytes(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t 1000 kB\n")
    assert memory_mb(7, proc=tmp_path) == 2.048
    assert memory_mb(7, "VmRSS", proc=tmp_path) == 1.024


async def test_a_child_ends_with_its_parent_even_when_that_is_killed() -> None:
    parent = """
import asyncio, os
from tests.bench.processes import ChildEnded, needed, child
async def main():
    async with child(["-c", "import time; print('up', flush=True); time.sleep(60)"], env=os.environ) as process:
        await process.stdout.readline()
        print(process.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, stdout=-1
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert _runs(pid)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    for _ in range(500):
        if not _runs(pid):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the child lives on")


async def test_a_child_is_ended_at_the_end_of_the_block() -> None:
    async with child(["-c", "import time; time.sleep(60)"], env=os.environ) as process:
        assert process.returncode is None
    assert process.returncode == -signal.SIGTERM


async def test_who_waits_for_a_child_that_ends_is_told_at_once() -> None:
    async with asyncio.timeout(20), child(["-c", "raise SystemExit(7)"], env=os.environ) as process:
        with pytest.raises(ChildEnded, match="ended with exit code 7"):
            async with needed(process):
                await asyncio.sleep(60)
        await asyncio.sleep(0)  # nothing cancels us afterwards


async def test_a_child_that_runs_on_breaks_nothing_off() -> None:
    async with child(["-c", "import time; time.sleep(60)"], env=os.environ) as process:
        async with needed(process):
            await asyncio.sleep(0.01)
        assert process.returncode is None


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
