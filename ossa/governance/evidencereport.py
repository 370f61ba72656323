"""A compliance report as JSON and as a table. Names and messages in it are anybody's: whatever they hold is text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ossa.api.base import JSONObject
from ossa.engine.clock import to_text
from ossa.governance.evidence import STATUSES, ControlReport, Evidence, Report, Thing

COLUMNS = ("CONTROL", "STATUS", "TITLE", "EVIDENCE")
NAMED = 3  # objects in a line of text
DISCLAIMER = (
    "This says what is there as evidence. Whether the framework is fulfilled is for people to judge, with all that no "
    "cluster can tell."
)


def harmless(text: str) -> str:
    """The text in one line, without control characters and those that turn the direction of writing."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def report_json(reports: Iterable[Report]) -> JSONObject:
    """For programs: {frameworks: [{name, title, at, origin, notes, dates, summary, controls: […]}]}.

    A control: {id, title, kind, status, looksAt, evidence: [{source, name, status, text, objects: [{kind, namespace,
    name, why}]}]}. Texts are as they are, not made harmless for a terminal or a page.
    """
    return {"frameworks": [_framework_json(report) for report in reports]}


def rows(report: Report) -> Iterator[list[str]]:
    """The lines of the table under COLUMNS; a control with several pieces of evidence has several lines."""
    for held in report.controls:
        head = [held.control.id, held.status, held.control.title]
        for number, text in enumerate([evidence_text(one) for one in held.evidence] or [""]):
            yield [harmless(cell) for cell in (*(head if number == 0 else ("", "", "")), text)]


def evidence_text(one: Evidence) -> str:
    """One piece in one line, with the first of its objects."""
    head = f"{one.name}: " if one.name else ""
    speaks = one.status == "not-met" or one.source != "policy"
    named = f" ({objects_text(one.objects, NAMED)})" if one.objects and speaks else ""
    return f"{head}{one.text}{named}"


def objects_text(things: Sequence[Thing], most: int) -> str:
    """Agent team/x, Agent team/y and 3 more"""
    shown = ", ".join(f"{thing.kind} {thing.namespace}/{thing.name}" for thing in things[:most])
    return shown + (f" and {len(things) - most} more" if len(things) > most else "")


def summary_text(report: Report) -> str:
    """3 enforced, 5 evidence-present, …"""
    return ", ".join(f"{report.summary[status]} {status}" for status in STATUSES)


def dates_of(report: Report) -> Iterator[tuple[str, bool, str]]:
    """The date, whether it is past, and what applies."""
    today = to_text(report.at)[:10]
    for held in report.framework.dates:
        yield held.date, held.date <= today, " ".join(held.what.split())


def _framework_json(report: Report) -> JSONObject:
    return {
        "name": report.framework.name,
        "title": report.framework.title,
        "at": to_text(report.at),
        "origin": report.origin,
        "notes": list(report.notes),
        "dates": [{"date": date, "applies": past, "what": what} for date, past, what in dates_of(report)],
        "summary": dict(report.summary),
        "controls": [_control_json(held) for held in report.controls],
    }


def _control_json(held: ControlReport) -> JSONObject:
    return {
        "id": held.control.id,
        "title": held.control.title,
        "kind": held.control.kind,
        "status": held.status,
        "looksAt": held.control.looks_at,
        "evidence": [
            {
                "source": one.source,
                "name": one.name,
                "status": one.status,
                "text": one.text,
                "objects": [
                    {"kind": thing.kind, "namespace": thing.namespace, "name": thing.name, "why": thing.why}
                    for thing in one.objects
                ],
            }
            for one in held.evidence
        ],
    }
