"""The early verdict of the policies: on requests. The binding one falls when an Execution and its tasks start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from controllers.admission.authors import annotations_of
from controllers.admission.denials import Denials, clean
from controllers.admission.metrics import AdmissionMetrics
from controllers.admission.plans import Plans
from controllers.admission.questions import Request, Scope, inline_of, question_of, scope_of
from controllers.policycache import PolicyCache
from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_BREAK_GLASS
from ossa.api.validation import InvalidSpecError
from ossa.engine.cel.programs import CompileError
from ossa.engine.values import shorten
from ossa.governance.policies import CompiledPolicy, sees_metadata
from ossa.governance.policyset import PolicySet
from ossa.governance.verdict import Judgement, Verdict, worst_of

SHOWN_DENIALS = 10
DENIAL_MOST = 2048  # characters of each
SHOWN_WARNINGS = 10
WARNING_MOST = 400  # characters; the API server cuts what is 4 KiB in all


@dataclass(frozen=True, slots=True)
class Answer:
    """To a request. denial: None where it is allowed. Each warning is one line."""

    denial: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class Judge:
    """Judges requests by the policies; one that cannot be evaluated counts as its failurePolicy says.

    break_glass: groups whose members' requests policies judge and do not refuse.
    operators: users that the operator is, which says of a child Execution what is recorded of its parent.
    """

    policies: PolicyCache
    plans: Plans
    denials: Denials
    metrics: AdmissionMetrics
    break_glass: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _whole: PolicySet | None = field(default=None, repr=False)
    _parts: dict[Scope, PolicySet] = field(default_factory=dict, repr=False)

    async def judge(self, request: Request) -> Answer:
        """What the policies say.

        An object that does not make sense passes here: the checks of its kind refuse it, with what is wrong.
        Raises ApiError where the namespace is not known yet and the API server does not tell.
        """
        verdicts = [await self._verdict(request)]
        if (inline := inline_of(request)) is not None:
            verdicts.append(await self._verdict(inline))
        verdict = worst_of(verdicts)
        self.metrics.verdicts.count(verdict)
        return self._answer(request, verdict)

    async def _verdict(self, request: Request) -> Verdict:
        scope = scope_of(request)
        if scope == "nothing":
            return Verdict()
        policies = self._part(scope)
        held = policies.of(request.kind)
        if not held:
            return Verdict()
        try:
            question = question_of(
                request,
                self.plans,
                namespace=await self._namespace(request.namespace),
                planned=any("plan" in policy.reads for policy in held),
                subjects=bool(policies.exceptions),
            )
        except (InvalidSpecError, CompileError):
            return Verdict()
        return policies.judge(question, self.clock())

    def _answer(self, request: Request, verdict: Verdict) -> Answer:
        broken_glass = self._breaks_glass(request)
        for denial in verdict.denials:
            self.denials.tell(request, denial, broken_glass=broken_glass)
        warnings = [_warning(held) for held in verdict.warnings]
        if not broken_glass:
            return Answer(denial_of(verdict.denials), _capped(warnings))
        passed = [f"break-glass: it would be refused by {held.message}" for held in verdict.denials]
        return Answer(None, _capped(passed + warnings))

    def _breaks_glass(self, request: Request) -> bool:
        if request.user in self.operators:
            return bool(annotations_of(request.body).get(ANNOTATION_BREAK_GLASS))
        return not self.break_glass.isdisjoint(request.groups)

    def _part(self, scope: Scope) -> PolicySet:
        """The policies that are asked, made once for each set of all policies."""
        whole = self.policies.current()
        if whole is not self._whole:
            self._whole, self._parts = whole, {}
        if scope not in self._parts:
            asked = tuple(held for held in whole.policies if _is_asked(held, scope))
            self._parts[scope] = replace(whole, policies=asked)
        return self._parts[scope]

    async def _namespace(self, name: str) -> JSONObject:
        """The API server is asked about one that is too new to be known: a selector of its labels must not miss it."""
        return self.policies.namespace(name) or await self.policies.fetch_namespace(name)


def _is_asked(policy: CompiledPolicy, scope: Scope) -> bool:
    if scope == "metadata":
        return sees_metadata(policy)
    return scope == "all" or "UPDATE" in policy.spec.match.operations


def denial_of(denials: tuple[Judgement, ...]) -> str | None:
    """The one text of a refusal; None where there is none. Each policy that refuses is named, up to a number."""
    said = [shorten(clean(held.message), DENIAL_MOST) for held in denials[:SHOWN_DENIALS]]
    if not said:
        return None
    if len(denials) == 1:
        return said[0]
    if len(denials) > SHOWN_DENIALS:
        said.append(f"and {len(denials) - SHOWN_DENIALS} more: " + _names(denials[SHOWN_DENIALS:]))
    return f"{len(denials)} policies refuse it:\n" + "\n".join(f"- {line}" for line in said)


def _names(denials: tuple[Judgement, ...]) -> str:
    return shorten(", ".join(held.policy for held in denials), 2000)


def _warning(held: Judgement) -> str:
    match held.outcome:
        case "deferred":
            return f"{held.message} (not known yet; it is judged again at the start)"
        case "error":
            return f"{held.message} (let pass, by its failurePolicy)"
        case _:
            return held.message


def _capped(warnings: list[str]) -> tuple[str, ...]:
    shown = [shorten(clean(text), WARNING_MOST) for text in warnings[:SHOWN_WARNINGS]]
    if len(warnings) > SHOWN_WARNINGS:
        shown.append(f"and {len(warnings) - SHOWN_WARNINGS} more warnings of policies")
    return tuple(shown)
