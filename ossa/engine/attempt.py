"""One attempt of a task, as it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ossa.api.agent import Capability
from ossa.api.artifact import ArtifactRef
from ossa.engine.revision import AgentSnapshot, CompiledTask
from ossa.engine.snapshot import Outage, PodView


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task, its pod, and what is needed to judge it."""

    task: CompiledTask
    pod: PodView
    started_at: datetime
    outages: tuple[Outage, ...]
    issued: Callable[[ArtifactRef, str], bool]
    whole_input: Callable[[], object] = dict  # its input with the values that went to the pod by reference

    @property
    def agent(self) -> AgentSnapshot:
        """Who does it."""
        return self.task.worker[0]

    @property
    def capability(self) -> Capability:
        """What is done."""
        return self.task.worker[1]
