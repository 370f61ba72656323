"""What is wrong with the triggers of a workflow, as far as the workflow itself tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ossa.api.schema import fill_defaults, schema_problems, violations
from ossa.api.trigger import Trigger
from ossa.api.validation import inputs_problems
from ossa.api.workflow import WorkflowSpec
from ossa.engine.cron import ScheduleError, load_zone, parse_schedule
from ossa.engine.values import is_deep


def trigger_problems(spec: WorkflowSpec) -> Iterator[tuple[str, str]]:
    """Pairs of a field and what is wrong with it."""
    first: dict[str, int] = {}
    for number, trigger in enumerate(spec.triggers or ()):
        where = f"spec.triggers[{number}]"
        earlier = first.setdefault(trigger.name, number)
        if earlier != number:
            taken = f"the name {trigger.name!r} is taken by spec.triggers[{earlier}]"
            yield f"{where}.name", f"{taken}; give each trigger a name of its own"
        yield from _schedule_problems(f"{where}.timeZone", partial(load_zone, trigger.time_zone))
        yield from _schedule_problems(f"{where}.cron", partial(parse_schedule, trigger.cron, "Etc/UTC"))
        for text in _inputs_problems(spec, trigger, f"{where}.inputs"):
            field, _, message = text.partition(": ")
            yield field, message


def _schedule_problems(field: str, check: Callable[[], object]) -> Iterator[tuple[str, str]]:
    try:
        check()
    except ScheduleError as error:
        yield field, str(error)


def _inputs_problems(spec: WorkflowSpec, trigger: Trigger, where: str) -> list[str]:
    """What an Execution with these inputs would be refused for, or would fail of at once."""
    if is_deep(trigger.inputs):
        return [f"{where}: it is nested too deeply"]
    schema = spec.inputs
    if schema is None or is_deep(schema) or schema_problems(schema, "spec.inputs"):
        return inputs_problems(trigger.inputs, where)  # a broken schema is reported where it stands
    broken = violations(schema, fill_defaults(schema, trigger.inputs), name=where)
    return [*inputs_problems(trigger.inputs, where), *(f"{text}; this breaks spec.inputs" for text in broken)]
