"""`ossa compliance report`: what is there as evidence for the controls of frameworks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

import ossa.governance
from ossa.api.base import first_problem
from ossa.cli.manifests import read_yaml
from ossa.cli.outcome import Exit, Stop
from ossa.cli.reading import Seen
from ossa.cli.view import columns, one_line
from ossa.engine.clock import to_text
from ossa.governance.evidence import Ledger, Report
from ossa.governance.evidencepage import report_html
from ossa.governance.evidencereport import COLUMNS, DISCLAIMER, dates_of, report_json, rows, summary_text
from ossa.governance.framework import FOLDER, SHIPPED, Framework

FORMS = ("text", "json", "html")


def load_framework(name: str) -> Framework:
    """One that is shipped, by its name, or one of the user's own, by its file. Raises Stop."""
    if name in SHIPPED:
        text = (resources.files(ossa.governance) / FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise Stop(f"There is no framework {name!r}. There are {', '.join(SHIPPED)}; or name a file", Exit.USAGE)
    try:
        return Framework.model_validate(read_yaml(text))
    except yaml.YAMLError as error:
        raise Stop(one_line(f"{name}: it is no YAML: {error}"), Exit.USAGE) from error
    except ValidationError as error:
        raise Stop(one_line(f"{name}: {first_problem(error)}"), Exit.USAGE) from error


def report(  # noqa: PLR0913 - each by name
    seen: Seen, *, frameworks: Sequence[str], form: str, summary: bool, in_cluster: bool, now: datetime
) -> Exit:
    """Print the reports of the frameworks; of none named those of all that are shipped."""
    loaded = [load_framework(name) for name in frameworks or SHIPPED]
    ledger = Ledger(seen.world, now, in_cluster=in_cluster, absent=seen.absent, hidden=seen.hidden, trail=seen.trail)
    made = [ledger.report(framework, origin=seen.origin, notes=seen.notes) for framework in loaded]
    if form == "json":
        print(json.dumps(report_json(made), indent=2))
    elif form == "html":
        print(report_html(made))
    else:
        print("\n\n".join(_short(one) if summary else _text(one) for one in made))
        for note in seen.notes:
            print(one_line(f"note: {note}"))
        print(f"\n{DISCLAIMER}")
    return Exit.OK


def _head(made: Report) -> str:
    return one_line(f"{made.framework.title} ({made.framework.name}), {to_text(made.at)}, {made.origin}")


def _short(made: Report) -> str:
    return f"{_head(made)}\n  {summary_text(made)}"


def _text(made: Report) -> str:
    dates = [one_line(f"{date}  {'applies' if past else 'to come'}: {what}") for date, past, what in dates_of(made)]
    return "\n".join([_head(made), *dates, columns(COLUMNS, rows(made)), summary_text(made)])
