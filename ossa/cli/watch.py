"""`ossa watch` and `ossa tasks`: where a run stands."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ossa.api.execution import Execution
from ossa.cli.follow import follow
from ossa.cli.outcome import Exit, Stop
from ossa.cli.session import Session, get_execution, task_order
from ossa.cli.view import (
    TASK_COLUMNS,
    change_line,
    changes,
    closing,
    headline,
    task_rows,
    task_table,
    tasks_json,
)

COLOURS = {"Completed": "green", "Failed": "red", "Running": "cyan", "Retrying": "yellow", "Skipped": "dim"}


async def tasks(session: Session, name: str, *, as_json: bool) -> Exit:
    """Print the task table."""
    execution = await get_execution(session, name)
    rows = task_rows(execution, await task_order(session, execution.spec), datetime.now(UTC))
    if as_json:
        print(json.dumps(tasks_json(execution, rows), indent=2))
    elif rows:
        print(task_table(rows))
    else:
        print(headline(execution, datetime.now(UTC)))
    return Exit.OK


async def watch(session: Session, name: str, *, longest: float | None, as_json: bool) -> Exit:
    """Show progress until the run ends: a live table on a terminal, lines elsewhere, JSON lines on request.

    Raises Stop with Exit.TIMEOUT after `longest` seconds; the run itself goes on.
    """
    try:
        async with asyncio.timeout(longest):
            if as_json:
                execution = await _tell(session, name, lambda change, _: json.dumps(change))
            elif sys.stdout.isatty():
                execution = await _show(session, name)
            else:
                execution = await _tell(session, name, change_line)
    except TimeoutError as error:
        raise Stop(
            f"Execution '{name}' has not ended within {longest:g} s; it goes on: ossa watch {name}",
            Exit.TIMEOUT,
        ) from error
    if not as_json:
        print("\n".join(closing(execution)))
    return Exit.OK if execution.status.phase == "Completed" else Exit.FAILED


async def _tell(session: Session, name: str, line: Callable[[dict[str, object], datetime], str]) -> Execution:
    """Print a line for every change."""
    last: Execution | None = None
    async for execution in follow(session, name):
        for change in changes(last.status if last is not None else None, execution.status):
            print(line(change, datetime.now(UTC)), flush=True)
        last = execution
    if last is None:
        raise AssertionError("following an execution gives it at least once")
    return last


async def _show(session: Session, name: str) -> Execution:
    """Keep a table on the terminal up to date; the durations run between the changes, too."""
    screen = _Screen()
    console = Console()
    with Live(screen, console=console, refresh_per_second=4) as live:
        async for execution in follow(session, name):
            if screen.execution is None:
                screen.order = await task_order(session, execution.spec)
            screen.execution = execution
            live.refresh()
    if screen.execution is None:
        raise AssertionError("following an execution gives it at least once")
    return screen.execution


class _Screen:
    """What `Live` draws: it asks again four times a second, so running durations count on."""

    def __init__(self) -> None:
        self.execution: Execution | None = None
        self.order: list[str] = []
        self._spinner = Spinner("dots")

    def __rich__(self) -> Group | Spinner:
        if self.execution is None:
            return self._spinner
        now = datetime.now(UTC)
        table = Table(box=None, pad_edge=False)
        for column in TASK_COLUMNS:
            wraps = column == "MESSAGE"
            table.add_column(column, overflow="fold" if wraps else "ellipsis", no_wrap=not wraps)
        for row in task_rows(self.execution, self.order, now):
            table.add_row(
                row.task,
                Text(row.phase, style=COLOURS.get(row.phase, "")),
                str(row.attempt or "-"),
                row.duration or "-",
                row.pod or "-",
                Text(row.message),
            )
        return Group(Text(headline(self.execution, now), style="bold"), table)
