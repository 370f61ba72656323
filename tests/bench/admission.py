"""How long admission takes: dry-run creates with 50 policies, in a namespace that the webhooks look at and in another;
and what policies cost by themselves (tests/bench/judging.py).

Runs against the cluster of the current kubeconfig as it is installed. Exit code 0: all thresholds are kept; 1: one is
missed; 2: it could not be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound
from ossa.kube.config import NoCluster, load_config
from tests.bench import judging, thresholds
from tests.bench.errors import BenchError
from tests.bench.judging import agent, policy

MISSED, UNMEASURED = 1, 2
FILE = Path(__file__).with_name("admission.toml")
UNSEEN = "kube-system"  # of the chart's value admission.excludedNamespaces
SEEN = "ossa-bench-"  # of the namespaces that it makes for the others
POLICIES = 50
RATE = 100.0  # requests a second, of those that are paced
CLIENTS = 200  # of those that are not


@dataclass
class Run:
    """What one load gave: seconds of each request, and what was refused."""

    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    took: float = 0.0

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered. Raises BenchError where none was."""
        held = sorted(self.seconds)
        if not held:
            raise BenchError(f"no request was answered; the last one was refused: {self.refused[-1:]}")
        return 1000 * held[min(len(held) - 1, int(share * len(held)))]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.seconds) / self.took


class Load:
    """Dry-run creates in a namespace."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self._path = f"{paths.ossa('agents', namespace)}?dryRun=All"

    async def paced(self, count: int) -> Run:
        """RATE a second, whether or not earlier ones have been answered."""
        run = Run()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                group.create_task(self._one(number, run))
        run.took = time.monotonic() - began
        return run

    async def unthrottled(self, seconds: float) -> Run:
        """CLIENTS at once, each without a pause."""
        run = Run()
        began = time.monotonic()

        async def client(number: int) -> None:
            while time.monotonic() < began + seconds:
                await self._one(number, run)

        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(number))
        run.took = time.monotonic() - began
        return run

    async def _one(self, number: int, run: Run) -> None:
        began = time.monotonic()
        try:
            await self._api.post(self._path, agent(number))
        except ApiError as error:
            run.refused.append(str(error))
            return
        run.seconds.append(time.monotonic() - began)


@asynccontextmanager
async def governed(api: ApiClient) -> AsyncIterator[str]:
    """A namespace and the policies, which end with the block."""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": SEEN}}
    namespace = (await api.post(paths.core("namespaces"), made))["metadata"]["name"]
    policies = [policy(number, {"namespaces": [namespace, UNSEEN]}) for number in range(POLICIES)]
    try:
        for item in policies:
            await api.patch(
                paths.ossa("agentpolicies", name=item["metadata"]["name"]),
                item,
                content_type="application/apply-patch+yaml",
                params={"fieldManager": "bench", "force": "true"},
            )
        await asyncio.sleep(3)  # until the replicas know of all of them
        yield namespace
    finally:
        for item in policies:
            with suppress(NotFound):
                await api.delete(paths.ossa("agentpolicies", name=item["metadata"]["name"]))
        with suppress(NotFound):
            await api.delete(paths.core("namespaces", name=namespace))


async def measure(api: ApiClient, seconds: float) -> dict[str, float]:
    """The figures. Loads without and with the webhooks take turns, so that the machine's moods hit both."""
    async with governed(api) as namespace:
        loads = {"without": Load(api, UNSEEN), "with": Load(api, namespace)}
        paced: dict[str, list[Run]] = {name: [] for name in loads}
        free: dict[str, list[Run]] = {name: [] for name in loads}
        for load in loads.values():
            await load.paced(100)  # connections and caches
        for _ in range(3):
            for name, load in loads.items():
                paced[name].append(await load.paced(int(RATE * seconds)))
        for _ in range(3):
            for name, load in loads.items():
                free[name].append(await load.unthrottled(seconds))

    def median(runs: list[Run], share: float) -> float:
        return statistics.median(run.quantile(share) for run in runs)

    every = [run for runs in (*paced.values(), *free.values()) for run in runs]
    figures = {
        **{f"{name}_p{int(share * 100)}_ms": median(paced[name], share) for name in loads for share in (0.5, 0.99)},
        **{f"{name}_per_s": statistics.median(run.rate for run in free[name]) for name in loads},
        "refused": float(sum(len(run.refused) for run in every)),
    }
    for share in (50, 99):
        figures[f"p{share}_ratio"] = figures[f"with_p{share}_ms"] / figures[f"without_p{share}_ms"]
    figures["rate_ratio"] = figures["with_per_s"] / figures["without_per_s"]
    return {name: round(value, 2) for name, value in figures.items()}


def table(figures: dict[str, float]) -> str:
    """As docs/performance.md has it."""
    rows = [
        ("at 100/s, p50", "p50_ms", " ms"),
        ("at 100/s, p99", "p99_ms", " ms"),
        (f"unthrottled, {CLIENTS} clients", "per_s", "/s"),
    ]
    lines = [f"| dry-run creates, {POLICIES} policies | without | with |", "|---|---|---|"]
    for what, key, unit in rows:
        without, those_with = (f"{figures[f'{name}_{key}']:g}{unit}" for name in ("without", "with"))
        lines.append(f"| {what} | {without} | {those_with} |")
    alone = [
        f"refused: {figures['refused']:g}",
        f"a judgement with {judging.POLICIES_HELD} more policies that are not about the object takes "
        f"{figures['not_matching_ratio']:g} times as long; four times the policies that are about it, "
        f"4 x {figures['matching_ratio']:g} times",
        f"{judging.POLICIES_HELD} policies: {figures['policies_500_mb']:g} MB more memory",
        f"a scan of {judging.SCANNED[0]:,} objects by {judging.SCANNED[1]} policies: {figures['scan_s']:g} s of a core",
    ]
    return "\n".join([*lines, "", *alone])


async def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.admission", description=__doc__)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load; default: 8")
    options = parser.parse_args()
    async with ApiClient(load_config()) as api:
        figures = await measure(api, options.seconds)
    figures |= {name: round(value, 2) for name, value in judging.measure().items()}
    print(json.dumps(figures) if options.output == "json" else table(figures))
    missed = [
        held.verdict(figures.get(held.figure))
        for held in thresholds.load(FILE.read_text())
        if not held.keeps(figures.get(held.figure))
    ]
    for line in missed:
        print(line, file=sys.stderr)
    return MISSED if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (ApiError, NoCluster, BenchError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(UNMEASURED)
