"""The language of policies: which roots an expression may read, by the kind that is judged."""

from __future__ import annotations

from collections.abc import Mapping

from ossa.api.policy import POLICY_EXPRESSION_MAX_LENGTH, JudgedKind
from ossa.engine.cel.programs import Language

_ALWAYS = frozenset({"request", "namespaceObject", "params", "variables", "now"})
_OBJECT = _ALWAYS | {"object", "oldObject"}
SCOPES: Mapping[JudgedKind, frozenset[str]] = {
    "Agent": _OBJECT,
    "Workflow": _OBJECT | {"plan"},
    "Execution": _OBJECT | {"plan"},
    "Task": _ALWAYS | {"plan", "execution", "task", "agent", "input", "output", "history"},
}
ROOTS = tuple(sorted(frozenset().union(*SCOPES.values())))
MAPS = ("request", "params", "variables", "execution", "task", "input")
TIMES = ("now",)
POLICY = Language(ROOTS, maps=MAPS, times=TIMES, most=POLICY_EXPRESSION_MAX_LENGTH)
