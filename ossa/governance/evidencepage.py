"""A compliance report as one page: no scripts, nothing from elsewhere, and every text escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ossa.engine.clock import to_text
from ossa.governance.evidence import STATUSES, ControlReport, Evidence, Report, Thing
from ossa.governance.evidencereport import DISCLAIMER, dates_of, harmless

MOST_OBJECTS = 50  # of one piece of evidence; JSON has all
MEANING = {
    "enforced": "every policy of the control refuses what does not keep to it, and all that is there does",
    "evidence-present": "something is there that speaks for it",
    "not-met": "something is there that speaks against it",
    "unavailable": "nothing is there as evidence, or what would be is not built yet",
    "organisational": "no cluster can tell: people have to",
}
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 2px solid #d0d7de; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #d0d7de; }
td { overflow-wrap: anywhere; } td:first-child { white-space: nowrap; overflow-wrap: normal; font-weight: 600; }
ul { margin: .2rem 0 .2rem 1.1rem; padding: 0; } details { margin: .2rem 0; } summary { cursor: pointer; }
.status { display: inline-block; white-space: nowrap; padding: 0 .5rem; border: 1px solid; border-radius: 1rem; }
.enforced { color: #11632d; background: #dafbe1; } .evidence-present { color: #0a4b8c; background: #ddf0ff; }
.not-met { color: #a40e26; background: #ffebe9; font-weight: 600; }
.unavailable { color: #6a4a00; background: #fff4cf; } .organisational { color: #57606a; background: #f3f5f7; }
.note { color: #57606a; }
@media print {
  body { margin: 0; max-width: none; font-size: 11px; } tr { break-inside: avoid; } h2 { break-after: avoid; }
  thead { display: table-header-group; } .status { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def report_html(reports: Sequence[Report]) -> str:
    """The page; all frameworks below one another."""
    at = _text(to_text(reports[0].at)) if reports else ""
    body = "\n".join("\n".join(_framework(report)) for report in reports)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evidence for controls, {at}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Evidence for controls</h1>
<p>{_text(DISCLAIMER)}</p>
<table>
<thead><tr><th>Status</th><th>Meaning</th></tr></thead>
<tbody>
{"".join(f"<tr><td>{_badge(status)}</td><td>{_text(MEANING[status])}</td></tr>" for status in STATUSES)}
</tbody>
</table>
{body}
</body>
</html>
"""


def _framework(report: Report) -> Iterator[str]:
    framework = report.framework
    yield f"<h2>{_text(framework.title)}</h2>"
    yield f"<p>{_text(framework.about)}</p>"
    yield f'<p class="note">{_text(to_text(report.at))}, {_text(report.origin)}</p>'
    counts = ", ".join(f"{report.summary[status]} {_badge(status)}" for status in STATUSES)
    yield f"<p>{counts}</p>"
    if report.notes:
        notes = "".join(f"<li>{_text(note)}</li>" for note in report.notes)
        yield f'<p>Not all could be looked at:</p><ul class="note">{notes}</ul>'
    dates = "".join(
        f"<tr><td>{_text(date)}</td><td>{'applies' if past else 'to come'}</td><td>{_text(what)}</td></tr>"
        for date, past, what in dates_of(report)
    )
    if dates:
        yield f"<table><thead><tr><th>From</th><th></th><th>What</th></tr></thead><tbody>{dates}</tbody></table>"
    yield "<table><thead><tr><th>Control</th><th>Status</th><th>Title and evidence</th></tr></thead><tbody>"
    for held in report.controls:
        yield _control(held)
    yield "</tbody></table>"


def _control(held: ControlReport) -> str:
    looks_at = f'<div class="note">{_text(held.control.looks_at)}</div>' if held.control.looks_at else ""
    evidence = "".join(f"<li>{_evidence(one)}</li>" for one in held.evidence)
    shown = f"<ul>{evidence}</ul>" if evidence else ""
    return (
        f"<tr><td>{_text(held.control.id)}</td><td>{_badge(held.status)}</td>"
        f"<td>{_text(held.control.title)}{looks_at}{shown}</td></tr>"
    )


def _evidence(one: Evidence) -> str:
    name = f"<b>{_text(one.name)}</b>: " if one.name else ""
    if not one.objects:
        return f"{name}{_text(one.text)}"
    items = "".join(f"<li>{_thing(thing)}</li>" for thing in one.objects[:MOST_OBJECTS])
    more = len(one.objects) - MOST_OBJECTS
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    # What speaks against it is open, also in print.
    is_open = " open" if one.status == "not-met" or len(one.objects) <= 5 else ""
    return f"<details{is_open}><summary>{name}{_text(one.text)}</summary><ul>{items}{rest}</ul></details>"


def _thing(thing: Thing) -> str:
    said = f": {thing.why}" if thing.why else ""
    return _text(f"{thing.kind} {thing.namespace}/{thing.name}{said}")


def _badge(status: str) -> str:
    return f'<span class="status {_text(status)}">{_text(status)}</span>'


def _text(text: str) -> str:
    return escape(harmless(text), quote=True)
