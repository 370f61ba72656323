"""Mounts, interfaces, rules, settings and files that a cluster leaves on a machine, and their removal."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from . import paths
from .steps import Failure

BRIDGE = "ossa0"
NETWORK = "ossa-dev"  # the CNI network's name
_OUR_CHAIN = re.compile(r"(KUBE-|CNI-)")
_SYSCTLS = (  # what kubelet, kube-proxy and we set; put back by `make down`
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


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


def remove_interfaces() -> None:
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
                script = script[:-2]
    return "\n".join(script) + "\n" if script else ""


def remove_iptables() -> None:
    for command in ("iptables", "ip6tables"):
        if shutil.which(f"{command}-save") is None:
            continue
        saved = subprocess.run([f"{command}-save"], capture_output=True, text=True, check=False).stdout
        script = _iptables_script(saved)
        if script:
            done = subprocess.run(
                [f"{command}-restore", "--noflush"], input=script, text=True, capture_output=True, check=False
            )
            if done.returncode != 0:
                raise Failure(f"{command} rules of an earlier cluster could not be removed: {done.stderr.strip()}")


def save_sysctls() -> None:
    file = paths.RUN / "sysctls.json"
    if not file.exists():
        settings = {name: Path("/proc/sys", name) for name in _SYSCTLS}
        paths.write(file, json.dumps({n: p.read_text().strip() for n, p in settings.items() if p.is_file()}))


def restore_sysctls() -> None:
    file = paths.RUN / "sysctls.json"
    if not file.is_file():
        return
    for name, value in json.loads(file.read_text()).items():
        setting = Path("/proc/sys", name)
        if setting.is_file() and setting.read_text().strip() != value:
            setting.write_text(value)


def foreign_kubelet() -> bool:
    """Whether a kubelet that is not ours runs on this machine itself, and not in a container (as kind's do)."""
    here = Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == "kubelet" and (process / "ns/mnt").readlink() == here:
                return True  # ours has the name of the one binary
        except OSError:
            continue  # it ended meanwhile
    return False


def remove_strays() -> None:
    """Files at places that containerd, kubelet and CNI do not let one choose."""
    listening = Path("/proc/net/unix").read_text()
    for socket in Path("/run/containerd/s").glob("*"):
        if str(socket) not in listening:
            socket.unlink(missing_ok=True)
    for result in Path("/var/lib/cni/results").glob("*"):
        if "/.dev/containerd-state/" in result.read_text(errors="replace"):  # its namespace
            result.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and "/.dev/pod-logs/" in str(link.readlink()):
            link.unlink(missing_ok=True)
    plugins = Path("/var/lib/kubelet/device-plugins")
    if not foreign_kubelet():
        for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
            (plugins / name).unlink(missing_ok=True)
    # buildah keeps a cache of digests there; with nothing else beside it, it is ours alone.
    containers = Path("/var/lib/containers")
    if containers.is_dir() and [d.name for d in containers.iterdir()] == ["cache"]:
        (containers / "cache" / "blob-info-cache-v1.boltdb").unlink(missing_ok=True)
    # buildah makes this lock, wherever its networks are.
    lock = Path("/etc/cni/net.d/cni.lock")
    if lock.is_file() and [lock] == list(lock.parent.iterdir()):
        lock.unlink()
    for folder in (
        Path("/run/mount"),
        containers / "cache",
        containers,
        plugins,
        plugins.parent,
        Path("/var/log/containers"),
        Path("/var/lib/cni/results"),
        Path("/var/lib/cni"),
        Path("/etc/cni/net.d"),
        Path("/etc/cni"),
        Path("/run/containerd/s"),
        Path("/run/containerd/fifo"),
        Path("/run/containerd"),
    ):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
