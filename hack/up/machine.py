"""What a devcluster leaves on a machine, how it is found again, and how it is removed.

Nothing here trusts a record alone: an earlier run, perhaps of another checkout, may have been killed at any moment. So
processes are found by a mark in their environment, containers by their cgroup, mounts by their path, and iptables rules by
the names of their chains.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import paths
from .steps import JOB_MARK, Failure, say

MARK = "OSSA_DEVCLUSTER"  # in the environment of every daemon, and so of containerd's shims
BRIDGE = "ossa0"
CGROUP = "ossa-dev"
NETWORK = "ossa-dev"  # the CNI network's name
_GONE_TIMEOUT = 15.0
_OUR_CHAIN = re.compile(r"(KUBE-|CNI-)")
_SYSCTLS = (  # what kubelet, kube-proxy and we set; put back by `make down`
    "net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established", "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/bridge/bridge-nf-call-iptables", "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic",
    "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
)  # fmt: skip


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


# --- processes --------------------------------------------------------------------------------------------------------


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
    """Builds of a killed `make up` would write into the same folders as ours. Only call this with the lock held."""
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


def _container_processes() -> set[int]:
    found: set[int] = set()
    for root in _cgroup_roots():
        for file in root.rglob("cgroup.procs") if root.is_dir() else ():
            try:
                found |= {int(line) for line in file.read_text().split()}
            except OSError:
                continue  # the cgroup went away meanwhile
    return found - {0}


def _remove_cgroups() -> None:
    for root in _cgroup_roots():
        if not root.is_dir():
            continue
        for folder in sorted((d for d in root.rglob("*") if d.is_dir()), key=lambda d: -len(d.parts)):
            _rmdir(folder)
        _rmdir(root)


def _rmdir(folder: Path) -> None:
    for _ in range(20):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)  # the kernel lets go of a cgroup's last process a moment after its death


# --- mounts, network, iptables ----------------------------------------------------------------------------------------


def unmount_below(folder: Path) -> None:
    prefix = str(folder)
    entries = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), entry) for entry in entries]
    for point in sorted((p for p in points if p == prefix or p.startswith(prefix + "/")), key=len, reverse=True):
        for flags in ([], ["-l"]):
            if subprocess.run(["umount", *flags, point], capture_output=True, check=False).returncode == 0:
                break


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False).stdout


def _remove_interfaces() -> None:
    if shutil.which("ip") is None or not Path(f"/sys/class/net/{BRIDGE}").exists():
        return
    for link in json.loads(_ip("-json", "link", "show", "master", BRIDGE) or "[]"):
        _ip("link", "delete", link["ifname"])
    _ip("link", "delete", BRIDGE)


def _iptables_script(saved: str) -> str:
    """What removes Kubernetes' and CNI's chains and the jumps to them, as input for iptables-restore."""
    script: list[str] = []
    chains: list[str] = []
    deletions: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            script.append(line)
            chains, deletions = [], []
        elif line.startswith(":") and _OUR_CHAIN.match(line[1:]):
            chains.append(line[1:].split()[0])
        elif line.startswith("-A ") and not _OUR_CHAIN.match(line[3:]) and re.search(r" -[jg] (KUBE|CNI)-", line):
            deletions.append("-D" + line[2:])
        elif line == "COMMIT":
            script += deletions + [f"-F {c}" for c in chains] + [f"-X {c}" for c in chains] + [line]
            if not chains and not deletions:
                script = script[: -2]
    return "\n".join(script) + "\n" if script else ""


def _remove_iptables() -> None:
    for command in ("iptables", "ip6tables"):
        if shutil.which(f"{command}-save") is None:
            continue
        saved = subprocess.run([f"{command}-save"], capture_output=True, text=True, check=False).stdout
        script = _iptables_script(saved)
        if script:
            done = subprocess.run([f"{command}-restore", "--noflush"], input=script, text=True, capture_output=True,
                                  check=False)
            if done.returncode != 0:
                raise Failure(f"{command} rules of an earlier cluster could not be removed: {done.stderr.strip()}")


def save_sysctls() -> None:
    file = paths.RUN / "sysctls.json"
    if not file.exists():
        settings = {name: Path("/proc/sys", name) for name in _SYSCTLS}
        paths.write(file, json.dumps({n: p.read_text().strip() for n, p in settings.items() if p.is_file()}))


def _restore_sysctls() -> None:
    file = paths.RUN / "sysctls.json"
    if not file.is_file():
        return
    for name, value in json.loads(file.read_text()).items():
        setting = Path("/proc/sys", name)
        if setting.is_file() and setting.read_text().strip() != value:
            setting.write_text(value)


# --- all of it --------------------------------------------------------------------------------------------------------


def stop_all(dev: Path) -> None:
    """End every process, mount, interface and rule of a cluster; its files in `dev` stay."""
    pids = set(marked(MARK))
    kill_and_wait(pids)  # kubelet and containerd first, so that nothing is started again
    kill_and_wait(_container_processes() | set(marked(MARK)))
    for folder in (dev, paths.RUN):
        unmount_below(folder)
    _remove_interfaces()
    _remove_iptables()
    _remove_cgroups()
    for state in ("containerd-state", "run"):
        shutil.rmtree(dev / state, ignore_errors=True)
    _remove_strays()


def _remove_strays() -> None:
    """Files at places that containerd, kubelet and CNI do not let one choose."""
    listening = Path("/proc/net/unix").read_text()
    for socket in Path("/run/containerd/s").glob("*"):
        if str(socket) not in listening:
            socket.unlink(missing_ok=True)
    for result in Path("/var/lib/cni/results").glob(f"{NETWORK}-*"):
        result.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and "/.dev/pod-logs/" in str(link.readlink()):
            link.unlink(missing_ok=True)
    plugins = Path("/var/lib/kubelet/device-plugins")
    for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
        if not subprocess.run(["pgrep", "-x", "kubelet"], capture_output=True, check=False).stdout:
            (plugins / name).unlink(missing_ok=True)
    for folder in (plugins, plugins.parent, Path("/var/log/containers"), Path("/var/lib/cni/results"),
                   Path("/var/lib/cni"), Path("/run/containerd/s"), Path("/run/containerd/fifo"),
                   Path("/run/containerd")):  # fmt: skip
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def remove_all(dev: Path) -> None:
    """`stop_all`, and no file stays but the cache."""
    stop_all(dev)
    _restore_sysctls()
    for folder in (dev, paths.RUN):
        if folder.exists():
            shutil.rmtree(folder)
