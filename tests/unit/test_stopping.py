"""How a process is told to stop, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from ossa.stopping import told_to_stop, unless


async def test_a_signal_breaks_off_what_waits() -> None:
    stopped = told_to_stop()
    waiting = asyncio.create_task(unless(stopped, asyncio.sleep(60, "never")))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(waiting, 2) is None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


async def test_without_a_signal_it_gives_what_was_waited_for() -> None:
    assert await unless(asyncio.Event(), asyncio.sleep(0, "done")) == "done"

    async def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await unless(asyncio.Event(), fails())


def test_what_would_run_as_the_interpreter_is_taken_down_does_not_when_it_leaves() -> None:
    program = (
        "import atexit, logging, sys; from ossa.stopping import leave; atexit.register(print, 'taken down');"
        "logging.warning('last words'); leave(3)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "last words" in ended.stderr
