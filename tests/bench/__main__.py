"""How fast the engine is, against the ceiling of the cluster that it runs on.

Runs the reconciler of the checkout, in place of the one in the cluster of `make up`, on pods that a fake node ends at
once. Exit code 0: all thresholds are kept; 1: one is missed; 2: it could not be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from ossa.kube.client import ApiError
from ossa.kube.config import NoCluster
from tests.bench import plot, report, thresholds
from tests.bench.cluster import GATEWAY, MONITOR, cluster
from tests.bench.errors import BenchError
from tests.bench.figures import Figures
from tests.bench.processes import REPO
from tests.bench.progress import say
from tests.bench.reconciler import ReconcilerError, environment
from tests.bench.run import CEILING, Options, ceiling, engine
from tests.bench.scenarios import SCENARIOS, Scenario, chosen

MISSED, UNMEASURED = 1, 2
QUIET = 0.2  # kubelet, containerd and the kernel take some


def arguments() -> argparse.Namespace:
    """The command line."""
    names = "\n".join(f"  {held.name:<14} {held.about}" for held in SCENARIOS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog=f"scenarios:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAMES", help="these scenarios, separated by commas"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--thresholds", type=Path, default=thresholds.FILE, help="default: thresholds.toml beside it")
    parser.add_argument("--ceiling", type=float, metavar="PODS_PER_S", help="taken as given, not measured")
    parser.add_argument(
        "--no-scheduler",
        action="store_true",
        help="pods name the fake node themselves, also those of the ceiling, and pass by the scheduler",
    )
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="folded stacks of the reconciler, by py-spy")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table of docs/performance.md there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot there, e.g. bench.png")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    return parser.parse_args()


def end_on_sigterm() -> None:
    """SIGTERM takes everything back as Ctrl-C does."""
    task = asyncio.current_task()

    def end() -> None:
        say("SIGTERM: ending")
        if task is not None:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)


async def measured(scenarios: tuple[Scenario, ...], options: Options, given: float | None) -> dict[str, Figures]:
    """The figures of the ceiling and of each scenario."""
    end_on_sigterm()
    found: dict[str, Figures] = {}
    with environment() as (settings, token):
        # They watch the same Executions, on the same cores, and the engine does not need them.
        async with cluster(settings, token, without=(GATEWAY, MONITOR)) as held:
            found[CEILING] = {"tasks_per_s": given} if given is not None else await ceiling(held, options)
            say(f"ceiling: {found[CEILING]['tasks_per_s']:g} pods/s")
            for scenario in scenarios:
                found[scenario.name] = await engine(held, scenario, options, found[CEILING])
                figures = found[scenario.name]
                say(f"{scenario.name}: {figures['tasks_per_s']:g} tasks/s, {figures['ceiling_ratio']:g} of the ceiling")
    if disturbed := [name for name, figures in found.items() if figures.get("other_share", 0.0) > QUIET]:
        say(f"other programs took over {QUIET:.0%} of the CPU used in {', '.join(disturbed)}: no fair figures")
    return found


def main() -> int:
    """The exit code."""
    asked = arguments()
    if asked.list:
        print("\n".join(held.name for held in SCENARIOS))
        return 0
    os.environ["KUBECONFIG"] = str(REPO / ".dev" / "kubeconfig")
    os.environ["PATH"] = f"{REPO / '.dev' / 'bin'}{os.pathsep}{REPO / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        scenarios = chosen([name for names in asked.only for name in names.split(",") if name])
        bounds = thresholds.load(asked.thresholds.read_text())
        options = Options(scheduler=not asked.no_scheduler, profile=asked.profile)
        found = asyncio.run(measured(scenarios, options, asked.ceiling))
    except (BenchError, ReconcilerError, NoCluster, ApiError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return UNMEASURED
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: interrupted", file=sys.stderr)
        return 130
    return _tell(asked, found, bounds)


def _tell(asked: argparse.Namespace, found: dict[str, Figures], bounds: list[thresholds.Threshold]) -> int:
    kept, missed = thresholds.check(bounds, found)
    if asked.output == "json":
        verdicts = [held.verdict(found[held.scenario].get(held.figure)) for held in missed]
        print(json.dumps({"figures": found, "kept": len(kept), "missed": verdicts}, indent=1))
    else:
        print(report.as_text(found))
    if asked.markdown:
        asked.markdown.write_text(report.as_markdown(found))
    if asked.plot:
        plot.write(asked.plot, found, ceiling=CEILING)
    for held in missed:
        print(f"missed: {held.verdict(found[held.scenario].get(held.figure))}", file=sys.stderr)
    say(f"{len(kept)} thresholds kept, {len(missed)} missed")
    return MISSED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
