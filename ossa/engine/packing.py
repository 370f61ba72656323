"""The status as it is written: what is too large for an object of the API server lies in the artifact service.

A decision is made from the whole status, which is kept in memory. Written is a packed one:

- Outputs that are more than `INLINE_OUTPUTS` in all are moved into parts, which are artifacts of their own. A part is
  written once; the newest ones are merged now and then, so that a status names few of them however many outputs there
  are (the tiers of a log-structured merge tree: O'Neil et al., 1996).
- Where many items run in their first attempt, they are ranges of indexes. Their pods say the rest (docs/adr/0005).
- Large fields of the Execution's own outputs are references to artifacts, as they are in outputs of tasks.
- Where all that is still more than `MOST`, the tasks as a whole are one artifact, and the status shows their phases.

`unpacked` makes the whole status of a packed one. All functions are pure; controllers/archive.py stores and loads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ossa.api.base import JSONObject
from ossa.api.execution import (
    ArchivedPart,
    ArchiveStatus,
    AttemptStatus,
    ExecutionStatus,
    ItemsStatus,
    TaskStatus,
)
from ossa.engine.byreference import fields_to_move, json_size
from ossa.engine.ranges import format_ranges, parse_ranges

# Bytes of JSON. An Execution has its inputs twice besides (24 KiB each at most), and stays below 100 KiB.
INLINE_OUTPUTS = 24 * 1024
MOST = 40 * 1024
# Of the outputs of the Execution itself.
FINAL_OUTPUTS = 16 * 1024
# Parts from which on the newest are merged, and how much larger than the new one a part may be that is merged with it.
MANY_PARTS, TIER = 8, 4
# Running items from which on they are ranges.
MANY_RUNNING = 20

# Names an output: the task, and the index of the item; "" for a task that is no forEach.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """Outputs that lie in the artifact service."""

    ref: ArchivedPart
    keys: frozenset[Key]


@dataclass(frozen=True, slots=True)
class NewPart:
    """Outputs that are to be stored: `content` by task and index of the item. `kept` are the parts beside it."""

    kept: tuple[Part, ...]
    keys: frozenset[Key]
    content: JSONObject


def new_part(status: ExecutionStatus, parts: Sequence[Part]) -> NewPart | None:
    """What is to be stored before the status is written; None where there is nothing.

    Of a forEach of which something is stored already everything is.
    """
    stored = {key for part in parts for key in part.keys}
    there = _keys(status)
    fresh = [key for key in there if key not in stored]
    begun = {name for name, index in stored if index}
    size = sum(json_size(_output(status, key)) for key in fresh)
    chosen = fresh if size > INLINE_OUTPUTS else [key for key in fresh if key[0] in begun]
    if not chosen:
        return None
    kept, keys = list(parts), set(chosen)
    size = sum(json_size(_output(status, key)) for key in chosen)
    if len(kept) >= MANY_PARTS:
        while kept and kept[-1].ref.size <= TIER * size:
            merged = kept.pop()
            keys |= merged.keys
            size += merged.ref.size
    content: dict[str, JSONObject] = defaultdict(dict)
    for name, index in sorted(keys & set(there)):
        content[name][index] = _output(status, (name, index))
    return NewPart(tuple(kept), frozenset(keys), dict(content))


def packed(status: ExecutionStatus, parts: Sequence[Part]) -> ExecutionStatus:
    """The status without what the parts hold."""
    stored: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for name, index in part.keys:
            stored[name].add(index)
    tasks = {name: _packed_task(task, stored.get(name, ())) for name, task in status.tasks.items()}
    archive = ArchiveStatus(outputs=[part.ref for part in parts]) if parts else None
    return status.model_copy(update={"tasks": tasks, "archive": archive})


def large_outputs(status: ExecutionStatus) -> tuple[str, ...]:
    """Fields of the Execution's own outputs that are to be references."""
    return fields_to_move(status.outputs, FINAL_OUTPUTS) or () if status.outputs is not None else ()


def is_large(status: ExecutionStatus) -> bool:
    """Whether the tasks of a packed status do not fit beside its other fields."""
    return json_size(status.model_copy(update={"inputs": None}).to_json()) > MOST


def whole_tasks(status: ExecutionStatus) -> JSONObject:
    """The tasks of a packed status, as they are stored where they do not fit."""
    return {name: task.to_json() for name, task in status.tasks.items()}


def phases_alone(status: ExecutionStatus, ref: ArchivedPart) -> ExecutionStatus:
    """A packed status whose tasks lie in an artifact."""
    tasks = {
        name: TaskStatus(phase=task.phase, attempt=task.attempt, reason=task.reason)
        for name, task in status.tasks.items()
    }
    archive = (status.archive or ArchiveStatus()).model_copy(update={"tasks": ref})
    return status.model_copy(update={"tasks": tasks, "archive": archive})


def spread(status: ExecutionStatus) -> ExecutionStatus:
    """A status that was read, with its ranges of running items as items again."""
    if not any(task.items is not None and task.items.running for task in status.tasks.values()):
        return status
    return status.model_copy(update={"tasks": {name: _spread(task) for name, task in status.tasks.items()}})


def unpacked(status: ExecutionStatus, contents: Iterable[JSONObject], tasks: JSONObject | None) -> ExecutionStatus:
    """The whole status.

    contents: what the parts in `archive.outputs` hold. tasks: what `archive.tasks` holds, None where it is unset.
    """
    if tasks is not None:
        read = {name: TaskStatus.model_validate(value) for name, value in tasks.items()}
        status = status.model_copy(update={"tasks": read})
    held = dict(spread(status).tasks)
    for content in contents:
        for name, outputs in content.items():
            if name in held:
                held[name] = _with_outputs(held[name], outputs)
    return status.model_copy(update={"tasks": held, "archive": None})


def _keys(status: ExecutionStatus) -> list[Key]:
    found: list[Key] = []
    for name, task in status.tasks.items():
        if task.items is not None:
            found += [(name, str(index)) for index, output in enumerate(task.items.outputs) if output is not None]
        elif task.output is not None:
            found.append((name, ""))
    return found


def _output(status: ExecutionStatus, key: Key) -> JSONObject | None:
    name, index = key
    task = status.tasks[name]
    return task.items.outputs[int(index)] if index and task.items is not None else task.output


def _packed_task(task: TaskStatus, stored: Collection[str]) -> TaskStatus:
    if task.items is None:
        return task.model_copy(update={"output": None}) if stored else task
    items = task.items.model_copy(update={"outputs": []}) if stored else task.items
    fresh = {index for index, item in items.active.items() if _is_plain(item)}
    if len(fresh) > MANY_RUNNING:
        others = {index: item for index, item in items.active.items() if index not in fresh}
        items = items.model_copy(update={"active": others, "running": format_ranges(map(int, fresh))})
    return task if items is task.items else task.model_copy(update={"items": items})


def _is_plain(item: AttemptStatus) -> bool:
    """Whether a pod says all that there is to say of an attempt."""
    return item.phase == "Running" and item.attempt == 1 and item.lost == 0 and item.earlier == 0


def _spread(task: TaskStatus) -> TaskStatus:
    if task.items is None or not task.items.running:
        return task
    running = {str(index): AttemptStatus(phase="Running", attempt=1) for index in parse_ranges(task.items.running)}
    items = task.items.model_copy(update={"active": {**running, **task.items.active}, "running": ""})
    return task.model_copy(update={"items": items})


def _with_outputs(task: TaskStatus, outputs: Mapping[str, JSONObject]) -> TaskStatus:
    if task.items is None:
        return task.model_copy(update={"output": outputs.get("", task.output)})
    return task.model_copy(update={"items": _with_item_outputs(task, task.items, outputs)})


def _with_item_outputs(task: TaskStatus, items: ItemsStatus, outputs: Mapping[str, JSONObject]) -> ItemsStatus:
    size = items.total if task.phase == "Completed" else max((int(index) + 1 for index in outputs), default=0)
    held = items.outputs + [None] * (size - len(items.outputs))
    for index, output in outputs.items():
        held[int(index)] = output
    return items.model_copy(update={"outputs": held})
