"""A policy, compiled: made once for each generation, read by every judgement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ossa.api.base import Timestamp
from ossa.api.policy import DEFAULT_OPERATIONS, POLICY_LIMIT, AgentPolicy, AgentPolicySpec, NamedExpression, Rule
from ossa.engine.cel.programs import CompileError, Program, compile_program
from ossa.engine.values import shorten
from ossa.governance.language import POLICY, SCOPES


class InvalidPolicyError(ValueError):
    """A policy that cannot be judged by; `problems` has one text a field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule. `label` is its name, or rules[N]."""

    label: str
    program: Program
    message: str
    message_program: Program | None


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """One generation of a policy. `reads` are the roots that any of its expressions reads.

    problems: why it cannot be judged by. Whatever it is about then has the outcome `error`, which follows its
        failurePolicy: a policy that enforces does not vanish because it came past the webhook.
    """

    name: str
    uid: str
    generation: int
    created_at: Timestamp
    spec: AgentPolicySpec
    conditions: tuple[tuple[str, Program], ...]
    variables: Mapping[str, Program]
    rules: tuple[CompiledRule, ...]
    reads: frozenset[str] = field(repr=False)
    problems: tuple[str, ...] = ()

    @property
    def judges(self) -> bool:
        """Whether it has rules, whatever becomes of them: one of defaults alone has none."""
        return bool(self.spec.rules)

    @property
    def version(self) -> str:
        """high-risk-needs-approval@3: the name and the generation, by which a record says what judged."""
        return f"{self.name}@{self.generation}"


def compile_policy(policy: AgentPolicy) -> CompiledPolicy:
    """Compiles all expressions. Raises InvalidPolicyError with all that is wrong, each with its field and position."""
    spec, problems = policy.spec, list(_size_problems(policy.spec))
    compiler = _Compiler(spec, problems)
    conditions = tuple(compiler.named(spec.match_conditions, "spec.matchConditions"))
    variables = dict(compiler.named(spec.variables, "spec.variables", each_may_read_before=True))
    rules = tuple(compiler.rules(spec.rules))
    if problems:
        raise InvalidPolicyError(problems)
    held = policy.metadata
    return CompiledPolicy(
        name=held.name,
        uid=held.uid,
        generation=held.generation,
        created_at=held.creation_timestamp,
        spec=spec,
        conditions=conditions,
        variables=variables,
        rules=rules,
        reads=frozenset(compiler.reads),
    )


def broken_policy(policy: AgentPolicy, problems: Sequence[str]) -> CompiledPolicy:
    """Stands for a generation that cannot be judged by."""
    held = policy.metadata
    return CompiledPolicy(
        name=held.name,
        uid=held.uid,
        generation=held.generation,
        created_at=held.creation_timestamp,
        spec=policy.spec,
        conditions=(),
        variables={},
        rules=(),
        reads=frozenset(),
        problems=tuple(problems),
    )


def sees_metadata(policy: CompiledPolicy) -> bool:
    """Whether a change of an object's metadata alone may change what it says."""
    selections = (policy.spec.match, policy.spec.exclude)
    if any(held is not None and held.object_selector is not None for held in selections):
        return True
    says = (rule.message_program for rule in policy.rules)
    programs = (
        *(program for _, program in policy.conditions),
        *policy.variables.values(),
        *(rule.program for rule in policy.rules),
        *(program for program in says if program is not None),
    )
    paths = (path for program in programs for path in program.references.paths)
    return any(path[0] in ("object", "oldObject") and (len(path) == 1 or path[1] == "metadata") for path in paths)


def _size_problems(spec: AgentPolicySpec) -> Iterator[str]:
    size = len(json.dumps(spec.to_json(), separators=(",", ":"), ensure_ascii=False).encode())
    if size > POLICY_LIMIT:
        yield f"spec: is {size} bytes of JSON, and at most {POLICY_LIMIT} are taken; make several policies of it"


class _Compiler:
    """Compiles the expressions of one policy, and gathers what is wrong with them."""

    def __init__(self, spec: AgentPolicySpec, problems: list[str]) -> None:
        self.reads: set[str] = set()
        self._problems = problems
        self._kinds = spec.match.kinds
        self._operations = frozenset(spec.match.operations or DEFAULT_OPERATIONS)
        self._known = [variable.name for variable in spec.variables]

    def named(
        self, held: Sequence[NamedExpression], path: str, *, each_may_read_before: bool = False
    ) -> Iterator[tuple[str, Program]]:
        seen: set[str] = set()
        for number, item in enumerate(held):
            where = f"{path}[{number}]"
            if item.name in seen:
                self._problems.append(f"{where}.name: the name {item.name!r} is taken")
            program = self._compile(item.expression, f"{where}.expression")
            if program is not None and each_may_read_before:
                self._check_order(program, seen, f"{where}.expression")
            if program is not None and not each_may_read_before:
                self._check_bool(program, f"{where}.expression")
            seen.add(item.name)
            if program is not None:
                yield item.name, program

    def rules(self, held: Sequence[Rule]) -> Iterator[CompiledRule]:
        labels: set[str] = set()
        for number, rule in enumerate(held):
            where = f"spec.rules[{number}]"
            label = rule.name or f"rules[{number}]"
            if label in labels:
                self._problems.append(f"{where}.name: the name {label!r} is taken")
            labels.add(label)
            program = self._compile(rule.expression, f"{where}.expression")
            says = None
            if rule.message_expression is not None:
                says = self._compile(rule.message_expression, f"{where}.messageExpression")
            if program is not None:
                self._check_bool(program, f"{where}.expression")
                yield CompiledRule(label, program, rule.message, says)

    def _compile(self, text: str, path: str) -> Program | None:
        try:
            program = compile_program(text, POLICY)
        except CompileError as error:
            self._problems.append(f"{path}: `{shorten(text, 200)}`: {error}")
            return None
        for root in sorted({str(read[0]) for read in program.references.paths}):
            self.reads.add(root)
            self._check_root(root, path)
        for name in sorted(variables_read(program, self._known)):
            if name not in self._known:
                self._problems.append(f"{path}: there is no variable {name!r} in spec.variables")
        return program

    def _check_root(self, root: str, path: str) -> None:
        without = [kind for kind in self._kinds if root not in SCOPES[kind]]
        if without:
            known = [kind for kind, scope in SCOPES.items() if root in scope]
            self._problems.append(
                f"{path}: `{root}` is not in scope for {without[0]}, which spec.match.kinds names; it is for "
                f"{', '.join(known)}: give these a policy of their own"
            )
        if root == "output" and self._operations != {"END"}:
            self._problems.append(f"{path}: `output` is known at END alone; set spec.match.operations to [END]")

    def _check_order(self, program: Program, before: set[str], path: str) -> None:
        later = sorted((variables_read(program, self._known) & set(self._known)) - before)
        if later:
            self._problems.append(f"{path}: it reads variables.{later[0]}, which does not stand before it")

    def _check_bool(self, program: Program, path: str) -> None:
        if not program.may_be_bool:
            self._problems.append(f"{path}: `{shorten(program.text, 200)}` is never true or false; compare it")


def variables_read(program: Program, known: Sequence[str]) -> frozenset[str]:
    """Names of the variables that an expression reads; all that are known where it takes the map as a whole."""
    paths = [path for path in program.references.paths if path[0] == "variables"]
    if any(len(path) == 1 for path in paths):
        return frozenset(known)
    return frozenset(str(path[1]) for path in paths)


def params_problems(policy: AgentPolicy, namespaces: Iterable[str]) -> list[str]:
    """What is wrong with where a policy's params lie. `namespaces`: where the operator may read ConfigMaps."""
    wanted, allowed = policy.spec.params, sorted(namespaces)
    if wanted is None or wanted.namespace in allowed:
        return []
    return [
        f"spec.params.namespace: the operator reads no ConfigMaps in {wanted.namespace!r}; put it into one of "
        f"{', '.join(allowed) or 'none'}, or name the namespace in the chart's value governance.paramsNamespaces"
    ]
