"""Frameworks: controls and dates of law, as data. Those that are shipped lie in ossa/governance/frameworks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ossa.api.base import Model

SHIPPED = ("iso-42001", "nist-ai-rmf", "eu-ai-act")
FOLDER = "frameworks"  # beside this module
# What besides policies can be evidence: decided Approvals, stopped Executions, Agents of type monitor, and of the audit
# trail that it is proven, and for how long it is kept.
Record = Literal["approvals", "stops", "monitors", "trail", "retention"]
ControlId = Annotated[str, Field(min_length=1, max_length=63)]


class LawDate(Model):
    """A date from which something applies."""

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="Year-month-day.")
    what: str = Field(min_length=1, description="What applies from then on.")
    controls: list[ControlId] = Field(default_factory=list, description="Which controls; unset: none in particular.")


class Control(Model):
    """One control of a framework."""

    id: ControlId = Field(description="Its number: A.9.2, GOVERN 1.6, 14.")
    title: str = Field(min_length=1, description="What it is about, in words of one's own.")
    kind: Literal["technical", "organisational"] = Field(
        description="technical: a cluster can give evidence; organisational: none can."
    )
    looks_at: str = Field(default="", description="What in the cluster is the evidence.")
    records: list[Record] = Field(default_factory=list, description="What is evidence besides policies.")
    unavailable: list[str] = Field(default_factory=list, description="What would be evidence and is not built yet.")


class Framework(Model):
    """A framework."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", description="As policies name it.")
    title: str = Field(min_length=1, description="Its full name.")
    about: str = Field(default="", description="What a reader of the report has to know.")
    source: str = Field(default="", description="Where its text is.")
    dates: list[LawDate] = Field(default_factory=list, description="From when on it applies.")
    controls: list[Control] = Field(min_length=1, description="Its controls, in its own order.")
