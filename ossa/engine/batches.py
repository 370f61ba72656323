"""Which finished pods of a large forEach are removed while it still runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ossa.api.execution import ItemsStatus, TaskStatus
from ossa.engine.snapshot import PodView
from ossa.engine.units import has_ended

# Items of a batch: their pods carry its number, and are removed by one request.
BATCH = 100
# Finished pods of items that an Execution keeps, for who wants to read their logs.
KEPT_PODS = 500


def spare_batches(tasks: Mapping[str, TaskStatus], pods: Mapping[str, PodView]) -> list[tuple[str, int]]:
    """Tasks and numbers of batches, the first ones first, whose items have all ended in `tasks`.

    `tasks` is what is written: until an output is, its pod is where it stands.
    """
    if len(pods) <= KEPT_PODS:
        return []
    held: Counter[tuple[str, int]] = Counter()
    for pod in pods.values():
        task = tasks.get(pod.task)
        if task is not None and task.items is not None and pod.phase == "Succeeded" and not pod.deleting:
            held[pod.task, pod.index // BATCH] += 1
    spare, going = held.total() - KEPT_PODS, []
    for (name, batch), count in sorted(held.items()):
        items = tasks[name].items
        if spare > 0 and items is not None and _has_ended(items, batch):
            going.append((name, batch))
            spare -= count
    return going


def _has_ended(items: ItemsStatus, batch: int) -> bool:
    first, last = batch * BATCH, min((batch + 1) * BATCH, items.total)
    return all(has_ended(items, index) for index in range(first, last))
