"""The API server's audit log (audit.k8s.io/v1) as entries of the trail: kubectl does not pass the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from ossa.api.base import first_problem
from ossa.audit.chain import canonical, hash_of
from ossa.audit.entry import Entry, Outcome, entry_of

API_VERSION: Final = "audit.k8s.io/v1"
GROUP: Final = "ossa.dev"
CHANGES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# Of the stages of a request those that say how it ended; a 401 has none of them.
STAGES: Final = frozenset({"ResponseComplete", "Panic"})
_UNAUTHORIZED: Final = ("ResponseStarted", 401)
# Whoever reaches the API server may be refused as often as they like: of those that nobody signed in for, so many of a
# batch are told one by one, and the rest by their count.
NOBODY: Final = frozenset({"", "system:anonymous"})
SINGLE: Final = 20
_LONGEST: Final = 2048  # characters that are read of a text
_SHOWN: Final = 38  # of an auditID, which is a UUID unless somebody chose it


class BadEvent(ValueError):
    """Something that is no event of the API server; the message says which and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        """Names, URI and headers are as long as whoever asked made them, up to a megabyte."""
        return value[:_LONGEST] if isinstance(value, str) else value


class _User(_Part):
    username: str = ""


class _Object(_Part):
    resource: str = ""
    namespace: str = ""
    name: str = ""
    api_group: str = ""
    subresource: str = ""


class _Answer(_Part):
    code: int = 0
    message: str = ""
    reason: str = ""


class _Event(_Part):
    audit_id: str = Field(alias="auditID", min_length=1)
    stage: str
    request_received_timestamp: str = ""
    stage_timestamp: AwareDatetime
    verb: str = ""
    request_uri: str = Field(default="", alias="requestURI")
    user: _User = Field(default_factory=_User)
    impersonated_user: _User | None = None
    source_ips: tuple[str, ...] = Field(default=(), alias="sourceIPs")
    object_ref: _Object | None = None
    response_status: _Answer | None = None

    @field_validator("source_ips")
    @classmethod
    def _believed(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """The one that connected: those before it are a header of whoever asked."""
        return addresses[-1:]

    @property
    def id(self) -> str:
        """The same whenever the same event is told.

        The auditID alone would not do: whoever asks may choose it by a header, the same for two requests.
        """
        told = (
            self.audit_id,
            self.stage,
            self.request_received_timestamp,
            self.stage_timestamp.isoformat(),
            self.user.username,
            self.verb,
            self.request_uri,
        )
        return f"{self.audit_id[:_SHOWN]}/{hash_of(canonical(told))[:24]}"

    @property
    def changed(self) -> _Object | None:
        """The object of ossa.dev whose change ended by this; None where the event tells of anything else."""
        answered = self.response_status.code if self.response_status is not None else 0
        ended = self.stage in STAGES or (self.stage, answered) == _UNAUTHORIZED
        ours = self.object_ref is not None and self.object_ref.api_group == GROUP
        return self.object_ref if ended and ours and self.verb in CHANGES else None

    @property
    def is_dry(self) -> bool:
        """Whether it was a dry run, as far as the URI says so: that of a delete is said in the body."""
        return "dryRun" in parse_qs(self.request_uri.partition("?")[2])


def events_of(document: Any) -> Iterable[Any]:
    """The events of an EventList as the webhook posts it, or of a single one. Raises BadEvent."""
    if not isinstance(document, Mapping) or document.get("apiVersion") != API_VERSION:
        raise BadEvent(f"this is nothing of {API_VERSION}; set --audit-webhook-version to it, or leave it away")
    if document.get("kind") == "Event":
        return [document]
    items = document.get("items")
    if document.get("kind") != "EventList" or not isinstance(items, list):
        raise BadEvent("this is neither an Event nor an EventList")
    return items


def entries_of(events: Iterable[Any]) -> list[Entry]:
    """Entries for those that ended a change of an object of ossa.dev, each once. Raises BadEvent.

    The same events give the same entries. Of many refusals that nobody signed in for one tells with a count.
    """
    found: dict[str, Entry] = {}
    for number, item in enumerate(events):
        event = _read(item, f"items[{number}]")
        held = event.changed
        if held is not None:
            found.setdefault(event.id, _entry(event, held))
    strangers = [entry for entry in found.values() if entry.outcome == "denied" and entry.user in NOBODY][SINGLE:]
    for entry in strangers:
        del found[entry.id]
    return [*found.values(), *_summed(strangers)]


def slim(item: Any, place: str) -> dict[str, Any] | None:
    """What is read of an event, and None where it tells of no change of ours. Raises BadEvent, which names `place`."""
    event = _read(item, place)
    return event.model_dump(mode="json", by_alias=True, exclude_defaults=True) if event.changed is not None else None


def _read(item: Any, place: str) -> _Event:
    try:
        return _Event.model_validate(item)
    except ValidationError as error:
        raise BadEvent(f"{place}.{first_problem(error)}") from error


def _summed(entries: Sequence[Entry]) -> list[Entry]:
    """One that stands for all of them: the first, without what they need not share."""
    if not entries:
        return []
    shared = {
        "id": f"counted/{hash_of(canonical([entry.id for entry in entries]))[:48]}",
        "count": sum(entry.count for entry in entries),
        "reason": "at the API server; so many more that nobody had signed in for",
    }
    unshared = dict.fromkeys(("user", "address", "verb", "resource", "namespace", "name"), "")
    return [entries[0].model_copy(update=shared | unshared)]


def _entry(event: _Event, held: _Object) -> Entry:
    answer = event.response_status or _Answer(code=500 if event.stage == "Panic" else 0)
    # The message of another refusal may repeat what was in the object.
    acted, said = event.user.username, answer.message if answer.code == 403 else answer.reason
    dry = "a dry run" if event.is_dry else ""
    by = ""
    if event.impersonated_user is not None:
        acted, by = event.impersonated_user.username, f"impersonated by {event.user.username}"
    return entry_of(
        id=event.id,
        time=event.stage_timestamp,
        user=acted,
        address="".join(event.source_ips),
        verb=event.verb,
        resource="/".join(part for part in (held.resource, held.subresource) if part),
        namespace=held.namespace,
        name=held.name,
        outcome=_outcome(answer.code),
        status=answer.code,
        reason="; ".join(part for part in ("at the API server", dry, by, said) if part),
    )


def _outcome(code: int) -> Outcome:
    if 0 < code < 400:
        return "allowed"
    return "denied" if code in (401, 403) else "failed"
