"""What a devcluster leaves on a machine, how it is found again, and how it is removed.

Nothing here trusts a record alone: an earlier run, perhaps of another checkout, may have been killed at any
moment. So processes are found by a mark in their environment, containers by their cgroup, mounts by their
path, and iptables rules by the names of their chains.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import leftovers, paths
from .steps import JOB_MARK, say

MARK = "OSSA_DEVCLUSTER"  # in the environment of every daemon, and so of containerd's shims
CGROUP = "ossa-dev"
_GONE_TIMEOUT = 15.0


@contextmanager
def machine_lock() -> Iterator[None]:
    """One `make up` or `make down` a machine at a time."""
    paths.LOCK.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with paths.LOCK.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another `make up` or `make down` is at work on this machine; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not paths.LOCK.exists() or os.fstat(lock.fileno()).st_ino != paths.LOCK.stat().st_ino:
                continue  # whoever held it removed the file
            yield
            return


def owner() -> Path | None:
    """The .dev folder of the checkout whose cluster is (or was) on this machine."""
    if not paths.OWNER.is_file():
        return None
    text = paths.OWNER.read_text().strip()
    return Path(text) if text else None


# --- processes ---------------------------------------------------------------------------------------------


def marked(name: str) -> dict[int, str]:
    """Processes whose environment holds a variable, with its value."""
    found = {}
    prefix = f"{name}=".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        for entry in environment:
            if entry.startswith(prefix):
                found[int(folder.name)] = entry[len(prefix) :].decode(errors="replace")
    return found


def kill_and_wait(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + _GONE_TIMEOUT
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill_orphaned_jobs() -> None:
    """Builds of a killed `make up` would write into the same folders as ours. Needs the lock."""
    ancestors = set()
    pid = os.getpid()
    while pid > 1:
        ancestors.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    names = {"dpkg", "apt-get"}  # these are waited for, by dpkg's own lock: killing them breaks the machine
    orphans = set()
    for candidate in set(marked(JOB_MARK)) - set(marked(MARK)) - ancestors:
        try:
            name = Path(f"/proc/{candidate}/comm").read_text().strip()
        except OSError:
            continue
        if name not in names and not _below(candidate, names):
            orphans.add(candidate)
    kill_and_wait(orphans)


def _below(pid: int, names: set[str]) -> bool:
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if Path(f"/proc/{pid}/comm").read_text().strip() in names:
                return True
        except OSError:
            return False
    return False


def _cgroup_roots() -> list[Path]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted({Path(entry[1]) / CGROUP for entry in mounts if entry[2] in {"cgroup", "cgroup2"}})


def make_cgroups() -> None:
    """Pods go below a cgroup of ours, so that what is in a container can be told from everything else."""
    for root in _cgroup_roots():
        root.mkdir(exist_ok=True)


def _cgroups() -> list[Path]:
    """Ours, each after those that it holds. os.walk passes over one that goes away meanwhile, where a glob raises."""
    return [Path(folder) for root in _cgroup_roots() for folder, _, _ in os.walk(root, topdown=False)]


def _container_processes() -> set[int]:
    found: set[int] = set()
    for folder in _cgroups():
        try:
            found |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
        except OSError:
            continue  # the cgroup went away meanwhile
    return found - {0}


def _remove_cgroups() -> None:
    for folder in _cgroups():
        _rmdir(folder)


def _rmdir(folder: Path) -> None:
    for _ in range(20):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)  # the kernel lets go of a cgroup's last process a moment after its death


def stop_all(dev: Path) -> None:
    """End every process, mount, interface and rule of a cluster; its files in `dev` stay."""
    pids = set(marked(MARK))
    kill_and_wait(pids)  # kubelet and containerd first, so that nothing is started again
    kill_and_wait(_container_processes() | set(marked(MARK)))
    for folder in (dev, paths.RUN):
        leftovers.unmount_below(folder)
    leftovers.remove_interfaces()
    leftovers.remove_iptables()
    _remove_cgroups()
    for state in ("containerd-state", "run"):
        shutil.rmtree(dev / state, ignore_errors=True)
    leftovers.remove_strays()


def remove_all(dev: Path) -> None:
    """`stop_all`, and no file stays but the cache."""
    stop_all(dev)
    leftovers.restore_sysctls()
    for folder in (dev, paths.RUN):
        if folder.exists():
            shutil.rmtree(folder)
