"""What the objects of a cluster are evidence for, a control at a time. It says what is there, and judges nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from ossa.api.trail import TrailStatus
from ossa.engine.clock import from_text
from ossa.engine.values import shorten
from ossa.governance.framework import Control, Framework, Record
from ossa.governance.objects import judge
from ossa.governance.policies import CompiledPolicy
from ossa.governance.verdict import Judgement
from ossa.governance.world import Object, World, judged_objects, key_of

# enforced: every policy of the control refuses what does not keep to it, and all that is there does.
# evidence-present: something is there that speaks for it. not-met: something is there that speaks against it.
# unavailable: nothing is there, or not built yet. organisational: no cluster can tell.
Status = Literal["enforced", "evidence-present", "not-met", "unavailable", "organisational"]
STATUSES: tuple[Status, ...] = ("enforced", "evidence-present", "not-met", "unavailable", "organisational")
RECORDED: Mapping[Record, str] = {"approvals": "Approval", "stops": "Execution", "monitors": "Agent"}
WHY_MOST = 300
# Six months, however they fall; and how old a verification of the audit trail may be.
KEPT_DAYS = 183
VERIFIED_WITHIN = timedelta(days=2)
# Why nothing is known of the audit trail.
TrailGap = Literal["absent", "hidden", "unreadable"]
_TRAIL_GAPS: Mapping[TrailGap, str] = {
    "absent": "nothing tells of an audit trail; docs/audit.md says how to keep one",
    "hidden": "what the monitor tells of the audit trail is not for you to see",
    "unreadable": "what tells of the audit trail is not what the monitor would write",
}


@dataclass(frozen=True, slots=True)
class Thing:
    """An object that is evidence, and what it shows."""

    kind: str
    namespace: str
    name: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece. source: policy, a record, or gap; name: of the policy. objects: those that `text` speaks of."""

    source: Literal["policy", "approvals", "stops", "monitors", "trail", "retention", "gap"]
    name: str
    status: Status
    text: str
    objects: tuple[Thing, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlReport:
    """One control, with all that speaks for and against it."""

    control: Control
    status: Status
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One framework at one moment. origin: where the objects are from; notes: what could not be looked at."""

    framework: Framework
    at: datetime
    origin: str
    notes: tuple[str, ...]
    controls: tuple[ControlReport, ...]

    @property
    def summary(self) -> Mapping[Status, int]:
        """How many controls have each status."""
        return {status: sum(held.status == status for held in self.controls) for status in STATUSES}


@dataclass(slots=True)
class _Judged:
    """What a policy says of all that it is about."""

    kept: list[Thing] = field(default_factory=list)
    against: list[Thing] = field(default_factory=list)
    excepted: list[Thing] = field(default_factory=list)
    undecided: list[Thing] = field(default_factory=list)

    def take(self, item: Object, judgement: Judgement) -> None:
        """Adds what it says of one object."""
        why = "; ".join(violation.message for violation in judgement.violations)
        match judgement.outcome:
            case "pass":
                self.kept.append(_thing(item))
            case "excepted":
                self.excepted.append(_thing(item, f"excepted by {judgement.exception}"))
            case "deferred":
                self.undecided.append(_thing(item, why))
            case "fail" | "error":
                self.against.append(_thing(item, why))


class Ledger:
    """What there is, judged once, for the reports of any frameworks.

    in_cluster: whether the objects are from a cluster, whose operator says which policies are Ready.
    absent: kinds that the cluster does not know. hidden: kinds of which not all could be looked at. trail: what the
    monitor tells of the audit trail, or why that is not known.
    """

    def __init__(  # noqa: PLR0913 - each by name
        self,
        world: World,
        now: datetime,
        *,
        in_cluster: bool,
        absent: Iterable[str] = (),
        hidden: Iterable[str] = (),
        trail: TrailStatus | TrailGap = "absent",
    ) -> None:
        self._world = world
        self._trail = trail
        self._now = now
        self._in_cluster = in_cluster
        self._absent = frozenset(absent)
        self._hidden = frozenset(hidden)
        good, bad = world.policies()
        self._policies = tuple(policy for policy in good if policy.spec.controls)
        self._broken = bad
        self._judged = self._judge_all()

    def report(self, framework: Framework, *, origin: str, notes: Sequence[str] = ()) -> Report:
        """One framework's report."""
        controls = tuple(self._control(framework.name, control) for control in framework.controls)
        return Report(framework, self._now, origin, tuple(notes), controls)

    def _judge_all(self) -> Mapping[str, _Judged]:
        found = {policy.name: _Judged() for policy in self._policies}
        policies = self._world.policy_set()
        for item in judged_objects(self._world):
            for judgement in judge(self._world, item, self._now, policies=policies, only=found).judged:
                found[judgement.policy].take(item, judgement)
        return found

    def _control(self, framework: str, control: Control) -> ControlReport:
        if control.kind == "organisational":
            return ControlReport(control, "organisational")
        held = [
            *self._of_policies(framework, control.id),
            *(self._record(record) for record in control.records),
            *(Evidence("gap", "", "unavailable", text) for text in control.unavailable),
        ]
        if not any(one.source == "policy" for one in held) and not control.records and not control.unavailable:
            text = f"no policy of this control is there; apply manifests/policies/{framework}/, or write one"
            if "AgentPolicy" in self._hidden:
                text = "whether a policy of this control is there is not for you to see"
            held.append(Evidence("gap", "", "unavailable", text))
        return ControlReport(control, _combined(held), tuple(held))

    def _of_policies(self, framework: str, control: str) -> Iterator[Evidence]:
        for policy in self._policies:
            if any((held.framework, held.id) == (framework, control) for held in policy.spec.controls):
                yield self._of_policy(policy)
        for name, problems in self._broken.items():
            item = self._world.get("AgentPolicy", "", name) or {}
            if (framework, control) in _controls(item):
                yield Evidence("policy", name, "unavailable", f"is judged by nobody: {shorten(problems[0], WHY_MOST)}")

    def _of_policy(self, policy: CompiledPolicy) -> Evidence:
        judged, action = self._judged[policy.name], policy.spec.action
        about = len(judged.kept) + len(judged.against) + len(judged.excepted) + len(judged.undecided)
        if judged.against:
            text = f"{action}: {len(judged.against)} of {about} objects do not keep to it"
            return Evidence("policy", policy.name, "not-met", text, tuple(judged.against))
        ready = self._readiness(policy.name)
        doubts = [
            *([] if action == "Enforce" else [f"{action} refuses nothing"]),
            *([] if ready is None else [ready]),
            *([f"{len(judged.excepted)} are excepted"] if judged.excepted else []),
            *([f"{len(judged.undecided)} cannot be judged yet"] if judged.undecided else []),
            *(["not all could be looked at"] if self._hidden & set(policy.spec.match.kinds) else []),
        ]
        objects = (*judged.kept, *judged.excepted, *judged.undecided)
        if not about:
            tasks_alone = set(policy.spec.match.kinds) == {"Task"}
            what = "tasks are judged when they run" if tasks_alone else "nothing that it is about is there"
            guards = action == "Enforce" and ready is None
            text = "; ".join((f"{action}: {what}", *doubts[action != "Enforce" :]))
            return Evidence("policy", policy.name, "evidence-present" if guards else "unavailable", text)
        text = "; ".join((f"{action}: {len(judged.kept)} of {about} objects keep to it", *doubts))
        return Evidence("policy", policy.name, "evidence-present" if doubts else "enforced", text, objects)

    def _readiness(self, name: str) -> str | None:
        """Why the operator does not judge by a policy, as far as is known; None where it does."""
        if not self._in_cluster:
            return None
        status = (self._world.get("AgentPolicy", "", name) or {}).get("status") or {}
        if status.get("ready") == "True":
            return None
        said = status.get("message")
        return (
            f"it is not Ready: {shorten(str(said), WHY_MOST)}" if said else "the operator has not said that it is Ready"
        )

    def _record(self, record: Record) -> Evidence:
        if record == "approvals":
            return self._approvals()
        if record in ("trail", "retention"):
            return of_trail(self._trail, record, self._now)
        if record == "stops":
            found = [(item, _stopped(item)) for item in self._world.all("Execution")]
            things = tuple(_thing(item, why) for item, why in found if why)
            return self._recorded(record, things, "was stopped", "no Execution has been suspended or cancelled")
        agents = self._world.all("Agent")
        things = tuple(
            _thing(item, "is a monitor") for item in agents if (item.get("spec") or {}).get("type") == "monitor"
        )
        return self._recorded(record, things, "watches", "there is no Agent of type monitor")

    def _approvals(self) -> Evidence:
        if "Approval" in self._absent:
            return Evidence("approvals", "", "unavailable", "this cluster knows no Approvals")
        items = [item for item in self._world.all("Approval") if item.get("decisions")]
        own = [item for item in items if _authors(item) & item["decisions"].keys()]
        if own:
            things = tuple(_thing(item, "was decided by its author") for item in own)
            return Evidence("approvals", "", "not-met", f"{len(own)} Approvals were decided by their authors", things)
        things = tuple(_thing(item, _who_decided(item)) for item in items)
        return self._recorded("approvals", things, "says who decided", "no Approval has been decided yet")

    def _recorded(self, record: Record, things: tuple[Thing, ...], what: str, none: str) -> Evidence:
        if not things:
            unseen = ", as far as you may look" if RECORDED[record] in self._hidden else ""
            return Evidence(record, "", "unavailable", none + unseen)
        kinds = things[0].kind if len(things) == 1 else f"{things[0].kind}s"
        return Evidence(record, "", "evidence-present", f"{len(things)} {kinds}: each {what}", things)


def of_trail(trail: TrailStatus | TrailGap, record: Literal["trail", "retention"], now: datetime) -> Evidence:
    """What the audit trail is evidence for: that it is proven, or that it is kept for long enough."""
    if not isinstance(trail, TrailStatus):
        return Evidence(record, "", "unavailable", _TRAIL_GAPS[trail])
    text = f"{trail.links} links in {trail.chains} chains, verified {trail.verified_at}"
    if now - from_text(trail.verified_at) > VERIFIED_WITHIN:
        return Evidence(record, "", "unavailable", f"{text}, and not since: look after ossa-monitor")
    if record == "retention":
        kept = f"it is kept for {trail.kept_days} days{', and archived' if trail.archived else ''}"
        if trail.kept_days < KEPT_DAYS:
            return Evidence(record, "", "not-met", f"{kept}; six months are {KEPT_DAYS}")
        return Evidence(record, "", "evidence-present", kept)
    if trail.faults:
        found = shorten(trail.finding, WHY_MOST)
        return Evidence(record, "", "not-met", f"{text}: {trail.faults} findings, the first: {found}")
    if not trail.links:
        return Evidence(record, "", "unavailable", f"{text}: it is empty")
    return Evidence(record, "", "evidence-present", f"{text}: all proven by signed heads, says the monitor")


def _combined(held: Sequence[Evidence]) -> Status:
    """Of what there is: one thing against it counts for more than all for it, and a gap keeps it from enforced."""
    statuses = {one.status for one in held}
    policies = {one.status for one in held if one.source == "policy"}
    if "not-met" in statuses:
        return "not-met"
    if policies == {"enforced"} and not any(one.source == "gap" for one in held):
        return "enforced"
    return "evidence-present" if statuses & {"enforced", "evidence-present"} else "unavailable"


def _controls(item: Object) -> set[tuple[str, str]]:
    """The controls of a policy that cannot be judged by."""
    spec = item.get("spec")
    listed = spec.get("controls") if isinstance(spec, Mapping) else None
    found = listed if isinstance(listed, list) else []
    return {(str(one.get("framework")), str(one.get("id"))) for one in found if isinstance(one, Mapping)}


def _stopped(item: Object) -> str:
    spec = item.get("spec") or {}
    if spec.get("cancel"):
        return "was cancelled"
    return "is suspended" if spec.get("suspend") else ""


def _authors(item: Object) -> set[str]:
    """Of an Approval: who may not decide."""
    spec = item.get("spec") or {}
    return {str(spec.get("author") or ""), *(spec.get("authors") or ())}


def _who_decided(item: Object) -> str:
    said = (f"{held.get('verdict')} by {user}" for user, held in sorted(item["decisions"].items()))
    return shorten(", ".join(said), WHY_MOST)


def _thing(item: Object, why: str = "") -> Thing:
    return Thing(str(item.get("kind")), *key_of(item), shorten(why, WHY_MOST))
