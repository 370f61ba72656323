"""Where the binding verdict of policies falls: at the start of an Execution, and at the start and end of each attempt.

What is denied fails with reason PolicyDenied. Each question is asked once in a turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from ossa.api.artifact import is_reference
from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_BREAK_GLASS
from ossa.api.execution import MAX_OVERRULED, MAX_STARTS, OverruledDenial
from ossa.engine.outcome import Failure
from ossa.engine.revision import CompiledRevision
from ossa.engine.rulings import NOBODY, NOTHING_SAID, Finding, Point, Ruled, Ruling, RunCase, TaskCase
from ossa.engine.start import CannotStart
from ossa.engine.turn import Turn
from ossa.engine.units import Unit
from ossa.engine.values import shorten

_OVERRULED_MESSAGE = 256


def judge_execution(turn: Turn, revision: CompiledRevision, inputs: JSONObject) -> CannotStart | None:
    """Whether the Execution may start, or go on; why not, where it may not."""
    judge = turn.snapshot.judge
    if judge is NOBODY:
        return None
    ruling = judge.execution(_run(turn, revision, inputs))
    if ruling.versions:
        key, before = turn.policies_key(ruling.versions), turn.get("judged_at_start") or []
        if before[-1:] != [key]:
            turn.set(judged_at_start=[*before, key][-MAX_STARTS:])
    denials = _binding(turn, "start", None, ruling)
    return CannotStart("PolicyDenied", _text(denials), denials[0]) if denials else None


def judge_task(
    turn: Turn, revision: CompiledRevision, unit: Unit, given: Callable[[], JSONObject]
) -> Ruling | CannotStart:
    """Whether an attempt of a unit may start now; the ruling that is to be recorded with it, where it may."""
    judge = turn.snapshot.judge
    if judge is NOBODY:
        return NOTHING_SAID
    attempt = turn.ledger.unit(unit).attempt + 1
    case = TaskCase(
        run=_run(turn, revision, turn.get("inputs") or {}),
        unit=unit,
        task=revision.tasks[unit.task],
        attempt=attempt,
        input=given,
    )
    ruling = judge.task(case)
    denials = _binding(turn, "task", unit, ruling)
    if not denials:
        return ruling
    turn.judged(unit, attempt, ruling.versions)
    return CannotStart("PolicyDenied", _text(denials), denials[0])


def judge_output(
    turn: Turn, revision: CompiledRevision, unit: Unit, output: JSONObject, given: Callable[[], JSONObject]
) -> Failure | None:
    """Whether what an attempt gave may be passed on; why not, where it may not."""
    judge = turn.snapshot.judge
    if judge is NOBODY:
        return None
    attempt = turn.ledger.unit(unit).attempt
    case = TaskCase(
        run=_run(turn, revision, turn.get("inputs") or {}),
        unit=unit,
        task=revision.tasks[unit.task],
        attempt=attempt,
        input=given,
        output=output,
    )
    ruling = judge.output(case)
    denials = _binding(turn, "output", unit, ruling)
    turn.judged(unit, attempt, ruling.versions, at_end=True)
    return Failure("PolicyDenied", f"its output: {_text(denials)}", denied_by=denials[0]) if denials else None


def given_input(turn: Turn, unit: Unit, evaluated: JSONObject) -> JSONObject:
    """What the pod of a unit was given, with the values of what went to it by reference; else what is evaluated now."""
    pod = turn.snapshot.pods.get(turn.ledger.unit(unit).pod or "")
    try:
        held = json.loads(pod.input_json) if pod is not None else None
    except ValueError:
        held = None
    if not isinstance(held, dict):
        return evaluated
    return {**held, **{key: evaluated.get(key, value) for key, value in held.items() if is_reference(value)}}


def _run(turn: Turn, revision: CompiledRevision, inputs: JSONObject) -> RunCase:
    return RunCase(
        execution=turn.snapshot.execution,
        revision=revision,
        now=turn.now,
        attempt=turn.get("attempt"),
        inputs=inputs,
        started_at=turn.get("started_at"),
        tasks=turn.tasks,
    )


def _binding(turn: Turn, at: Point, unit: Unit | None, ruling: Ruling) -> tuple[Finding, ...]:
    """The denials that bind. Tells of all that is not as policies want it."""
    if not ruling.findings:
        return ()
    denials = ruling.denials
    overruled = bool(denials) and ANNOTATION_BREAK_GLASS in turn.snapshot.execution.metadata.annotations
    if (at, unit) in turn.rulings:  # asked for a second time in one turn
        return () if overruled else denials
    turn.rulings[at, unit] = Ruled(at, unit, ruling, overruled)
    where = _where(at, unit)
    if denials and not overruled:
        turn.announce("Warning", "PolicyDenied", f"{where}: {_text(denials)}")
    for held in denials if overruled else ():
        _overrule(turn, at, unit, held)
        turn.announce("Warning", "PolicyOverruled", f"{where}: break-glass: {held.message}")
    if ruling.warnings and _is_news(turn, at, unit, ruling):
        for held in ruling.warnings:
            turn.announce("Warning", "PolicyViolation", f"{where}: {held.message}")
    return () if overruled else denials


def _is_news(turn: Turn, at: Point, unit: Unit | None, ruling: Ruling) -> bool:
    """Of a forEach the first item that a set of policies judges is told of; the log has each."""
    if unit is None or unit.index is None:
        return True
    task, key = turn.tasks[unit.task], turn.policies_key(ruling.versions)
    return key not in ((task.judged_at_end if at == "output" else task.judged_at_start) or {})


def _overrule(turn: Turn, at: Point, unit: Unit | None, denial: Finding) -> None:
    held: list[OverruledDenial] = turn.get("overruled") or []
    entry = OverruledDenial(
        policy=denial.policy,
        policy_version=denial.generation,
        at=at,
        task=unit.task if unit is not None else None,
        message=shorten(denial.message, _OVERRULED_MESSAGE),
        time=turn.now_text,
    )
    same = (entry.policy, entry.policy_version, entry.at, entry.task)
    if len(held) < MAX_OVERRULED and all((e.policy, e.policy_version, e.at, e.task) != same for e in held):
        turn.set(overruled=[*held, entry])


def _where(at: Point, unit: Unit | None) -> str:
    if unit is None:
        return "Execution"
    return f"Output of task {unit.task!r}" if at == "output" else f"Task {unit.task!r}"


def _text(denials: tuple[Finding, ...]) -> str:
    return "; ".join(held.message for held in denials)
