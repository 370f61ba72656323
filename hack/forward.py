"""A port of a Service in the cluster as a port of this machine, on every kind of cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIED = Path(__file__).with_name("tied.py")
PATIENCE = 30.0  # seconds until the port answers for the first time
PAUSE = 0.5


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[str]:
    """The address of the Service while the block runs, http://127.0.0.1:PORT.

    kubectl forwards to one pod and ends with it: it is started again for the next one. Ends the program where nothing
    answers within 30 s.
    """
    local = _free_port()
    forward = _Forward(
        ["-n", namespace, "port-forward", "--address=127.0.0.1", f"service/{service}", f"{local}:{port}"]
    )
    keeper = threading.Thread(target=forward.keep, name=f"forward-{service}")
    keeper.start()
    try:
        _until_answers(local, f"service/{service} in {namespace}", forward)
        yield f"http://127.0.0.1:{local}"
    finally:
        forward.stop()
        keeper.join()


class _Forward:
    """kubectl, started again whenever it ends."""

    def __init__(self, arguments: list[str]) -> None:
        self._command = [sys.executable, str(TIED), str(os.getpid()), "kubectl", *arguments]
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self.said = ""

    def keep(self) -> None:
        """Until `stop`. The thread that starts a child is the one that it is tied to: it has to live as long."""
        while True:
            with self._lock:
                if self._stopped.is_set():
                    return
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    start_new_session=True,  # an interrupt of the terminal is for us, and we end it in order
                )
            _, said = self._process.communicate()
            self.said = said.strip() or self.said
            self._stopped.wait(PAUSE)

    def stop(self) -> None:
        """Ends kubectl, and starts it no more."""
        with self._lock:
            self._stopped.set()
            if self._process is not None:
                self._process.terminate()


def _until_answers(port: int, what: str, forward: _Forward) -> None:
    began = time.monotonic()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError as error:
            if time.monotonic() - began > PATIENCE:
                raise SystemExit(f"{what} is not reached: {forward.said or error}") from error
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
