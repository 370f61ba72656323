"""Steps that run side by side as soon as what they need is done, and say what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

JOB_MARK = "OSSA_UP_JOB"  # in the environment of every child, so that the next run finds orphans of a killed one
HEARTBEAT = 20.0
TAIL = 25

_START = time.monotonic()
_print_lock = threading.Lock()


class Failure(Exception):
    """What went wrong, in one sentence for the person at the terminal."""


def say(text: str) -> None:
    with _print_lock:
        print(f"[{time.monotonic() - _START:5.0f}s] {text}", flush=True)


@dataclass
class Job:
    """One step while it runs: its log, its child processes, and a note on how it ended."""

    name: str
    log: Path
    note: str = ""
    stopped: bool = False
    _children: set[subprocess.Popen[str]] = field(default_factory=set)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        sentence: str = "",
    ) -> str:
        """Run a command, its output in the step's log; its standard output is also the answer."""
        arguments = [str(part) for part in command]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(arguments)}\n")
            log.flush()
            if self.stopped:
                raise Failure(f"{self.name} was stopped")
            child = subprocess.Popen(
                arguments,
                env={**os.environ, JOB_MARK: "1", **(env or {})},
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=cwd,
                start_new_session=True,
            )
            self._children.add(child)
            try:
                output, _ = child.communicate(stdin)
            finally:
                self._children.discard(child)
            log.write(output)
        if child.returncode != 0:
            reason = sentence or f"`{Path(arguments[0]).name} {' '.join(arguments[1:3])}` failed"
            raise Failure(f"{reason} (exit code {child.returncode})")
        return output

    def stop(self) -> None:
        self.stopped = True
        for child in list(self._children):
            try:
                os.killpg(child.pid, signal.SIGTERM)
            except ProcessLookupError:
                continue

    def tail(self) -> list[str]:
        if not self.log.is_file():
            return []
        return self.log.read_text(errors="replace").splitlines()[-TAIL:]


@dataclass(frozen=True)
class Step:
    name: str
    work: Callable[[Job], None]
    after: tuple[str, ...] = ()


class _Runner:
    def __init__(self, steps: Sequence[Step], logs: Path) -> None:
        self.waiting = {step.name: step for step in steps}
        self.logs = logs
        self.done: dict[str, float] = {}
        self.running: dict[Future[None], tuple[Job, float]] = {}
        self.failed: tuple[Job, BaseException] | None = None

    def start_ready(self, pool: ThreadPoolExecutor) -> None:
        for step in list(self.waiting.values()):
            if any(need not in self.done for need in step.after):
                continue
            del self.waiting[step.name]
            log = self.logs / f"step-{step.name.replace(' ', '-')}.log"
            log.unlink(missing_ok=True)
            job = Job(step.name, log)
            say(f"{step.name:<16} started")
            self.running[pool.submit(step.work, job)] = (job, time.monotonic())

    def collect(self, futures: set[Future[None]]) -> None:
        for future in futures:
            job, since = self.running.pop(future)
            seconds = time.monotonic() - since
            error = future.exception()
            if error is None:
                self.done[job.name] = seconds
                say(f"{job.name:<16} done {seconds:6.1f} s{'  ' + job.note if job.note else ''}")
            elif self.failed is None:
                self.failed = (job, error)
                say(f"{job.name:<16} FAILED {seconds:6.1f} s")
                self.stop()

    def stop(self) -> None:
        self.waiting.clear()
        for job, _ in self.running.values():
            job.stop()

    def heartbeat(self) -> None:
        now = time.monotonic()
        say("... " + ", ".join(f"{job.name} {now - since:.0f} s" for job, since in self.running.values()))


def run_steps(steps: Sequence[Step], logs: Path) -> dict[str, float]:
    """Run all steps in the order that their needs allow; the first failure stops the others."""
    runner = _Runner(steps, logs)
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        try:
            runner.start_ready(pool)
            while runner.running:
                finished, _ = wait(runner.running, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
                if not finished:
                    runner.heartbeat()
                runner.collect(finished)
                if runner.failed is None:
                    runner.start_ready(pool)
        except BaseException:  # a keyboard interrupt too must not leave children behind
            runner.stop()
            raise
    if runner.failed is not None:
        job, error = runner.failed
        for line in job.tail():
            print(f"    {line}")
        if not isinstance(error, Failure | OSError):
            raise error
        raise Failure(f"Step '{job.name}' failed: {error}. Its log: {job.log}")
    if runner.waiting:
        raise AssertionError(f"steps wait for what nobody does: {sorted(runner.waiting)}")
    return runner.done
