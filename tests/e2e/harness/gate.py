"""An agent that runs until the test lets it go."""

from __future__ import annotations

from tests.e2e.harness.command import UNREACHED, Output
from tests.e2e.harness.namespace import Namespace

FILE = "/tmp/go"
# The moment at the end lets the command that made the file come back before its container ends.
WAIT = f"until [ -e {FILE} ]; do sleep 0.1; done; sleep 0.5"


async def open_gate(namespace: Namespace, pod: str) -> None:
    """Lets a pod whose script holds `WAIT` go on."""

    async def tried() -> Output | None:
        done = await namespace.kubectl("exec", pod, "--", "touch", FILE)
        return None if UNREACHED in done.err else done  # to make the file twice does no harm

    (await namespace.wait(tried, f"a command in pod {pod}", patience=30)).ok()
