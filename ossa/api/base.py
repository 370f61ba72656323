"""What all resources share: naming, strictness, conditions, metadata."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

# An RFC 1123 label: names of tasks and capabilities.
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# An RFC 1123 subdomain: names of objects.
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
# As the API server writes a Duration: 300ms, 5m, 1h30m.
DURATION = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"

TaskName = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]
ObjectName = Annotated[str, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
Duration = Annotated[str, Field(pattern=DURATION, min_length=2, max_length=32)]
# Any JSON object; the API server keeps its unknown fields (x-kubernetes-preserve-unknown-fields).
JSONObject = dict[str, Any]
# An RFC 3339 timestamp in UTC.
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Model(BaseModel):
    """A part of a resource: camelCase outside, and nothing that it does not know."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> JSONObject:
        """As it stands in the API: aliases, and no field that is unset."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


class StatusModel(Model):
    """A part of a status. Unknown fields are dropped: a newer operator may have written them."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Condition(StatusModel):
    """A standard condition (meta/v1)."""

    type: str = Field(description="Name of the condition.", max_length=64)
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="Why, in one CamelCase word.", max_length=256)
    message: str = Field(default="", description="Why, in words for a person.", max_length=4096)
    last_transition_time: Timestamp | None = Field(default=None, description="When `status` last changed.")
    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that this condition was found for."
    )


def set_condition(conditions: list[Condition], new: Condition, now: str) -> list[Condition]:
    """The conditions with `new` in place of the one of its type; keeps the time where the status did not change."""
    old = next((c for c in conditions if c.type == new.type), None)
    since = old.last_transition_time if old is not None and old.status == new.status else now
    placed = new.model_copy(update={"last_transition_time": since})
    return [c for c in conditions if c.type != new.type] + [placed]


class Metadata(BaseModel):
    """The part of ObjectMeta that the platform reads."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Resource(Model):
    """A whole object. Top-level fields that are not the kind's own are dropped, as the API server does."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)

    api_version: str
    kind: str
    metadata: Metadata


def first_problem(error: ValidationError) -> str:
    """FIELD: what is wrong with it; of what does not fit its model the first that was found."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
