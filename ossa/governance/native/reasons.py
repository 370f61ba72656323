"""Why the API server cannot hold a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ossa.api.policy import AgentPolicySpec, Exclude
from ossa.engine.cel.programs import Program
from ossa.governance.common import ROOTS, Scope, differences, object_shape, tree_of, with_variables
from ossa.governance.native.matching import operations
from ossa.governance.native.names import NAME_PREFIX, native_name
from ossa.governance.policies import CompiledPolicy

_NAME_MOST = 253


def reasons(policy: CompiledPolicy) -> Iterator[str]:
    """Why not, in the order of the fields."""
    spec = policy.spec
    if len(native_name(policy.name)) > _NAME_MOST:
        yield f"metadata.name: is longer than {_NAME_MOST - len(NAME_PREFIX)} characters"
    if policy.problems:
        yield f"it cannot be judged by: {policy.problems[0]}"
    elif not policy.rules:
        yield "spec.rules: there are none that the API server could hold"
    yield from _selection_reasons(spec)
    if spec.params is not None:
        yield "spec.params: the API server does not read them"
    if spec.exceptions is not None:
        yield "spec.exceptions: the API server does not know of exceptions"
    scopes = [] if "Task" in spec.match.kinds else scopes_of(policy)
    for number, (_, program) in enumerate(policy.conditions):
        where = f"spec.matchConditions[{number}].expression"
        yield from _expression_reasons(program, where, scopes)
        if any(path[0] == "variables" for path in program.references.paths):
            yield f"{where}: reads `variables`, which the API server's own conditions do not know"
    for number, program in enumerate(policy.variables.values()):
        yield from _expression_reasons(program, f"spec.variables[{number}].expression", scopes)
    for number, rule in enumerate(policy.rules):
        yield from _expression_reasons(rule.program, f"spec.rules[{number}].expression", scopes)


def scopes_of(policy: CompiledPolicy) -> list[Scope]:
    """What is known of the roots, for each kind."""
    kinds = sorted(policy.spec.match.kinds)
    return [with_variables({"object": object_shape(kind)}, policy.variables) for kind in kinds]


def _selection_reasons(spec: AgentPolicySpec) -> Iterator[str]:
    match, exclude = spec.match, spec.exclude or Exclude()
    if "Task" in match.kinds:
        yield "spec.match.kinds: a Task is no object that the API server could look at"
    if not operations(spec):
        yield "spec.match.operations: neither CREATE nor UPDATE is among them"
    for path, held in (("spec.match", match), ("spec.exclude", exclude)):
        if held.users or held.groups:
            yield f"{path}: users and groups are the operator's to look at, which knows the author behind a delegate"
        if any("*" in name for name in held.namespaces):
            yield f"{path}.namespaces: the API server does not know `*`; use a namespaceSelector or whole names"
    if exclude.namespace_selector is not None:
        yield "spec.exclude.namespaceSelector: the API server selects namespaces alone, it does not leave any out"


def _expression_reasons(program: Program, path: str, scopes: Sequence[Scope]) -> Iterator[str]:
    others = sorted({str(read[0]) for read in program.references.paths} - ROOTS)
    if others:
        yield f"{path}: reads `{others[0]}`; the API server is given `object` and `variables` alone"
        return
    if any(path == ("variables",) for path in program.references.paths):
        yield f"{path}: reads `variables` as a whole, which the API server does not have"
    found = next((one for scope in scopes for one in differences(tree_of(program), scope)), None)
    if found is not None:
        yield f"{path}: uses {found}, which the API server does not have, or takes differently"
