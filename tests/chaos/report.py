"""What is told at the end: the faults by kind, what ran meanwhile, and the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from tests.chaos.records import Evidence, Finding

JSONObject = dict[str, Any]
SHOWN = 40  # findings that are written out
# Of the first findings also what was done to the cluster before, in so many seconds: the logs may be gone by then.
EXPLAINED, BEFORE = 3, 25.0


def summary(evidence: Evidence, findings: list[Finding], *, seed: int, seconds: float) -> JSONObject:
    """Everything as JSON. `at` of a finding: seconds after the faults began."""
    faults, executions = evidence.faults, list(evidence.executions.values())
    outcomes = Counter(run.outcome for run in evidence.runs)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "faults": dict(sorted(faults.injected.items())),
        "faultsInAll": faults.injected.total(),
        "leftOut": dict(faults.left_out),
        "executions": len(executions),
        "ended": dict(Counter(held.status.get("phase", "Pending") for held in executions)),
        "cancelled": len(faults.cancelled),
        "tasks": len({(run.execution_uid, run.task, run.index) for run in evidence.runs}),
        "podsRun": len(evidence.runs),
        "podsRunBy": dict(outcomes),
        "podsTakenAway": len(faults.pods),
        "epochs": len({pod.epoch for pod in evidence.pods.values()}),
        "leasesLost": faults.leases_lost,
        "longestWithoutLeader": round(max((b - a for a, b in pairwise(faults.renewals)), default=0.0), 1),
        "before": [
            _before(faults.lines, held.at - faults.began) for held in findings[:EXPLAINED] if held.at is not None
        ],
        "findings": [
            {**asdict(held), "at": round(held.at - faults.began, 2) if held.at is not None else None}
            for held in findings
        ],
    }


def _before(lines: Sequence[str], at: float) -> list[str]:
    """The faults in the seconds before a moment: each line begins with the time at which it was over."""
    return [line for line in lines if at - BEFORE <= float(line.split(maxsplit=1)[0]) <= at + 1]


def as_text(told: JSONObject) -> str:
    """For people."""
    lines = [f"seed {told['seed']}, {told['seconds']:.0f} s", "", f"{'faults injected':<36}{told['faultsInAll']:>8}"]
    lines += [f"  {kind:<34}{count:>8}" for kind, count in told["faults"].items()]
    lines += [f"  left out: {kind}: {why}" for kind, why in told["leftOut"].items()]
    ended = ", ".join(f"{count} {phase}" for phase, count in sorted(told["ended"].items()))
    by = ", ".join(f"{count} {outcome}" for outcome, count in sorted(told["podsRunBy"].items()))
    lines += [
        "",
        f"{'executions':<36}{told['executions']:>8}  ({ended}; {told['cancelled']} were told to end)",
        f"{'tasks that ran':<36}{told['tasks']:>8}",
        f"{'pods that ran':<36}{told['podsRun']:>8}  ({by}; {told['podsTakenAway']} were taken away)",
        f"{'leaders whose pods ran':<36}{told['epochs']:>8}  ({told['leasesLost']} reconcilers lost the Lease)",
        f"{'longest without a renewal, s':<36}{told['longestWithoutLeader']:>8}",
        f"{'findings':<36}{len(told['findings']):>8}",
    ]
    for held in told["findings"][:SHOWN]:
        at = f" at {held['at']:.1f} s" if held["at"] is not None else ""
        lines += ["", f"{held['rule']}: {held['where']}{at}"]
        lines += [f"  expected: {held['expected']}", f"  found:    {held['found']}"]
    for number, happened in enumerate(told["before"], start=1):
        lines += ["", f"what happened in the {BEFORE:.0f} s before finding {number}:", *happened]
    if len(told["findings"]) > SHOWN:
        lines += ["", f"and {len(told['findings']) - SHOWN} more: -o json has all of them"]
    return "\n".join(lines)
