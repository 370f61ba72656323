"""Daemons: processes that outlive `make up`, each with a record by which the next run finds and judges it."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import machine, paths
from .certs import API_PORT
from .steps import Failure, Job

PIDS = paths.DEV / "run"
API = f"https://127.0.0.1:{API_PORT}"


@dataclass(frozen=True)
class Daemon:
    name: str
    command: tuple[str, ...]
    configs: tuple[Path, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        return paths.digest([c for c in self.configs if c.is_file()], *self.command, str(self.environment))


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks: with the pid it names a process for good."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _record(name: str) -> dict[str, str]:
    file = PIDS / f"{name}.json"
    if not file.is_file():
        return {}
    record: dict[str, str] = json.loads(file.read_text())
    return record


def running(name: str) -> int:
    """The process of a daemon, or 0."""
    record = _record(name)
    pid = int(record.get("pid", 0))
    if not pid or _started(pid) != record["started"]:
        return 0
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return 0 if state == "Z" else pid


def _stop(name: str) -> None:
    pid = running(name)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while running(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        machine.kill_and_wait({pid})
    (PIDS / f"{name}.json").unlink(missing_ok=True)


def ensure(job: Job, daemon: Daemon, ready: Callable[[], bool], seconds: float = 60) -> bool:
    """Start a daemon, unless it runs as it should. True when it was started."""
    fresh = not running(daemon.name) or _record(daemon.name).get("fingerprint") != daemon.fingerprint()
    log = paths.LOGS / f"{daemon.name}.log"
    if fresh:
        _stop(daemon.name)
        _launch(daemon, log)
        job.note = f"{job.note} {daemon.name}".strip()
    deadline = time.monotonic() + seconds
    while not ready():
        if not running(daemon.name) or time.monotonic() > deadline:
            with job.log.open("a") as own:
                own.write("\n".join(log.read_text(errors="replace").splitlines()[-20:]) + "\n")
            how = f"is not ready after {seconds:.0f} s" if running(daemon.name) else "ended right after its start"
            raise Failure(f"{daemon.name} {how}; its log: {log}")
        if job.stopped:
            raise Failure("stopped")
        time.sleep(0.1)
    return fresh


def restart(name: str, number: signal.Signals) -> None:
    """End a daemon that runs by a signal, and start it again as it was: for tests of what then becomes of others."""
    pid, record = running(name), _record(name)
    if not pid:
        raise Failure(f"{name} does not run")
    command = tuple(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0"))
    variables = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    environment = dict(variable.split("=", 1) for variable in variables)
    os.kill(pid, number)
    deadline = time.monotonic() + 5
    while running(name) and time.monotonic() < deadline:
        time.sleep(0.02)
    machine.kill_and_wait({pid})
    deadline = time.monotonic() + 30
    while not running(name):
        if time.monotonic() > deadline:
            raise Failure(f"{name} ends right after its start; its log: {paths.LOGS / f'{name}.log'}")
        _launch(Daemon(name, command), paths.LOGS / f"{name}.log", env=environment, fingerprint=record["fingerprint"])
        time.sleep(1.0)  # it ends at once where the port of the one before is not free yet: the kernel takes a moment


def _launch(daemon: Daemon, log: Path, *, env: dict[str, str] | None = None, fingerprint: str = "") -> None:
    if log.is_file() and log.stat().st_size > 50 << 20:
        log.replace(log.with_suffix(".log.1"))
    with log.open("a") as output:
        child = subprocess.Popen(
            daemon.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env=env or {**os.environ, **daemon.environment, machine.MARK: str(paths.DEV)},
        )
    record = {"pid": str(child.pid), "started": _started(child.pid), "fingerprint": fingerprint or daemon.fingerprint()}
    paths.write(PIDS / f"{daemon.name}.json", json.dumps(record))


def http_ok(url: str) -> bool:
    try:
        context = ssl.create_default_context(cafile=str(paths.PKI / "ca.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(url, timeout=3) as answer:
            return bool(answer.status == 200)
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


def require_ports(daemon: str, *ports: int) -> None:
    taken = [str(port) for port in ports if not _port_free(port)]
    if taken and not running(daemon):
        raise Failure(f"port {', '.join(taken)} of 127.0.0.1, which {daemon} needs, is taken by another program")
