"""Pure: what is wrong with what was seen. Rules about one Execution are here, those about several in shared.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ossa.api.contract import ANNOTATION_IDENTITY
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube.pods import identity_of
from tests.chaos import shared
from tests.chaos.model import Expected, Unit, expected
from tests.chaos.records import Evidence, ExecutionSeen, Finding, Run

JSONObject = dict[str, Any]


def check(evidence: Evidence) -> list[Finding]:
    """All findings, those of one Execution together."""
    found = list(evidence.faults.findings)
    seen = {held.name for held in evidence.executions.values()}
    found += [
        Finding("an Execution vanished", name, "it is there until somebody deletes it", "it was never seen")
        for name in evidence.launched
        if name not in seen
    ]
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(evidence.runs, key=lambda run: run.started):
        runs[run.execution_uid].append(run)
    for held in evidence.executions.values():
        found += _Look(evidence, held, runs[held.uid]).findings()
    return found + shared.check(evidence)


def is_cancelled(evidence: Evidence, held: ExecutionSeen) -> bool:
    """Whether somebody cancelled it, or what it is a child of."""
    if held.name in evidence.faults.cancelled:
        return True
    owners = {owner["uid"] for owner in held.item["metadata"].get("ownerReferences") or []}
    return any(uid in owners and is_cancelled(evidence, above) for uid, above in evidence.executions.items())


class _Look:
    """One Execution, and the rules that it is to keep."""

    def __init__(self, evidence: Evidence, held: ExecutionSeen, runs: Sequence[Run]) -> None:
        self._evidence = evidence
        self._held = held
        self._runs = runs
        spec = held.item["spec"]
        self._want: Expected = expected(spec["workflow"], spec.get("inputs") or {})
        self._asked_to_end = is_cancelled(evidence, held)
        error, attempt = held.status.get("error") or {}, held.status.get("attempt", 1)
        # One that had just failed by itself is not tried again.
        self._cancelled = self._asked_to_end and (error.get("reason") == "Cancelled" or attempt < self._want.round)

    def findings(self) -> Iterator[Finding]:
        """All rules."""
        if self._held.gone:
            yield self._finding("an Execution vanished", "it is there until somebody deletes it", "it is gone")
            return
        if not self._held.finished:
            status = self._held.status
            at = f"{status.get('phase')} {status.get('progress')}: {status.get('message')}"
            yield self._finding("an Execution does not end", "it ends", at)
            return
        yield from self._phases()
        yield from self._once()
        yield from self._lost()
        if self._cancelled:
            yield from self._cancelled_well()
            return
        yield from self._result()
        yield from self._attempts()
        yield from self._order()
        yield from self._children()

    # --- rules ----------------------------------------------------------------------------------------------

    def _phases(self) -> Iterator[Finding]:
        """Terminal is terminal."""
        phases = [phase for phase, _, _ in self._held.phases]
        ended = next((n for n, phase in enumerate(phases) if phase in EXECUTION_TERMINAL), len(phases))
        if phases[ended + 1 :]:
            yield self._finding("an Execution goes on after its end", phases[ended], " -> ".join(phases))

    def _result(self) -> Iterator[Finding]:
        want, status = self._want, self._held.status
        yield from self._compare("phase", want.phase, status.get("phase"))
        yield from self._compare("outputs", want.outputs, status.get("outputs"))
        tasks = status.get("tasks") or {}
        yield from self._compare("tasks", dict(want.tasks), {name: task["phase"] for name, task in tasks.items()})
        yield from self._compare("attempt", want.round, status.get("attempt", 1))
        yield from self._compare("error.task", want.failed_task, self._failed_task())
        for name, note in want.notes.items():
            found = ((tasks.get(name) or {}).get("output") or {}).get("note")
            yield from self._compare(f"what {name} was told", note, found)

    def _failed_task(self) -> str | None:
        error = self._held.status.get("error") or {}
        return error.get("task") if self._want.failed_task is not None else None

    def _cancelled_well(self) -> Iterator[Finding]:
        status = self._held.status
        yield from self._compare("phase", "Failed", status.get("phase"))
        final = [name for name in self._want.notes if status.get("tasks")]
        for name in final:
            task = status["tasks"][name]
            said = f"{task['phase']} {(task.get('output') or {}).get('note', '')}"
            if task["phase"] != "Completed" or not said.startswith("Completed Failed:"):
                yield self._finding("`finally` after a cancellation", "Completed Failed:…", f"{name}: {said}")

    def _once(self) -> Iterator[Finding]:
        """Each attempt that counts ran once, but where its pod was taken away."""
        by_attempt: dict[tuple[Unit, tuple[int, int]], list[Run]] = defaultdict(list)
        for run in self._runs:
            by_attempt[(run.task, run.index), run.counted].append(run)
        for (unit, _), runs in by_attempt.items():
            sure = [n for n, run in enumerate(runs) if run.uid not in self._evidence.faults.pods]
            if len(runs) > 1 and sure and sure[0] != len(runs) - 1:
                told = "; ".join(
                    f"{run.pod} ({run.outcome}, epoch {run.epoch}, "
                    f"{'taken away' if run.uid in self._evidence.faults.pods else 'left alone'})"
                    for run in runs
                )
                where = f"{self._held.name} {unit[0]}[{unit[1]}]"
                at = runs[sure[0] + 1].started
                yield Finding("a task ran twice", where, "once, since nobody took its pod away", told, at)

    def _attempts(self) -> Iterator[Finding]:
        """As many attempts as the plan lets fail, and one more."""
        made: dict[Unit, set[tuple[int, int]]] = defaultdict(set)
        for run in self._runs:
            made[run.task, run.index].add(run.counted)
        for unit, want in self._want.attempts.items():
            if want is not None and len(made[unit]) != want:
                yield self._finding("number of attempts", f"{unit[0]}[{unit[1]}]: {want}", f"{sorted(made[unit])}")
        for unit in made.keys() - self._want.attempts.keys():
            yield self._finding("a task that must not run", "no run", f"{unit[0]}[{unit[1]}] ran")

    def _lost(self) -> Iterator[Finding]:
        """Attempts are lost where pods were taken away, creations were answered wrongly or a reconciler died."""
        faults, name = self._evidence.faults, self._held.name
        first, last = self._held.first_seen, self._held.phases[-1][1]
        deaths = sum(first <= at <= last + 1 for at in faults.leaders)
        for task, status in (self._held.status.get("tasks") or {}).items():
            lost = status.get("lost", 0)
            taken = sum(run.task == task and run.uid in faults.pods for run in self._runs)
            unsure = sum(count for pod, count in faults.posts.items() if pod.startswith(f"{name}-{task}-"))
            never_ran = sum(
                pod.execution_uid == self._held.uid and pod.uid in faults.pods and f"-{task}-" in pod.name
                for pod in self._evidence.pods.values()
            )
            if lost > max(taken, never_ran) + unsure + deaths:
                text = f"{task}: {lost} lost, {max(taken, never_ran)} taken away, {unsure} unsure, {deaths} deaths"
                yield self._finding("attempts lost without a reason", "each has one", text)

    def _order(self) -> Iterator[Finding]:
        """No task starts before those that it depends on are over."""
        faults = self._evidence.faults
        for run in self._runs:
            for parent in self._want.after.get(run.task, ()):
                before = [r for r in self._runs if r.task == parent and r.round <= run.round]
                for held in before:
                    if held.uid in faults.pods or (held.ended is not None and held.ended <= run.started):
                        continue
                    if any(self._was_over(first, held, run.started) for first in before):
                        continue
                    text = f"{run.pod} started while {held.pod} of {parent!r} ran"
                    yield Finding("order of tasks", self._held.name, f"{run.task} after {parent}", text, run.started)

    def _was_over(self, first: Run, again: Run, moment: float) -> bool:
        """Whether an attempt had ended by then, and runs again since its pod was taken before that was recorded."""
        same = (first.index, first.counted) == (again.index, again.counted) and first.uid in self._evidence.faults.pods
        return same and first.ended is not None and first.ended <= moment

    def _children(self) -> Iterator[Finding]:
        """One child for each task that runs a workflow, with the inputs that it was given."""
        made: dict[Unit, list[JSONObject]] = defaultdict(list)
        for held in self._evidence.executions.values():
            if ANNOTATION_IDENTITY in (held.item["metadata"].get("annotations") or {}):
                identity = identity_of(held.item)
                if identity is not None and identity.uid == self._held.uid:
                    made[identity.task, identity.index].append(held.item["spec"])
        want: Mapping[Unit, tuple[str, JSONObject]] = self._want.children
        found = {unit: [(spec["workflow"], spec.get("inputs")) for spec in specs] for unit, specs in made.items()}
        yield from self._compare("children", {unit: [given] for unit, given in want.items()}, found)

    def _compare(self, what: str, want: object, found: object) -> Iterator[Finding]:
        if want != found:
            error = self._held.status.get("error")
            more = f" (error: {error})" if error else ""
            yield self._finding(f"result: {what}", f"{want}", f"{found}{more}")

    def _finding(self, rule: str, want: str, found: str) -> Finding:
        return Finding(rule, self._held.name, want, found, self._held.phases[-1][1] if self._held.phases else None)
