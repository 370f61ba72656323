"""The devcluster: a real single-node Kubernetes whose daemons are processes of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import certs, config, leftovers, machine, paths
from .certs import API_PORT, NODE, NODE_IP
from .daemons import API, PIDS, Daemon, ensure, http_ok, require_ports, running
from .steps import Failure, Job, say

_LONGEST_PATH = 60  # kubelet puts sockets below .dev, and a socket's path ends at 107 characters


def check() -> None:
    """Say early, and in one sentence, why it cannot work here."""
    if os.geteuid() != 0:
        raise Failure("the devcluster needs root: it starts a kubelet and containers (or start Docker and use kind)")
    if len(str(paths.DEV)) > _LONGEST_PATH:
        raise Failure(f"the path {paths.REPO} is too long for the kubelet's sockets: use a shorter one")
    if subprocess.run(["pgrep", "-x", "kubelet"], capture_output=True, text=True, check=False).stdout:
        pids = set(machine.marked(machine.MARK))
        found = {
            int(p)
            for p in subprocess.run(
                ["pgrep", "-x", "kubelet"], capture_output=True, text=True, check=False
            ).stdout.split()
        }
        if found - pids:
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
    pki = paths.PKI
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
    )
    ensure(job, etcd, lambda: http_ok("http://127.0.0.1:12379/health"))
    require_ports("kube-apiserver", API_PORT)
    flags = {
        "etcd-servers": "http://127.0.0.1:12379",
        "bind-address": "0.0.0.0",
        "secure-port": API_PORT,
        "advertise-address": NODE_IP,
        "service-cluster-ip-range": certs.SERVICE_CIDR,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "kubelet-client.crt",
        "kubelet-client-key": pki / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "sa.key",
        "service-account-signing-key-file": pki / "sa.key",
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        "profiling": "false",
        "event-ttl": "1h",
    }
    ensure(job, _program(binary, "kube-apiserver", flags), lambda: http_ok(f"{API}/readyz"))
    manager = {
        **_client("controller-manager"),
        **_serving("controller-manager"),
        "service-account-private-key-file": pki / "sa.key",
        "root-ca-file": pki / "ca.crt",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "concurrent-gc-syncs": 20,
        "controllers": "*",
        "bind-address": "127.0.0.1",
        "terminated-pod-gc-threshold": 2000,
        "flex-volume-plugin-dir": paths.KUBELET / "volume-plugins",
        "profiling": "false",
    }
    scheduler = {
        **_client("scheduler"),
        **_serving("scheduler"),
        "leader-elect": "false",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "bind-address": "127.0.0.1",
        "profiling": "false",
    }
    ensure(
        job,
        _program(binary, "kube-controller-manager", manager),
        lambda: http_ok("https://127.0.0.1:10257/healthz"),
    )
    ensure(
        job,
        _program(binary, "kube-scheduler", scheduler),
        lambda: http_ok("https://127.0.0.1:10259/healthz"),
    )


def _client(name: str) -> dict[str, object]:
    kubeconfig = paths.CONFIG / f"{name}.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
    }


def _serving(name: str) -> dict[str, object]:
    return {"tls-cert-file": paths.PKI / f"{name}.crt", "tls-private-key-file": paths.PKI / f"{name}.key"}


def _program(binary: Path, name: str, flags: dict[str, object], configs: tuple[Path, ...] = ()) -> Daemon:
    return Daemon(name, (str(binary), name, *(f"--{key}={value}" for key, value in flags.items())), configs)


def start_node(job: Job, binary: Path) -> None:
    kubelet_config = paths.CONFIG / "kubelet.json"
    paths.write(kubelet_config, config.kubelet())
    paths.write(paths.CONFIG / "Corefile", config.corefile())
    for number in range(config.VOLUME_COUNT):
        volume = paths.VOLUMES / f"ossa-dev-{number}"
        volume.mkdir(parents=True, exist_ok=True)
        volume.chmod(0o777)  # pods run as user 65532, and a hostPath volume keeps the folder's owner
    kubelet = {
        "config": kubelet_config,
        "kubeconfig": paths.CONFIG / "kubelet.kubeconfig",
        "root-dir": paths.KUBELET,
        "hostname-override": NODE,
        "node-ip": NODE_IP,
    }
    proxy = {
        "kubeconfig": paths.CONFIG / "proxy.kubeconfig",
        "hostname-override": NODE,
        "proxy-mode": "iptables",
        "cluster-cidr": config.POD_CIDR,
        "conntrack-max-per-core": 0,
        "iptables-min-sync-period": "100ms",
        "healthz-bind-address": "127.0.0.1:10256",
        "metrics-bind-address": "127.0.0.1:10249",
    }
    ensure(
        job,
        _program(binary, "kubelet", kubelet, (kubelet_config,)),
        lambda: http_ok("http://127.0.0.1:10248/healthz"),
    )
    ensure(job, _program(binary, "kube-proxy", proxy), lambda: http_ok("http://127.0.0.1:10249/healthz"))
    corefile = paths.CONFIG / "Corefile"
    dns = Daemon("coredns", (str(binary), "coredns", "-conf", str(corefile)), (corefile,))
    ensure(job, dns, lambda: http_ok("http://127.0.0.1:18080/health"))
