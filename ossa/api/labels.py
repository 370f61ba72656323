"""Label selectors, as in meta/v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ossa.api.base import Model

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]


class LabelRequirement(Model):
    """One requirement of a label."""

    key: LabelKey = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: list[Annotated[str, Field(max_length=63)]] = Field(
        default_factory=list, max_length=64, description="Values; for In and NotIn alone."
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. NotIn is met where the label is not there, as in Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class LabelSelector(Model):
    """Labels that must be there; one without requirements selects everything."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=64, description="Labels with exactly these values."
    )
    match_expressions: list[LabelRequirement] = Field(
        default_factory=list, max_length=32, description="Further requirements; all must be met."
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet all of it."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
