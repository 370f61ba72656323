"""Runs executions while all that they stand on fails at random moments, and checks what became of them.

Runs two reconcilers of the checkout, in place of those in the cluster of `make up`, each behind a proxy that answers
wrongly, on pods that two fake nodes play. The same seed gives the same plan of load and faults; the moments at which
they meet differ. Exit code 0: nothing was found; 1: something was; 2: it could not run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys

from ossa.engine.clock import parse_duration
from ossa.kube.client import ApiError
from ossa.kube.config import NoCluster
from tests.bench.__main__ import end_on_sigterm
from tests.bench.errors import BenchError
from tests.bench.processes import REPO
from tests.bench.progress import say
from tests.bench.reconciler import ReconcilerError
from tests.chaos import report
from tests.chaos.answers import QUIET, Rates
from tests.chaos.checker import check
from tests.chaos.plan import FAULTS, NODE_FAULTS
from tests.chaos.records import Evidence
from tests.chaos.replicas import FOLDER
from tests.chaos.run import Options, run

FOUND, NOT_RUN = 1, 2
ANSWERS = "answers"


def seconds_of(text: str) -> float:
    """10m, 90s. Raises argparse.ArgumentTypeError."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def arguments() -> argparse.Namespace:
    """The command line."""
    kinds = [*FAULTS, *NODE_FAULTS, ANSWERS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=f"faults: {', '.join(kinds)} ({ANSWERS}: all that the proxies do by chance)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--duration", type=seconds_of, default=seconds_of("10m"), help="of the faults; default: 10m")
    parser.add_argument("--seed", type=int, help="default: any, and it is told")
    parser.add_argument("--without", action="append", default=[], metavar="FAULT", choices=kinds, help="leave one out")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", choices=kinds, help="no others")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    return parser.parse_args()


def options_of(asked: argparse.Namespace) -> Options:
    """What was asked for."""
    without = set(asked.without)
    if asked.only:
        without |= {*FAULTS, *NODE_FAULTS, ANSWERS} - set(asked.only)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    rates = QUIET if ANSWERS in without else Rates()
    return Options(seed=seed, seconds=asked.duration, without=frozenset(without), rates=rates)


async def measured(options: Options) -> tuple[Evidence, float]:
    """The run."""
    end_on_sigterm()
    return await run(options)


def main() -> int:
    """The exit code."""
    asked = arguments()
    options = options_of(asked)
    os.environ["KUBECONFIG"] = str(REPO / ".dev" / "kubeconfig")
    os.environ["PATH"] = f"{REPO / '.dev' / 'bin'}{os.pathsep}{REPO / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        evidence, seconds = asyncio.run(measured(options))
    except (BenchError, ReconcilerError, NoCluster, ApiError, OSError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return NOT_RUN
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("chaos: interrupted", file=sys.stderr)
        return 130
    return _tell(asked.output, options, evidence, seconds)


def _tell(form: str, options: Options, evidence: Evidence, seconds: float) -> int:
    findings = check(evidence)
    told = report.summary(evidence, findings, seed=options.seed, seconds=seconds)
    (FOLDER / "faults.log").write_text("\n".join(evidence.faults.lines) + "\n")
    (FOLDER / "report.json").write_text(json.dumps(told, indent=1))
    print(json.dumps(told, indent=1) if form == "json" else report.as_text(told))
    say(f"logs of the reconcilers, each fault and its time: {FOLDER}")
    return FOUND if findings else 0


if __name__ == "__main__":
    sys.exit(main())
