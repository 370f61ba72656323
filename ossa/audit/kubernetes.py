"""The API server's audit log (audit.k8s.io/v1) as entries of the trail: kubectl does not pass the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ossa.audit.chain import canonical, hash_of
from ossa.audit.entry import Entry, Outcome

API_VERSION: Final = "audit.k8s.io/v1"
GROUP: Final = "ossa.dev"
CHANGES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# Of the stages of a request those that say how it ended.
STAGES: Final = frozenset({"ResponseComplete", "Panic"})
_SHOWN: Final = 38  # of an auditID, which is a UUID unless somebody chose it


class BadEvent(ValueError):
    """Something that is no event of the API server; the message says which and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)


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


def entries_of(events: Iterable[Any]) -> Iterator[Entry]:
    """Entries for those that ended a change of an object of ossa.dev, each once. Raises BadEvent."""
    seen: set[str] = set()
    for number, item in enumerate(events):
        try:
            event = _Event.model_validate(item)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BadEvent(f"items[{number}].{field}: {first['msg']}") from error
        held = event.object_ref
        if event.stage not in STAGES or event.verb not in CHANGES or held is None or held.api_group != GROUP:
            continue
        entry = _entry(event, held)
        if entry.id not in seen:
            seen.add(entry.id)
            yield entry


def _entry(event: _Event, held: _Object) -> Entry:
    answer = event.response_status or _Answer(code=500 if event.stage == "Panic" else 0)
    # The message of another refusal may repeat what was in the object.
    acted, said = event.user.username, answer.message if answer.code == 403 else answer.reason
    if event.impersonated_user is not None:
        acted, said = event.impersonated_user.username, f"impersonated by {event.user.username}; {said}".rstrip("; ")
    return Entry(
        id=event.id,
        time=event.stage_timestamp,
        user=acted[:512],
        address=(event.source_ips[0] if event.source_ips else "")[:64],
        verb=event.verb[:32],
        resource="/".join(part for part in (held.resource, held.subresource) if part)[:64],
        namespace=held.namespace,
        name=held.name[:512],
        outcome=_outcome(answer.code),
        status=answer.code,
        reason=f"at the API server; {said}".rstrip("; ")[:1024],
    )


def _outcome(code: int) -> Outcome:
    if 0 < code < 400:
        return "allowed"
    return "denied" if code in (401, 403) else "failed"
