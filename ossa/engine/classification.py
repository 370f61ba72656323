"""How confidential the data is that an Execution gives."""

from __future__ import annotations

from collections.abc import Iterable

from ossa.api.agent import CLASSIFICATIONS, Classification
from ossa.engine.revision import CompiledRevision


def highest(held: Iterable[Classification | None]) -> Classification | None:
    """The most confidential; None where nothing is classified."""
    return max((one for one in held if one is not None), key=CLASSIFICATIONS.index, default=None)


def classification_of(revision: CompiledRevision) -> Classification | None:
    """Of the data of all agents of a revision."""
    data = (agent.spec.data for agent in revision.revision.agents.values())
    return highest(held.classification for held in data if held is not None)
