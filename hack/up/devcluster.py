"""The devcluster: a real single-node Kubernetes whose daemons are processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import certs, config, machine, paths
from .certs import API_PORT, NODE, NODE_IP
from .steps import Failure, Job, say

_PIDS = paths.DEV / "run"
_API = f"https://127.0.0.1:{API_PORT}"
_LONGEST_PATH = 60  # kubelet puts sockets below .dev, and a socket's path ends at 107 characters


@dataclass(frozen=True)
class Daemon:
    name: str
    command: tuple[str, ...]
    configs: tuple[Path, ...] = ()

    def fingerprint(self) -> str:
        return paths.digest([c for c in self.configs if c.is_file()], *self.command)


def check() -> None:
    """Say early, and in one sentence, why it cannot work here."""
    if os.geteuid() != 0:
        raise Failure("the devcluster needs root: it starts a kubelet and containers (or start Docker and use kind)")
    if len(str(paths.DEV)) > _LONGEST_PATH:
        raise Failure(f"the path {paths.REPO} is too long for the kubelet's sockets: use a shorter one")
    if subprocess.run(["pgrep", "-x", "kubelet"], capture_output=True, text=True, check=False).stdout:
        pids = set(machine.marked(machine.MARK))
        found = {int(p) for p in subprocess.run(["pgrep", "-x", "kubelet"], capture_output=True, text=True,
                                                check=False).stdout.split()}
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
    if not _running("containerd"):
        # Without containerd the containers are orphans; kubelet makes them anew from the API server's objects.
        machine.stop_all(paths.DEV)
    machine.unmount_below(paths.CACHE)
    paths.write(paths.OWNER, f"{paths.DEV}\n")
    for folder in (paths.LOGS, _PIDS, paths.POD_LOGS, paths.VOLUMES):
        folder.mkdir(parents=True, exist_ok=True)


# --- processes --------------------------------------------------------------------------------------------------------


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks: with the pid it names a process for good."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _record(name: str) -> dict[str, str]:
    file = _PIDS / f"{name}.json"
    if not file.is_file():
        return {}
    record: dict[str, str] = json.loads(file.read_text())
    return record


def _running(name: str) -> int:
    """The process of a daemon, or 0."""
    record = _record(name)
    pid = int(record.get("pid", 0))
    if not pid or _started(pid) != record["started"]:
        return 0
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return 0 if state == "Z" else pid


def _stop(name: str) -> None:
    pid = _running(name)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while _running(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        machine.kill_and_wait({pid})
    (_PIDS / f"{name}.json").unlink(missing_ok=True)


def ensure(job: Job, daemon: Daemon, ready: Callable[[], bool], seconds: float = 60) -> bool:
    """Start a daemon, unless it runs as it should. True when it was started."""
    fresh = not _running(daemon.name) or _record(daemon.name).get("fingerprint") != daemon.fingerprint()
    log = paths.LOGS / f"{daemon.name}.log"
    if fresh:
        _stop(daemon.name)
        _launch(daemon, log)
        job.note = f"{job.note} {daemon.name}".strip()
    deadline = time.monotonic() + seconds
    while not ready():
        if not _running(daemon.name) or time.monotonic() > deadline:
            with job.log.open("a") as own:
                own.write("\n".join(log.read_text(errors="replace").splitlines()[-20:]) + "\n")
            how = f"is not ready after {seconds:.0f} s" if _running(daemon.name) else "ended right after its start"
            raise Failure(f"{daemon.name} {how}; its log: {log}")
        if job.stopped:
            raise Failure("stopped")
        time.sleep(0.1)
    return fresh


def _launch(daemon: Daemon, log: Path) -> None:
    if log.is_file() and log.stat().st_size > 50 << 20:
        log.replace(log.with_suffix(".log.1"))
    with log.open("a") as output:
        child = subprocess.Popen(
            daemon.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            env={**os.environ, machine.MARK: str(paths.DEV)},
        )  # fmt: skip
    record = {"pid": str(child.pid), "started": _started(child.pid), "fingerprint": daemon.fingerprint()}
    paths.write(_PIDS / f"{daemon.name}.json", json.dumps(record))


def _http_ok(url: str) -> bool:
    context = ssl.create_default_context(cafile=str(paths.PKI / "ca.crt")) if url.startswith(_API) else None
    if url.startswith("https") and context is None:
        context = ssl._create_unverified_context()  # a health endpoint with a certificate made at its start
    try:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(url, timeout=3) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _port_free(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _require_ports(daemon: str, *ports: int) -> None:
    taken = [str(port) for port in ports if not _port_free(port)]
    if taken and not _running(daemon):
        raise Failure(f"port {', '.join(taken)} of 127.0.0.1, which {daemon} needs, is taken by another program")


# --- the steps --------------------------------------------------------------------------------------------------------


def start_network(job: Job) -> None:
    machine.save_sysctls()
    machine.make_cgroups()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if not Path(f"/sys/class/net/{machine.BRIDGE}").exists():
        job.run(["ip", "link", "add", machine.BRIDGE, "type", "bridge"], sentence="a network bridge cannot be made")
    job.run(["ip", "address", "replace", f"{NODE_IP}/16", "dev", machine.BRIDGE])
    job.run(["ip", "link", "set", machine.BRIDGE, "up"])


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
    _require_ports("etcd", 12379, 12380)
    etcd = Daemon("etcd", (str(binary), "etcd", "--data-dir", str(paths.DEV / "etcd"), "--listen-client-url",
                           "http://127.0.0.1:12379", "--listen-peer-url", "http://127.0.0.1:12380"))  # fmt: skip
    ensure(job, etcd, lambda: _http_ok("http://127.0.0.1:12379/health"))
    _require_ports("kube-apiserver", API_PORT)
    flags = {
        "etcd-servers": "http://127.0.0.1:12379", "bind-address": "0.0.0.0", "secure-port": API_PORT,
        "advertise-address": NODE_IP, "service-cluster-ip-range": certs.SERVICE_CIDR, "allow-privileged": "true",
        "authorization-mode": "Node,RBAC", "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": pki / "ca.crt", "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key", "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "kubelet-client.crt", "kubelet-client-key": pki / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP", "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "sa.key", "service-account-signing-key-file": pki / "sa.key",
        "requestheader-client-ca-file": pki / "ca.crt", "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User", "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key", "profiling": "false", "event-ttl": "1h",
    }  # fmt: skip
    ensure(job, _program(binary, "kube-apiserver", flags), lambda: _http_ok(f"{_API}/readyz"))
    manager = {
        **_client("controller-manager"), "service-account-private-key-file": pki / "sa.key",
        "root-ca-file": pki / "ca.crt", "use-service-account-credentials": "true", "leader-elect": "false",
        "cluster-signing-cert-file": pki / "ca.crt", "cluster-signing-key-file": pki / "ca.key",
        "kube-api-qps": 200, "kube-api-burst": 400, "concurrent-gc-syncs": 20, "controllers": "*",
        "bind-address": "127.0.0.1", "terminated-pod-gc-threshold": 2000, "profiling": "false",
    }  # fmt: skip
    scheduler = {**_client("scheduler"), "leader-elect": "false", "kube-api-qps": 200, "kube-api-burst": 400,
                 "bind-address": "127.0.0.1", "profiling": "false"}  # fmt: skip
    ensure(job, _program(binary, "kube-controller-manager", manager), lambda: _http_ok("https://127.0.0.1:10257/healthz"))
    ensure(job, _program(binary, "kube-scheduler", scheduler), lambda: _http_ok("https://127.0.0.1:10259/healthz"))


def _client(name: str) -> dict[str, object]:
    kubeconfig = paths.CONFIG / f"{name}.kubeconfig"
    return {"kubeconfig": kubeconfig, "authentication-kubeconfig": kubeconfig, "authorization-kubeconfig": kubeconfig}


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
    kubelet = {"config": kubelet_config, "kubeconfig": paths.CONFIG / "kubelet.kubeconfig",
               "root-dir": paths.KUBELET, "hostname-override": NODE, "node-ip": NODE_IP}  # fmt: skip
    proxy = {"kubeconfig": paths.CONFIG / "proxy.kubeconfig", "hostname-override": NODE, "proxy-mode": "iptables",
             "cluster-cidr": config.POD_CIDR, "conntrack-max-per-core": 0, "iptables-min-sync-period": "100ms",
             "healthz-bind-address": "127.0.0.1:10256", "metrics-bind-address": "127.0.0.1:10249"}  # fmt: skip
    ensure(job, _program(binary, "kubelet", kubelet, (kubelet_config,)), lambda: _http_ok("http://127.0.0.1:10248/healthz"))
    ensure(job, _program(binary, "kube-proxy", proxy), lambda: _http_ok("http://127.0.0.1:10249/healthz"))
    corefile = paths.CONFIG / "Corefile"
    dns = Daemon("coredns", (str(binary), "coredns", "-conf", str(corefile)), (corefile,))
    ensure(job, dns, lambda: _http_ok("http://127.0.0.1:18080/health"))
