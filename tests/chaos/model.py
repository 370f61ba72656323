"""Pure: what each workflow of workloads.py must come to, worked out without the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos.plan import MAX_ATTEMPTS, ROUNDS

JSONObject = dict[str, Any]
# A task and the item of its forEach; 0 where it has none.
Unit = tuple[str, int]

CODE = 3  # exit code of an attempt that the plan lets fail


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one pod does."""

    seconds: float
    code: int
    output: JSONObject


def behaviour(value: Mapping[str, Any], *, attempt: int, round_: int) -> Behaviour:
    """Of a pod with this input. `attempt`: from 1 on, those that were lost not counted."""
    step = value["step"]
    fails = round_ <= step["rounds"] or attempt <= step["fail"]
    output = {"value": step["add"] + sum(value["values"]), "note": value.get("note", "")}
    return Behaviour(step["ms"] / 1000, CODE if fails else 0, output)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an Execution must come to when nobody cancels it.

    attempts: of each unit that runs in pods, how many count; None: any number. tasks: the phases of all tasks.
    after: the tasks whose runs are over before a task starts. children: units that run workflows, with their inputs.
    """

    phase: str
    outputs: JSONObject | None
    tasks: Mapping[str, str]
    attempts: Mapping[Unit, int | None]
    after: Mapping[str, Sequence[str]]
    round: int = 1
    failed_task: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[Unit, tuple[str, JSONObject]] = field(default_factory=dict)
    locks: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def expected(workflow: str, inputs: JSONObject) -> Expected:
    """Of an Execution of this workflow with these inputs."""
    return _MODELS[workflow](inputs)


def _attempts(step: JSONObject) -> int:
    return int(step["fail"]) + 1


def _chain(inputs: JSONObject) -> Expected:
    steps = inputs["steps"]
    return _completed(
        {"value": sum(steps[name]["add"] for name in "abcd")},
        {(name, 0): _attempts(steps[name]) for name in "abcd"},
        {"b": ["a"], "c": ["b"], "d": ["c"]},
    )


def _diamond(inputs: JSONObject) -> Expected:
    steps = inputs["steps"]
    add = {name: step["add"] for name, step in steps.items()}
    return _completed(
        {"value": 2 * add["first"] + add["left"] + add["right"] + add["last"]},
        {(name, 0): _attempts(step) for name, step in steps.items()},
        {"left": ["first"], "right": ["first"], "last": ["left", "right"]},
    )


def _loop(inputs: JSONObject) -> Expected:
    steps, items = inputs["steps"], inputs["items"]
    each = [item["add"] for item in items]
    return _completed(
        {"each": each, "total": steps["split"]["add"] + sum(each) + steps["join"]["add"]},
        {
            **{(name, 0): _attempts(steps[name]) for name in ("split", "join")},
            **{("each", index): _attempts(item) for index, item in enumerate(items)},
        },
        {"each": ["split"], "join": ["each", "split"]},
        more=("each",),
    )


def _tolerant(inputs: JSONObject) -> Expected:
    steps = inputs["steps"]
    repaired = steps["primary"]["fail"] > 0
    after = 1000 + steps["after"]["add"]
    mirror = steps["mirror"]["add"] if repaired else 0
    held = _completed(
        {"value": after + mirror + steps["last"]["add"], "mirror": "Completed" if repaired else "Skipped"},
        {
            ("shaky", 0): 1,
            ("primary", 0): 1,
            **{(name, 0): _attempts(steps[name]) for name in ("after", "last")},
            **({("mirror", 0): _attempts(steps["mirror"])} if repaired else {}),
        },
        {"after": ["shaky"], "mirror": ["primary"], "last": ["after", "mirror"]},
    )
    phases = {"shaky": "Failed", "primary": "Failed" if repaired else "Completed"}
    return replace(held, tasks={**held.tasks, **phases, **({} if repaired else {"mirror": "Skipped"})})


def _doomed(inputs: JSONObject) -> Expected:
    steps = inputs["steps"]
    if steps["b"]["fail"] < MAX_ATTEMPTS:
        held = _completed(
            {"value": sum(steps[name]["add"] for name in "abc")},
            {(name, 0): _attempts(steps[name]) for name in ("a", "b", "c", "tell")},
            {"b": ["a"], "c": ["b"], "tell": ["a", "b", "c"]},
        )
        return replace(held, notes={"tell": "Completed:"})
    attempts = {("a", 0): _attempts(steps["a"]), ("b", 0): MAX_ATTEMPTS, ("tell", 0): _attempts(steps["tell"])}
    return Expected(
        phase="Failed",
        outputs=None,
        tasks={"a": "Completed", "b": "Failed", "c": "Skipped", "tell": "Completed"},
        attempts=attempts,
        after={"b": ["a"], "tell": ["a", "b"]},
        failed_task="b",
        notes={"tell": "Failed:b"},
    )


def _leaf(inputs: JSONObject) -> Expected:
    step = inputs["steps"]["only"]
    return _completed({"value": step["add"]}, {("only", 0): _attempts(step)}, {})


def _nested(inputs: JSONObject) -> Expected:
    chain = sum(inputs["chain"][name]["add"] for name in "abcd")
    many = [item["add"] for item in inputs["items"]]
    step = inputs["steps"]["sum"]
    children: dict[Unit, tuple[str, JSONObject]] = {("one", 0): ("chain", {"steps": inputs["chain"]})}
    for index, item in enumerate(inputs["items"]):
        children["many", index] = ("leaf", {"steps": {"only": item}})
    return _completed(
        {"one": chain, "many": many, "sum": chain + sum(many) + step["add"]},
        {("sum", 0): _attempts(step)},
        {},
        more=("one", "many"),
        children=children,
    )


def _locked(inputs: JSONObject) -> Expected:
    step, items = inputs["steps"]["alone"], inputs["items"]
    return _completed(
        {"alone": step["add"], "shared": [item["add"] for item in items]},
        {("alone", 0): _attempts(step), **{("shared", n): _attempts(item) for n, item in enumerate(items)}},
        {},
        locks={"alone": (f"mutex-{inputs['lock']}", 1), "shared": ("semaphore", 2)},
    )


def _again(inputs: JSONObject) -> Expected:
    steps, items = inputs["steps"], inputs["items"]
    rounds = steps["b"]["rounds"]
    last = min(rounds + 1, ROUNDS)
    attempts: dict[Unit, int | None] = {("a", 0): 1, ("b", 0): last}
    # After an item that failed no other is started, or started anew: in which attempt one runs depends on the moment.
    attempts |= {("each", index): None for index in range(len(items))}
    after = {"b": ["a"], "each": ["a"], "c": ["b", "each"]}
    if rounds < ROUNDS:
        value = steps["a"]["add"] + steps["b"]["add"]
        total = value + sum(item["add"] for item in items) + steps["c"]["add"]
        held = _completed({"value": total}, {**attempts, ("c", 0): 1}, after, more=("each",))
        return replace(held, round=last)
    each = "Failed" if any(item["rounds"] for item in items) else "Completed"
    tasks = {"a": "Completed", "b": "Failed", "c": "Skipped", "each": each}
    return Expected("Failed", None, tasks, attempts, after, round=last)


def _approved(inputs: JSONObject) -> Expected:
    steps = inputs["steps"]
    return _completed(
        {"value": steps["a"]["add"] + steps["b"]["add"]},
        {(name, 0): _attempts(steps[name]) for name in "ab"},
        {"b": ["a"]},
        more=("ask",),
    )


_MODELS: Mapping[str, Callable[[JSONObject], Expected]] = {
    "chain": _chain,
    "diamond": _diamond,
    "loop": _loop,
    "tolerant": _tolerant,
    "doomed": _doomed,
    "leaf": _leaf,
    "nested": _nested,
    "locked": _locked,
    "again": _again,
    "approved": _approved,
    "scheduled": _leaf,
}


def _completed(
    outputs: JSONObject,
    attempts: Mapping[Unit, int | None],
    after: Mapping[str, Sequence[str]],
    *,
    more: Sequence[str] = (),
    children: Mapping[Unit, tuple[str, JSONObject]] | None = None,
    locks: Mapping[str, tuple[str, int]] | None = None,
) -> Expected:
    tasks = dict.fromkeys([*(task for task, _ in attempts), *more], "Completed")
    return Expected("Completed", outputs, tasks, attempts, after, children=children or {}, locks=locks or {})
