"""Runs the reconciler with a wall clock that can be put forward and back while it runs.

python -m tests.chaos.launch CLOCK_FILE PROGRAM

CLOCK_FILE holds one C double: the seconds by which `time.time` and `datetime.now` differ from the machine's. Monotonic
clocks go on as they are, as they do where an administrator or NTP sets the time. All that the reconciler knows of the
time of day comes from these two.
"""

from __future__ import annotations

import datetime as module
import mmap
import runpy
import struct
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg  # noqa: F401 - its C code wants to see the real class when it is imported

SIZE = struct.calcsize("d")
real_datetime = module.datetime


def put(file: Path, seconds: float) -> None:
    """Writes the offset in place, for a process that has the file open."""
    with file.open("r+b" if file.exists() else "wb") as held:
        held.write(struct.pack("d", seconds))


def install(file: Path) -> None:
    """Replaces the clocks of this process. What has taken them by name before keeps the old ones."""
    with file.open("rb") as opened:
        held = mmap.mmap(opened.fileno(), SIZE, access=mmap.ACCESS_READ)
    real_time = time.time

    def offset() -> float:
        value: float = struct.unpack_from("d", held)[0]
        return value

    class Anything(type):
        """datetimes that C code makes are of the real class."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real_datetime)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, real_datetime)

    class Stepped(module.datetime, metaclass=Anything):
        """Its `now` looks at the stepped clock; all else is as it was, and gives the real class."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return real_datetime.__new__(real_datetime, *args, **kwargs)

        @classmethod
        def now(cls, tz: module.tzinfo | None = None) -> Any:
            return real_datetime.fromtimestamp(real_time() + offset(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return real_datetime.fromtimestamp(real_time() + offset(), module.UTC).replace(tzinfo=None)

    for name in ("fromtimestamp", "fromisoformat", "strptime", "combine", "fromordinal", "utcfromtimestamp"):
        setattr(Stepped, name, getattr(real_datetime, name))
    time.time = lambda: real_time() + offset()
    time.time_ns = lambda: int((real_time() + offset()) * 1e9)
    module.datetime = Stepped  # type: ignore[misc]


def main() -> None:
    clock, program = sys.argv[1:]
    install(Path(clock))
    sys.argv = [program]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
