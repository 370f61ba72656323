"""When a schedule fires: five cron fields, or a word such as @daily, read in a time zone.

The fields are Debian cron's, parsed by cronsim: lists, ranges, steps, names of months and days; `L` for the last day
of the month, `FRI#2` for the second Friday and `5L` for the last one. Where both the day of the month and the day of
the week are restricted, one of them is enough.

Where the clock of the zone is changed:

- A schedule of certain hours (`30 2 * * *`) follows the wall clock. Times that the clock leaves out fire once, at the
  first moment after the gap; a time that comes twice fires at its first coming. So each day has its run, and one.
- A schedule of every hour (`*/10 * * * *`) follows elapsed time: it fires when its minute comes, in both hours of the
  same name, and not for an hour that is left out. So it neither pauses nor bunches.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31 or L",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT",
}
_ALL_HOURS = frozenset(range(24))
# Any moment: whether a schedule ever fires is asked from here on.
_EPOCH = datetime(2000, 1, 1)
_LOOK_BACK = timedelta(minutes=2)


class ScheduleError(ValueError):
    """A schedule that cannot be followed; the text says why, and what to write."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that makes sense, in a time zone. Moments are in UTC and whole minutes."""

    fields: str
    zone: ZoneInfo
    every_hour: bool

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The moments at which it fires after `moment`, in order; none beyond fifty years without one."""
        return self._elapsed(moment) if self.every_hour else self._wall(moment)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first moment after `moment` at which it fires; None where there is none within fifty years."""
        return next(self.after(moment), None)

    def latest(self, since: datetime, until: datetime, limit: int) -> list[datetime]:
        """The newest `limit` moments after `since`, up to and with `until`; oldest first."""
        span = _LOOK_BACK
        while True:
            start = max(since, until - span)
            found = deque(takewhile(lambda moment: moment <= until, self.after(start)), maxlen=limit)
            if len(found) >= limit or start == since or start >= until:
                return list(found)
            span *= 2

    def _elapsed(self, moment: datetime) -> Iterator[datetime]:
        for local in CronSim(self.fields, moment.astimezone(self.zone)):
            yield local.astimezone(UTC)

    def _wall(self, moment: datetime) -> Iterator[datetime]:
        # From one wall time to a later one the moment never goes back: what is skipped has been.
        last = moment
        for wall in CronSim(self.fields, moment.astimezone(self.zone).replace(tzinfo=None)):
            fires = _first_coming(wall, self.zone)
            if fires > last:
                last = fires
                yield fires


@functools.lru_cache(maxsize=4096)
def parse_schedule(cron: str, zone: str) -> Schedule:
    """The schedule `cron` in the time zone `zone`. Raises ScheduleError."""
    fields = _WORDS.get(cron.strip().lower(), cron)
    _check_spelling(cron, fields)
    try:
        parsed = CronSim(fields, _EPOCH)
        fires = next(parsed, None)
    except CronSimError as error:
        raise ScheduleError(_explained(str(error), fields)) from error
    if fires is None:
        raise ScheduleError(f"{cron!r} never fires: no date has this day, month and day of the week")
    every_hour = parsed.hours == _ALL_HOURS
    if every_hour:  # also where it is spelled 0-23: cronsim goes by the star
        minute, _, *days = fields.split()
        fields = " ".join([minute, "*", *days])
    return Schedule(fields, load_zone(zone), every_hour)


def load_zone(name: str) -> ZoneInfo:
    """A time zone of the IANA database. Raises ScheduleError."""
    if name not in _zones():
        near = difflib.get_close_matches(name, _zones(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "write a name such as Europe/Berlin or Etc/UTC"
        raise ScheduleError(f"there is no time zone {name!r}; {hint}")
    return ZoneInfo(name)


@functools.cache
def _zones() -> frozenset[str]:
    """The names of the package tzdata: the same wherever this runs, whatever the image has."""
    text = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(text.split())


def _first_coming(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which a clock in the zone shows `wall`; the end of the gap where none does."""
    local = wall.replace(tzinfo=zone, fold=0)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # In a gap `fold=0` counts on with the offset before it and `fold=1` with the one after it; the change lies between.
    early, late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(minutes=1):
        middle = early + timedelta(minutes=(late - early) // timedelta(minutes=2))
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late


def _check_spelling(cron: str, fields: str) -> None:
    word, _, _ = cron.lstrip().partition(" ")
    if word.lower() == "@every":
        raise ScheduleError(f"{cron!r}: there is no @every; write */5 * * * * for every five minutes")
    if word.upper().startswith(("TZ=", "CRON_TZ=")):
        raise ScheduleError(f"{cron!r}: leave {word} out, and set timeZone instead")
    if fields.startswith("@"):
        raise ScheduleError(f"there is no {cron!r}; there are {', '.join(_WORDS)}")
    if (count := len(fields.split())) != len(_FIELDS):
        raise ScheduleError(
            f"{cron!r} has {count} field{'s' * (count != 1)}; "
            "write five: minute, hour, day of the month, month and day of the week, such as 0 2 * * *"
        )


def _explained(problem: str, fields: str) -> str:
    """cronsim says `Bad minute`."""
    field = problem.removeprefix("Bad ")
    if field not in _FIELDS:
        return f"{fields!r}: {problem}"
    part = fields.split()[list(_FIELDS).index(field)]
    return (
        f"{part!r} in {fields!r} is no {field.replace('-', ' ')}; "
        f"write * or {_FIELDS[field]}, a list 1,2, a range 1-5 or steps */5"
    )
