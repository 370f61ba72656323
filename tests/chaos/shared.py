"""Pure: rules about what Executions share: epochs, locks, the pods that are left, and schedules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from ossa.api.contract import ANNOTATION_SCHEDULED_AT, LABEL_TRIGGER
from ossa.engine.clock import from_text
from ossa.kube.pods import identity_of
from tests.chaos.records import Evidence, ExecutionSeen, Finding, Run
from tests.chaos.workloads import TRIGGERS

MUTEX, SEMAPHORE = 1, 2


def check(evidence: Evidence) -> list[Finding]:
    """All of them."""
    return [*_epochs(evidence), *_locks(evidence), *_left(evidence), *_schedules(evidence)]


def _epochs(evidence: Evidence) -> Iterator[Finding]:
    """No pod of an older leader comes after one of a newer."""
    dated = [(pod.created, pod) for pod in evidence.pods.values() if pod.created is not None]
    newest = 0
    for version, pod in sorted(dated, key=lambda pair: pair[0]):
        if pod.epoch < newest:
            text = f"epoch {pod.epoch}, at resourceVersion {version}"
            yield Finding("a pod of an old leader", pod.name, f"an epoch of at least {newest}", text)
        newest = max(newest, pod.epoch)


def over_at(run: Run, evidence: Evidence) -> float:
    """When a run was over: one whose pod was taken away by force counts no longer from then on."""
    ended = run.ended if run.ended is not None else float("inf")
    return min(ended, evidence.faults.pods[run.uid]) if run.uid in evidence.faults.forced else ended


def _locks(evidence: Evidence) -> Iterator[Finding]:
    """A lock has no more holders at once than its limit."""
    holders: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(evidence.runs, key=lambda run: run.started):
        for name in run.locks:
            holders[name].append(run)
    for name, runs in holders.items():
        limit = SEMAPHORE if name == "semaphore" else MUTEX
        for number, run in enumerate(runs):
            held = [other for other in runs[:number] if over_at(other, evidence) > run.started]
            if len(held) >= limit:
                told = ", ".join(f"{other.pod} until {_ended(other)}" for other in held)
                text = f"{run.pod} from {run.started:.2f} beside {told}"
                yield Finding("a lock is held twice", name, f"at most {limit} at once", text, run.started)


def _ended(run: Run) -> str:
    return f"{run.ended:.2f} ({run.outcome})" if run.ended is not None else "the end"


def _left(evidence: Evidence) -> Iterator[Finding]:
    """Nothing runs any more when all have ended."""
    for item in evidence.left:
        phase = (item.get("status") or {}).get("phase", "Pending")
        identity = identity_of(item)
        if identity is not None and phase not in ("Succeeded", "Failed"):
            yield Finding("a pod is left", item["metadata"]["name"], "it has ended, or is gone", f"it is {phase}")


def _schedules(evidence: Evidence) -> Iterator[Finding]:
    """Each scheduled minute is run once, none between two others is left out, and Forbid never overlaps."""
    for trigger, policy in TRIGGERS.items():
        made: dict[str, list[ExecutionSeen]] = defaultdict(list)
        for held in evidence.executions.values():
            if (held.item["metadata"].get("labels") or {}).get(LABEL_TRIGGER) == trigger:
                made[held.item["metadata"]["annotations"][ANNOTATION_SCHEDULED_AT]].append(held)
        for time, runs in made.items():
            if len(runs) > 1:
                text = ", ".join(held.uid for held in runs)
                yield Finding("a schedule fired twice", f"{trigger} {time}", "one Execution", text)
        for before, after in pairwise(sorted(map(from_text, made))):
            if after - before != timedelta(minutes=1):
                text = f"nothing between {before:%H:%M} and {after:%H:%M}"
                yield Finding("a schedule left something out", trigger, "each minute", text)
        if policy == "Forbid":
            yield from _overlaps(trigger, [runs[0] for _, runs in sorted(made.items())])


def _overlaps(trigger: str, runs: list[ExecutionSeen]) -> Iterator[Finding]:
    for before, after in pairwise(runs):
        phase, _, version = before.phases[-1]
        if after.created is not None and before.finished and version > after.created:
            text = f"{after.name} made at {after.created}, {before.name} {phase} at {version}"
            yield Finding("a schedule overlaps", trigger, "Forbid: one after the other", text)
