"""Logs as JSON lines on stderr: one object a record, `time` in UTC."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

# What every record has; the rest came by `extra=`.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}
# What the lines of the current task are about.
_about: ContextVar[Mapping[str, str] | None] = ContextVar("ossa_log_about", default=None)


def log_about(fields: Mapping[str, str] | None) -> None:
    """From here on each line that the current asyncio task logs has these fields, and so have tasks that it starts."""
    _about.set(fields)


class JSONLines(logging.Formatter):
    """A record as one line of JSON; `extra` of the constructor is added to every record."""

    def __init__(self, **extra: str | int) -> None:
        super().__init__()
        self._extra = extra

    def format(self, record: logging.LogRecord) -> str:
        """time, level, logger, message, what it is about, what was given as extra, the traceback of an exception."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._extra,
            **(_about.get() or {}),
            **{key: value for key, value in record.__dict__.items() if key not in _OWN},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to(stream: TextIO, *, level: int = logging.INFO, **extra: str | int) -> None:
    """Make the root logger write JSON lines to `stream`, and to nothing else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONLines(**extra))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # One line a request is noise in a task's log; what goes wrong is logged by the client itself.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
