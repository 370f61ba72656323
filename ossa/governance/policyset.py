"""All policies of a moment, with their params and exceptions, and what they say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ossa.api.policy import JudgedKind
from ossa.api.policyexception import AgentPolicyException
from ossa.engine.cel.programs import EvalError, Program
from ossa.engine.values import NotJSONError, plain, shorten
from ossa.governance.candidates import Candidates
from ossa.governance.exceptions import excepts
from ossa.governance.policies import CompiledPolicy, CompiledRule, variables_read
from ossa.governance.question import Plain, Question
from ossa.governance.together import surely_met
from ossa.governance.verdict import MESSAGE_MOST, Judgement, Outcome, Verdict, Violation

# (namespace, name) of a ConfigMap -> its data
Params = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Immutable: a change of anything makes another one.

    policies: all of them; one with `problems` gives errors.
    params: the ConfigMaps that they name, where they are there.
    """

    policies: tuple[CompiledPolicy, ...] = ()
    params: Params = field(default_factory=dict)
    exceptions: tuple[AgentPolicyException, ...] = ()
    _by_kind: Mapping[JudgedKind, Candidates] = field(init=False, repr=False, compare=False)
    _passes: Mapping[str, Judgement] = field(init=False, repr=False, compare=False)
    _by_name: Mapping[str, CompiledPolicy] = field(init=False, repr=False, compare=False)
    _by_namespace: Mapping[str, tuple[AgentPolicyException, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_namespace: dict[str, tuple[AgentPolicyException, ...]] = {}
        for exception in self.exceptions:
            namespace = exception.metadata.namespace
            by_namespace[namespace] = (*by_namespace.get(namespace, ()), exception)
        object.__setattr__(self, "_by_namespace", by_namespace)
        ordered = sorted(self.policies, key=lambda policy: policy.name)
        kinds: tuple[JudgedKind, ...] = ("Agent", "Workflow", "Execution", "Task")
        by_kind = {kind: Candidates.of(p for p in ordered if kind in p.spec.match.kinds) for kind in kinds}
        object.__setattr__(self, "_by_kind", by_kind)
        object.__setattr__(self, "_passes", {policy.name: _judgement(policy) for policy in ordered})
        object.__setattr__(self, "_by_name", {policy.name: policy for policy in ordered})

    def of(self, kind: JudgedKind) -> tuple[CompiledPolicy, ...]:
        """Those that may be about a kind, in the order of their names."""
        return self._by_kind[kind].policies

    def about(self, question: Question) -> list[CompiledPolicy]:
        """Those that are about what is asked by match and exclude, in the order of their names."""
        return self._by_kind[question.kind].about(question)

    def named(self, name: str) -> CompiledPolicy | None:
        """The policy of a name; None where there is none."""
        return self._by_name.get(name)

    def exceptions_in(self, namespace: str) -> tuple[AgentPolicyException, ...]:
        """The exceptions of a namespace."""
        return self._by_namespace.get(namespace, ())

    def concerned(self, question: Question, now: datetime) -> Iterator[CompiledPolicy]:
        """Those that are about what is asked, by match, exclude and matchConditions, whether they have rules or not.

        A condition without a value leaves its policy out.
        """
        bindings = {key: _json(value) for key, value in question.bindings.items()}
        for policy in self.about(question):
            if policy.problems:
                continue
            try:
                scope = _Scope(policy, {**bindings, "now": now}, self._params_of(policy))
                met = all(_is_true(program, scope, f"the condition {name!r}") for name, program in policy.conditions)
            except EvalError:
                continue
            if met:
                yield policy

    def judge(self, question: Question, now: datetime, *, only: Iterable[str] | None = None) -> Verdict:
        """What they say; `only` those of these names. `now` is with a time zone."""
        wanted = None if only is None else frozenset(only)
        held = [
            policy for policy in self.about(question) if (wanted is None or policy.name in wanted) and policy.judges
        ]
        if not held:
            return Verdict()
        bindings = {**{key: _json(value) for key, value in question.bindings.items()}, "now": now}
        met = surely_met(held, bindings)
        judged = (
            self._passes[policy.name] if policy.name in met else self._judge(policy, question, bindings, now)
            for policy in held
        )
        return Verdict(tuple(judgement for judgement in judged if judgement is not None))

    def _judge(
        self, policy: CompiledPolicy, question: Question, bindings: Mapping[str, object], now: datetime
    ) -> Judgement | None:
        """None where its conditions say that it does not apply."""
        try:
            if policy.problems:
                raise EvalError(f"it cannot be judged by: {policy.problems[0]}")
            scope = _Scope(policy, bindings, self._params_of(policy))
            if not all(_is_true(program, scope, f"the condition {name!r}") for name, program in policy.conditions):
                return None
        except EvalError as error:
            violations: tuple[Violation, ...] = (Violation("", "error", str(error)),)
        else:
            violations = tuple(found for rule in policy.rules if (found := _violation(rule, scope)) is not None)
        if not question.complete and "plan" in policy.reads:
            violations = tuple(_deferred(held) for held in violations)
        exception = None
        if violations:
            held = self.exceptions_in(question.namespace)
            exception = next((e for e in held if excepts(e, policy, question, now)), None)
        return _judgement(policy, violations, exception)

    def _params_of(self, policy: CompiledPolicy) -> Mapping[str, str]:
        held = policy.spec.params
        if held is None:
            return {}
        found = self.params.get((held.namespace, held.name))
        if found is None:
            raise EvalError(f"spec.params: there is no ConfigMap {held.name!r} in the namespace {held.namespace!r}")
        return found


def _judgement(
    policy: CompiledPolicy, violations: tuple[Violation, ...] = (), exception: AgentPolicyException | None = None
) -> Judgement:
    spec = policy.spec
    binding: tuple[Outcome, ...] = ("fail", "error") if spec.failure_policy == "Fail" else ("fail",)
    return Judgement(
        policy=policy.name,
        uid=policy.uid,
        generation=policy.generation,
        action=spec.action,
        severity=spec.severity,
        violations=violations,
        refuses=spec.action == "Enforce" and exception is None and any(held.outcome in binding for held in violations),
        exception=None if exception is None else f"{exception.metadata.namespace}/{exception.metadata.name}",
    )


class _Scope:
    """The roots for one policy. Its variables are evaluated when something first reads them, and once."""

    def __init__(self, policy: CompiledPolicy, bindings: Mapping[str, object], params: Mapping[str, str]) -> None:
        self._policy = policy
        self._variables: dict[str, object] = {}
        self._bindings = {**bindings, "params": dict(params), "variables": self._variables}

    def evaluate(self, program: Program) -> object:
        """Raises EvalError, also for a variable without a value."""
        if self._policy.variables:
            for name in sorted(variables_read(program, tuple(self._policy.variables))):
                if name not in self._variables:
                    self._variables[name] = self._variable(name)
        return program.evaluate(self._bindings)

    def _variable(self, name: str) -> object:
        try:
            return self.evaluate(self._policy.variables[name])
        except EvalError as error:
            raise EvalError(f"variables.{name}: {error}") from error


def _is_true(program: Program, scope: _Scope, what: str) -> bool:
    """Raises EvalError for any value but true and false."""
    try:
        value = scope.evaluate(program)
    except EvalError as error:
        raise EvalError(f"{what}: `{shorten(program.text, 200)}`: {error}") from error
    if not isinstance(value, bool):
        shown = shorten(json.dumps(value, ensure_ascii=False, default=str), 100)
        raise EvalError(f"{what}: `{shorten(program.text, 200)}`: its value is {shown}, and must be true or false")
    return value


def _violation(rule: CompiledRule, scope: _Scope) -> Violation | None:
    try:
        if _is_true(rule.program, scope, f"the rule {rule.label!r}"):
            return None
    except EvalError as error:
        return Violation(rule.label, "error", shorten(f"{error}", MESSAGE_MOST))
    return Violation(rule.label, "fail", shorten(_message(rule, scope), MESSAGE_MOST))


def _message(rule: CompiledRule, scope: _Scope) -> str:
    """Its messageExpression's text; where that has none, its message, or the expression itself."""
    if rule.message_program is not None:
        try:
            said = scope.evaluate(rule.message_program)
        except EvalError:
            said = None  # as in Kubernetes: the rule is not met, whatever becomes of its words
        if isinstance(said, str) and said.strip():
            return said
    return rule.message or f"the rule {rule.label!r} is not met: {rule.program.text}"


def _deferred(held: Violation) -> Violation:
    return Violation(held.rule, "deferred", held.message) if held.outcome == "error" else held


def _json(value: object) -> object:
    """As the runtime takes it: whole numbers of 64 bits at most. What is too deep for it says so in its place."""
    if isinstance(value, Plain):
        return value.value
    try:
        return plain(value)
    except NotJSONError as error:
        return {"unreadable": str(error)}
