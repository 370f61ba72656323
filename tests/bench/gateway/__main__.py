"""The figures of the gateway, the bus and the records, on real servers of this machine.

The gateway's own process asks the cluster of the current kubeconfig; PostgreSQL and Redis are started beside it. `path`
takes the installation in that cluster as it is. Exit code 0: all thresholds are kept; 1: one is missed; 2: it could not
be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from ossa.kube.client import ApiError
from ossa.kube.config import NoCluster
from tests.bench import thresholds
from tests.bench.errors import BenchError
from tests.bench.gateway import events, orchestrate, path, sockets
from tests.bench.gateway.running import GatewayError
from tests.bench.processes import REPO
from tests.bench.progress import say

MISSED, UNMEASURED = 1, 2
FILE = Path(__file__).with_name("gateway.toml")
Figures = dict[str, dict[str, float]]


async def _sockets() -> Figures:
    return {"sockets": await sockets.run()}


async def _events() -> Figures:
    return {"events": await events.run()}


SUBJECTS: dict[str, tuple[str, Callable[[], Awaitable[Figures]]]] = {
    "orchestrate": ("requests of the gateway against those of the API server and of a bare route", orchestrate.run),
    "sockets": ("how soon a change is at a client, alone and beside 10,000 idle ones", _sockets),
    "events": ("100,000 events through the processors, and how far the records are behind", _events),
    "path": (
        "how soon a status is at a client, and in PostgreSQL, of the gateway and monitor in the cluster",
        path.run,
    ),
}


def table(figures: Figures) -> str:
    """One line a figure."""
    rows = [(scenario, name, value) for scenario, held in figures.items() for name, value in held.items()]
    wide = max(len(name) for _, name, _ in rows)
    return "\n".join(f"{scenario:<22}{name:<{wide}}  {value:>12,.2f}" for scenario, name, value in rows)


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gateway", description=__doc__)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--only", choices=tuple(SUBJECTS), action="append", help="may be given more than once")
    options = parser.parse_args()
    os.environ["PATH"] = f"{REPO / '.dev' / 'bin'}{os.pathsep}{os.environ['PATH']}"  # kubectl
    figures: Figures = {}
    chosen = options.only or list(SUBJECTS)
    for name in chosen:
        about, run = SUBJECTS[name]
        say(f"{name}: {about}")
        figures |= await run()
    print(json.dumps(figures) if options.output == "json" else table(figures))
    held = [one for one in thresholds.load(FILE.read_text()) if one.scenario in figures]
    missed = [
        one.verdict(figures[one.scenario].get(one.figure))
        for one in held
        if not one.keeps(figures[one.scenario].get(one.figure))
    ]
    for line in missed:
        print(line, file=sys.stderr)
    say(f"{len(held) - len(missed)} thresholds kept, {len(missed)} missed")
    return MISSED if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (ApiError, BenchError, NoCluster, GatewayError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(UNMEASURED)
