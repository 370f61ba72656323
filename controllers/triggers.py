"""Triggers: Executions made at scheduled times, cancelled and deleted as the engine decides.

Part of a workflow's turn: controllers/workflows.py writes the status, after the Executions were made. Their names hold
the scheduled time, so whoever dies in between, or gets no answer, asks for the same name again. They have no owner: a
Workflow that is edited or deleted leaves what runs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controllers.announce import announce
from controllers.cache import Key, key_of
from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_SCHEDULED_AT,
    API_VERSION,
    LABEL_TRIGGER,
    LABEL_WORKFLOW,
)
from ossa.api.trigger import Trigger, TriggerStatus
from ossa.engine.authors import author_of, given_authors, workflow_authors
from ossa.engine.clock import from_text, to_text
from ossa.engine.names import triggered_name
from ossa.engine.triggers import NewRun, Run, Standing, TriggerDecision, due
from ossa.engine.values import shorten
from ossa.kube import paths
from ossa.kube.client import JSON_PATCH, ApiClient, ApiError, Conflict, NotFound
from ossa.kube.labels import label_value

# Seconds. The heap of wake-ups counts elapsed time, and the wall clock may be put forward meanwhile.
LOOK_AGAIN = 300.0
MESSAGE_MAX = 1000


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of a workflow's triggers.

    status: None where it has none. look_again: seconds. unsure: a call that may have taken effect or not.
    """

    status: Mapping[str, TriggerStatus] | None = None
    look_again: float | None = None
    unsure: ApiError | None = None


@dataclass(slots=True)
class _Outcome:
    """What the API server said: why something was not done, by trigger, and whether to ask again soon."""

    refused: dict[str, str] = field(default_factory=dict)
    unsure: ApiError | None = None

    def note(self, trigger: str, what: str, error: ApiError) -> None:
        """`what` could not be done."""
        self.refused[trigger] = shorten(f"{what}: {error.message or error.reason}", MESSAGE_MAX)
        if error.blames_nobody:
            self.unsure = error


def build_execution(workflow: JSONObject, new: NewRun) -> JSONObject:
    """The Execution of a scheduled time. It is theirs who wrote the workflow's spec, not the operator's."""
    metadata = workflow["metadata"]
    held = metadata.get("annotations") or {}
    author = author_of("Workflow", held)
    return {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": {
            "name": new.name,
            "namespace": metadata["namespace"],
            "labels": {LABEL_TRIGGER: new.trigger, LABEL_WORKFLOW: label_value(metadata["name"])},
            "annotations": {
                ANNOTATION_SCHEDULED_AT: to_text(new.scheduled_at),
                **({ANNOTATION_AUTHOR: author} if author else {}),
                **given_authors(workflow_authors(held)),
            },
        },
        "spec": {"workflow": metadata["name"], "inputs": new.inputs},
    }


def run_of(execution: JSONObject) -> Run | None:
    """What triggers need to know of an Execution; None of one that no trigger made."""
    metadata, spec, status = execution["metadata"], execution.get("spec") or {}, execution.get("status") or {}
    trigger = (metadata.get("labels") or {}).get(LABEL_TRIGGER)
    scheduled = (metadata.get("annotations") or {}).get(ANNOTATION_SCHEDULED_AT)
    if trigger is None or scheduled is None:
        return None
    try:
        scheduled_at = from_text(scheduled)
    except ValueError:
        return None
    if metadata["name"] != triggered_name(str(spec.get("workflow") or ""), trigger, scheduled_at):
        return None
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    return Run(
        name=metadata["name"],
        uid=metadata["uid"],
        trigger=trigger,
        scheduled_at=scheduled_at,
        finished=conditions.get("Finished") == "True",
        succeeded=status.get("phase") == "Completed",
        cancelled=spec.get("cancel") is True,
        deleting="deletionTimestamp" in metadata,
    )


class Triggers:
    """Follows the Executions that triggers made, and takes the triggers of a workflow through their turns."""

    def __init__(
        self,
        api: ApiClient,
        *,
        made: Callable[[JSONObject], None],
        changed: Callable[[Key], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`made` is told of an Execution that is there now, `changed` of a workflow whose triggers have to look."""
        self._api = api
        self._made = made
        self._changed = changed
        self._now = now
        self._runs: dict[Key, dict[str, Run]] = {}  # of a workflow, by name
        self._asked: dict[Key, set[str]] = {}  # names of Executions that may have been made: no answer came

    def execution_changed(self, old: JSONObject | None, new: JSONObject | None) -> None:
        """A change of the cache of Executions. What has ended, or is gone before its end, may let another one start."""
        before = run_of(old) if old is not None else None
        after = run_of(new) if new is not None else None
        item = new if new is not None else old
        if item is None or before == after:
            return
        workflow = Key(item["metadata"]["namespace"], item["spec"].get("workflow") or "")
        runs = self._runs.setdefault(workflow, {})
        if after is not None:
            runs[after.name] = after
        else:
            runs.pop(item["metadata"]["name"], None)
            if not runs:
                del self._runs[workflow]
        if before is not None and not before.finished and (after is None or after.finished):
            self._changed(workflow)

    async def turn(self, workflow: JSONObject, standing: Standing | None) -> Turn:
        """Makes, cancels and deletes what is due; None as `standing` leaves all as it is."""
        old = _status_of(workflow)
        if standing is None:
            return Turn(old or None)
        triggers = [Trigger.model_validate(item) for item in workflow["spec"].get("triggers") or []]
        if not triggers:
            return Turn()
        now = self._now()
        outcome = _Outcome()
        try:
            await self._look_for_asked(key_of(workflow))
        except ApiError as error:
            return Turn(old or None, unsure=error)
        await self._make(workflow, self._decide(workflow, triggers, old, standing, now).create, outcome)
        # Again, with what is there now: it says what is done with, and what a new one replaces.
        decision = self._decide(workflow, triggers, old, standing, now)
        await self._end(workflow, decision, outcome)
        status = {
            name: held.model_copy(update={"message": outcome.refused.get(name, held.message)})
            for name, held in decision.status.items()
        }
        wait = (decision.wake_at - now).total_seconds() if decision.wake_at is not None else LOOK_AGAIN
        idle = decision.wake_at is None and not outcome.refused
        return Turn(status, None if idle else min(wait, LOOK_AGAIN), outcome.unsure)

    def _decide(
        self,
        workflow: JSONObject,
        triggers: Sequence[Trigger],
        old: Mapping[str, TriggerStatus],
        standing: Standing,
        now: datetime,
    ) -> TriggerDecision:
        runs = self._runs.get(key_of(workflow), {}).values()
        return due(workflow["metadata"]["name"], triggers, status=old, runs=runs, standing=standing, now=now)

    async def _make(self, workflow: JSONObject, wanted: Sequence[NewRun], outcome: _Outcome) -> None:
        for new in wanted:
            if new.trigger in outcome.refused:
                continue  # a later time that is made would say that this one is done with
            try:
                self._made(await self._created(workflow, new))
            except ApiError as error:
                outcome.note(new.trigger, f"the run of {to_text(new.scheduled_at)} could not be made", error)
                if error.blames_nobody:
                    self._asked.setdefault(key_of(workflow), set()).add(new.name)
                else:
                    said = outcome.refused[new.trigger]
                    await announce(self._api, workflow, kind="Warning", reason="TriggerRefused", message=said)
                continue
            said = f"started {new.name} for {to_text(new.scheduled_at)}"
            await announce(self._api, workflow, kind="Normal", reason="Triggered", message=said)

    async def _look_for_asked(self, workflow: Key) -> None:
        """Whether creations without an answer took effect: an Execution nobody knows of would be overlapped."""
        for name in sorted(self._asked.get(workflow, ())):
            with suppress(NotFound):
                self._made(await self._api.get(paths.ossa("executions", workflow.namespace, name)))
            self._asked[workflow].discard(name)
        self._asked.pop(workflow, None)

    async def _created(self, workflow: JSONObject, new: NewRun) -> JSONObject:
        """The Execution; the one that has its name where it was made before a crash, or its answer got lost."""
        namespace = workflow["metadata"]["namespace"]
        try:
            return await self._api.post(paths.ossa("executions", namespace), build_execution(workflow, new))
        except Conflict as error:
            try:
                item = await self._api.get(paths.ossa("executions", namespace, new.name))
            except NotFound:  # deleted just now, or a quota's conflict: worth another try
                raise ApiError(0, error.reason, error.message) from error
        found = run_of(item)
        if found is None or (found.trigger, found.scheduled_at) != (new.trigger, new.scheduled_at):
            why = f"an Execution that no trigger made is called {new.name}; delete it"
            raise Conflict(409, "NameTaken", why)
        return item

    async def _end(self, workflow: JSONObject, decision: TriggerDecision, outcome: _Outcome) -> None:
        namespace = workflow["metadata"]["namespace"]
        for run in decision.cancel:
            operations: list[JSONObject] = [
                {"op": "test", "path": "/metadata/uid", "value": run.uid},
                {"op": "add", "path": "/spec/cancel", "value": True},
            ]
            path = paths.ossa("executions", namespace, run.name)
            try:
                await self._api.patch(path, operations, content_type=JSON_PATCH)
            except NotFound:
                continue
            except ApiError as error:
                outcome.note(run.trigger, f"{run.name} could not be cancelled", error)
        for run in decision.delete:
            path = paths.ossa("executions", namespace, run.name)
            try:
                await self._api.delete(path, body={"preconditions": {"uid": run.uid}})
            except (NotFound, Conflict):
                continue
            except ApiError as error:
                outcome.note(run.trigger, f"{run.name} could not be deleted", error)


def _status_of(workflow: JSONObject) -> dict[str, TriggerStatus]:
    held = (workflow.get("status") or {}).get("triggers") or {}
    return {name: TriggerStatus.model_validate(item) for name, item in held.items()}
