"""The devcluster: a real single-node Kubernetes whose daemons are processes of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from . import config, flags, garbage, leftovers, machine, paths
from .certs import API_PORT, NODE_IP
from .daemons import API, PIDS, Daemon, ensure, http_ok, require_ports, running
from .steps import Failure, Job, say


def check() -> None:
    """Say early, and in one sentence, why it cannot work here."""
    if os.geteuid() != 0:
        raise Failure("the devcluster needs root: it starts a kubelet and containers (or start Docker and use kind)")
    if leftovers.foreign_kubelet():
        raise Failure("this machine is a node of another Kubernetes cluster: use it with CONTEXT=NAME")


def take_over() -> None:
    """Make the machine ours: stop another checkout's cluster, and what a killed run of ours left."""
    machine.kill_orphaned_jobs()
    before = machine.owner()
    foreign = {Path(value) for value in machine.marked(machine.MARK).values()} | ({before} if before else set())
    for dev in foreign - {paths.DEV}:
        say(f"another checkout's cluster is on this machine ({dev.parent}): stopping it")
        machine.stop_all(dev)
    if foreign - {paths.DEV}:
        paths.OWNER.unlink(missing_ok=True)
    if not running("containerd"):
        # Without containerd the containers are orphans; kubelet makes them anew from their objects.
        machine.stop_all(paths.DEV)
    leftovers.unmount_below(paths.CACHE)
    paths.write(paths.OWNER, f"{paths.DEV}\n")
    for folder in (paths.LOGS, PIDS, paths.POD_LOGS, paths.VOLUMES):
        folder.mkdir(parents=True, exist_ok=True)


def start_network(job: Job) -> None:
    leftovers.save_sysctls()
    machine.make_cgroups()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if not Path(f"/sys/class/net/{leftovers.BRIDGE}").exists():
        job.run(
            ["ip", "link", "add", leftovers.BRIDGE, "type", "bridge"],
            sentence="a network bridge cannot be made",
        )
    job.run(["ip", "address", "replace", f"{NODE_IP}/16", "dev", leftovers.BRIDGE])
    job.run(["ip", "link", "set", leftovers.BRIDGE, "up"])


def start_containerd(job: Job) -> None:
    paths.write(paths.CONFIG / "containerd.toml", config.containerd())
    paths.write(paths.CONFIG / "cni" / "10-ossa.conflist", config.cni())
    toml = paths.CONFIG / "containerd.toml"
    daemon = Daemon("containerd", (shutil.which("containerd") or "containerd", "--config", str(toml)), (toml,))

    def ready() -> bool:
        probe = ["ctr", "--address", str(paths.CONTAINERD_SOCKET), "version"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    ensure(job, daemon, ready)


def start_control_plane(job: Job, binary: Path) -> None:
    require_ports("etcd", 12379, 12380)
    etcd = Daemon(
        "etcd",
        (
            str(binary),
            "etcd",
            "--data-dir",
            str(paths.DEV / "etcd"),
            "--listen-client-url",
            "http://127.0.0.1:12379",
            "--listen-peer-url",
            "http://127.0.0.1:12380",
        ),
        environment=garbage.servers(),
    )
    _start_etcd(job, etcd)
    require_ports("kube-apiserver", API_PORT)
    apiserver = replace(_program(binary, "kube-apiserver", flags.apiserver()), environment=garbage.servers())
    ensure(job, apiserver, lambda: http_ok(f"{API}/readyz"))
    ensure(
        job,
        _program(binary, "kube-controller-manager", flags.controller_manager()),
        lambda: http_ok("https://127.0.0.1:10257/healthz"),
    )
    ensure(
        job,
        _program(binary, "kube-scheduler", flags.scheduler()),
        lambda: http_ok("https://127.0.0.1:10259/healthz"),
    )


def _start_etcd(job: Job, etcd: Daemon) -> None:
    def healthy() -> bool:
        return http_ok("http://127.0.0.1:12379/health")

    data = paths.DEV / "etcd"
    existed = data.exists()
    try:
        ensure(job, etcd, healthy)
    except Failure:
        if not existed or running("etcd"):  # slow is not broken
            raise
        # It does not fsync, so a power cut may spoil it; a development cluster is then made anew.
        say("the cluster's state is not readable any more: starting with an empty one")
        shutil.rmtree(data)
        ensure(job, etcd, healthy)


def _program(binary: Path, name: str, flags: dict[str, object], configs: tuple[Path, ...] = ()) -> Daemon:
    return Daemon(name, (str(binary), name, *(f"--{key}={value}" for key, value in flags.items())), configs)


def start_node(job: Job, binary: Path) -> None:
    kubelet_config = paths.CONFIG / "kubelet.json"
    paths.write(kubelet_config, config.kubelet())
    paths.write(paths.CONFIG / "Corefile", config.corefile())
    if paths.KUBELET_ROOT != paths.KUBELET:
        paths.KUBELET.mkdir(parents=True, exist_ok=True)
        paths.KUBELET_ROOT.unlink(missing_ok=True)
        paths.KUBELET_ROOT.symlink_to(paths.KUBELET)
    for number in range(config.VOLUME_COUNT):
        volume = paths.VOLUMES / f"ossa-dev-{number}"
        volume.mkdir(parents=True, exist_ok=True)
        volume.chmod(0o777)  # pods run as user 65532, and a hostPath volume keeps the folder's owner
    ensure(
        job,
        _program(binary, "kubelet", flags.kubelet(kubelet_config), (kubelet_config,)),
        lambda: http_ok("http://127.0.0.1:10248/healthz"),
    )
    ensure(job, _program(binary, "kube-proxy", flags.proxy()), lambda: http_ok("http://127.0.0.1:10249/healthz"))
    corefile = paths.CONFIG / "Corefile"
    dns = Daemon("coredns", (str(binary), "coredns", "-conf", str(corefile)), (corefile,))
    ensure(job, dns, lambda: http_ok("http://127.0.0.1:18080/health"))
