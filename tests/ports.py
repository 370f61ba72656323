"""Ports for servers that are told theirs, and start a while later."""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Final

HOST: Final = "127.0.0.1"
# Below those that the kernel gives to whoever asks for any one (ip_local_port_range): it would give what was found free
# to somebody else before the server is up. Below NodePorts, too. Processes of pytest-xdist have ranges of their own.
FIRST, EACH, PROCESSES = 20_000, 1_200, 8
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
_tries = count(os.getpid())


def free_port() -> int:
    """A port of HOST that nobody listens on now, and that comes once: the next one is another."""
    for _ in range(EACH):
        port = FIRST + _worker * EACH + next(_tries) % EACH
        with socket.socket() as held:
            try:
                held.bind((HOST, port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no port is free among {EACH} from {FIRST + _worker * EACH} on")
