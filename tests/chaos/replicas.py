"""Reconcilers of the checkout as child processes, each behind a proxy of its own, started again whenever they end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ossa.kube.elector import EXIT_LOST
from tests.bench.processes import REPO, child
from tests.chaos import launch
from tests.chaos.proxy import Proxy
from tests.chaos.records import FaultLog, Finding
from tests.ports import free_port

FOLDER = REPO / ".dev" / "chaos"
RESTART_SECONDS = (0.3, 1.5)
STOP_SECONDS = 25.0


class Replica:
    """One reconciler. `log`: a file that all its lives write to."""

    def __init__(self, proxy: Proxy, environment: Mapping[str, str], faults: FaultLog, seed: int) -> None:
        self.name = proxy.name
        self.proxy = proxy
        self.log = FOLDER / f"reconciler-{self.name}.log"
        self.lives = 0
        self._clock = FOLDER / f"clock-{self.name}"
        self._environment = environment
        self._faults = faults
        self._rng = random.Random(f"{seed}/restart/{self.name}")  # noqa: S311
        self._process: asyncio.subprocess.Process | None = None
        self._wanted: set[int] = set()  # exit codes that a fault asked for
        self._started = asyncio.Event()

    async def serve(self) -> None:
        """Runs until cancelled."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.step_clock(0.0)
        self.log.write_bytes(b"")
        program = str(REPO / "operator" / "reconciler.py")
        arguments = ["-m", "tests.chaos.launch", str(self._clock), program]
        while True:
            with self.log.open("ab") as stderr:
                async with child(arguments, env=self._settings(), stderr=stderr) as process:
                    self.lives += 1
                    self._process = process
                    self._started.set()
                    code = await process.wait()
                    self._started.clear()
                    self._process = None
            self._ended(code)
            await asyncio.sleep(self._rng.uniform(*RESTART_SECONDS))

    def step_clock(self, seconds: float) -> None:
        """Its wall clock is so far ahead of the machine's from now on."""
        launch.put(self._clock, seconds)

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None else None

    def signal(self, number: signal.Signals) -> int | None:
        """Sends a signal; the process that was hit, None where none runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return None
        if number == signal.SIGKILL:
            self._wanted.add(-signal.SIGKILL)
            self._faults.leaders.append(time.monotonic())
        if number == signal.SIGTERM:
            # The latter where it has no handler yet: it had been started anew a moment ago.
            self._wanted |= {0, -signal.SIGTERM}
        process.send_signal(number)
        return process.pid

    async def ends(self, pid: int, seconds: float) -> bool:
        """Whether a process has ended within a time."""
        until = time.monotonic() + seconds
        while self.pid == pid:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.02)
        return True

    def tracebacks(self) -> list[dict[str, Any]]:
        """What it logged with a traceback, and what is no line of the log at all."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                found.append({"message": line})
            else:
                if "traceback" in record:
                    found.append(record)
        return found

    def _settings(self) -> dict[str, str]:
        return {
            **self._environment,
            "KUBECONFIG": str(self._kubeconfig()),
            "OSSA_METRICS_PORT": str(free_port()),
            "OSSA_LIVENESS": f"http://127.0.0.1:{free_port()}/healthz",
        }

    def _kubeconfig(self) -> Path:
        """The same account, by way of the proxy."""
        config = json.loads(Path(self._environment["KUBECONFIG"]).read_text())
        for cluster in config["clusters"]:
            cluster["cluster"] = {"server": self.proxy.url}
        path = FOLDER / f"kubeconfig-{self.name}"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def _ended(self, code: int) -> None:
        self._faults.leaders.append(time.monotonic())
        self._faults.lines.append(
            f"{time.monotonic() - self._faults.began:8.2f} reconciler {self.name} ended with exit code {code}"
        )
        if code == EXIT_LOST:
            self._faults.leases_lost += 1
        elif code not in self._wanted:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-3:])
            wanted = f"{EXIT_LOST}, or what a fault asked for"
            self._faults.findings.append(
                Finding("the reconciler ends by itself", f"reconciler {self.name}", wanted, f"exit code {code}\n{tail}")
            )
        self._wanted.clear()


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of both: pods go soon after their execution, so that this happens too."""
    return {
        **environment,
        "PATH": os.environ["PATH"],
        "OSSA_KEEP_COMPLETED_PODS": "20",
        "OSSA_KEEP_FAILED_PODS": "40",
    }
