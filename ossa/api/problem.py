"""Problem objects (RFC 9457): how the platform's services say over HTTP what is wrong."""

from __future__ import annotations

import json

_SHOWN = 200


def problem_detail(body: bytes | str) -> str:
    """The words for a person in the body of an answer: a problem's detail or title, else the start of the body."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and (said := problem.get("detail") or problem.get("title")):
        return str(said)
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    return text[:_SHOWN] or "no reason given"
