"""When schedules fire: spelling, time zones, clocks that are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossa.api.trigger import CRON_WORDS
from ossa.engine.cron import ScheduleError, load_zone, parse_schedule

ZONES = ["Etc/UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]


def fires(cron: str, zone: str, start: str, count: int) -> list[str]:
    """The next times after `start` (the zone's), as its clock shows them."""
    at = ZoneInfo(zone)
    moments = parse_schedule(cron, zone).after(datetime.fromisoformat(start).replace(tzinfo=at))
    return [moment.astimezone(at).strftime("%d %H:%M %z") for moment in islice(moments, count)]


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        ("0 2 * * *", "Europe/Berlin", "2026-07-01T00:00", ["01 02:00 +0200", "02 02:00 +0200"]),
        ("@daily", "Asia/Kathmandu", "2026-07-01T12:00", ["02 00:00 +0545"]),
        ("0 9 L * *", "Etc/UTC", "2026-02-01T00:00", ["28 09:00 +0000", "31 09:00 +0000"]),
        ("0 9 * * FRI#2", "Etc/UTC", "2026-01-01T00:00", ["09 09:00 +0000"]),
        # Either the day of the month or the day of the week, where both are restricted.
        ("0 0 13 * FRI", "Etc/UTC", "2026-01-08T00:00", ["09 00:00 +0000", "13 00:00 +0000"]),
        # Put forward at 2:00: what does not exist comes right after the gap, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["29 03:00 +0200", "30 02:30 +0200"]),
        ("*/15 2 * * *", "Europe/Berlin", "2026-03-29T00:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        ("0 0 * * *", "America/Havana", "2026-03-07T12:00", ["08 01:00 -0400", "09 00:00 -0400"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["04 02:30 +1100", "05 02:15 +1100"]),
        # A whole day that the clock left out.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["31 00:00 +1400", "31 12:00 +1400"]),
        # Put back at 3:00: what comes twice counts at its first coming.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00", ["25 02:30 +0200", "26 02:30 +0100"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:00", ["25 02:00 +0200", "25 02:30 +0200", "26 02:00 +0100"]),
        # A schedule of every hour follows elapsed time.
        ("30 * * * *", "Europe/Berlin", "2026-10-25T02:00", ["25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100"]),
        ("30 0-23 * * *", "Europe/Berlin", "2026-10-25T02:00", ["25 02:30 +0200", "25 02:30 +0100"]),
        ("30 * * * *", "Europe/Berlin", "2026-03-29T00:45", ["29 01:30 +0100", "29 03:30 +0200"]),
    ],
)
def test_when_it_fires(cron: str, zone: str, start: str, expected: list[str]) -> None:
    assert fires(cron, zone, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("61 * * * *", "'61' in '61 * * * *' is no minute; write * or 0-59"),
        ("* 24 * * *", "'24' in '* 24 * * *' is no hour"),
        ("* * * * FOO", "'FOO' in '* * * * FOO' is no day of week; write * or 0-7 or SUN-SAT"),
        ("0 0 31 2 *", "'31' in '0 0 31 2 *' is no day of month"),
        ("* * * *", "has 4 fields; write five"),
        ("0 * * * * *", "has 6 fields; write five"),
        ("", "has 0 fields"),
        ("@dayly", "there is no '@dayly'; there are @hourly, @daily"),
        ("@every 5m", "write */5 * * * * for every five minutes"),
        ("CRON_TZ=Asia/Tokyo 0 2 * * *", "set timeZone instead"),
    ],
)
def test_a_schedule_that_makes_no_sense_says_what_to_write(cron: str, said: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(cron, "Etc/UTC")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("/etc/passwd", "write a name such as"),
        ("Local", "there is no time zone 'Local'"),
    ],
)
def test_an_unknown_zone_is_named_with_its_neighbour(zone: str, said: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        load_zone(zone)
    assert said in str(caught.value)


def test_every_word_of_the_resource_is_known() -> None:
    assert all(parse_schedule(word, "Etc/UTC").fields for word in CRON_WORDS)


def test_the_newest_times_are_found_however_long_ago() -> None:
    schedule = parse_schedule("0 0 1 * *", "Etc/UTC")
    now = datetime(2026, 7, 15, tzinfo=UTC)
    newest = [datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7)]
    assert schedule.latest(now - timedelta(days=4000), now, 2) == newest
    assert schedule.latest(newest[0], now, 5) == newest[1:]
    assert schedule.latest(newest[1], now, 5) == []
    assert schedule.latest(now, newest[1], 5) == []  # a clock that went back
    assert schedule.latest(newest[0], newest[1], 1) == newest[1:]  # up to and with


FIELDS = st.tuples(
    st.sampled_from(["0", "30", "*/20", "5-7", "*"]),
    st.sampled_from(["*", "0-23", "0", "2", "*/2", "1-3", "23"]),
    st.sampled_from(["*", "*", "1-15"]),
    st.just("*"),
    st.sampled_from(["*", "*", "SAT,SUN"]),
).map(" ".join)
STARTS = st.sampled_from(["2026-03-28", "2026-03-07", "2026-10-24", "2026-10-31", "2026-04-04", "2011-12-29"])


def shows(cron: str, wall: datetime) -> bool:
    """Whether a clock that shows `wall` is at a time of the schedule; by brute force, of the fields used here."""
    minute, hour, day, _, weekday = cron.split()
    minutes = {"0": [0], "30": [30], "*/20": [0, 20, 40], "5-7": [5, 6, 7], "*": range(60)}[minute]
    hours = {
        "*": range(24),
        "0-23": range(24),
        "0": [0],
        "2": [2],
        "*/2": range(0, 24, 2),
        "1-3": [1, 2, 3],
        "23": [23],
    }
    right_day = day == "*" or wall.day <= 15
    right_weekday = weekday == "*" or wall.weekday() >= 5
    restricted = day != "*" and weekday != "*"
    matches = right_day or right_weekday if restricted else right_day and right_weekday
    return wall.minute in minutes and wall.hour in hours[hour] and matches


@settings(max_examples=60, deadline=None)
@given(cron=FIELDS, zone=st.sampled_from(ZONES), start=STARTS, offset=st.integers(0, 24 * 60))
def test_three_days_minute_by_minute(cron: str, zone: str, start: str, offset: int) -> None:
    """It fires when a clock of the zone says so: once a time of the wall clock, or with every hour that passes."""
    at, begin = ZoneInfo(zone), datetime.fromisoformat(start).replace(tzinfo=UTC) + timedelta(minutes=offset)
    minutes = [begin + timedelta(minutes=n) for n in range(1, 3 * 24 * 60)]
    schedule = parse_schedule(cron, zone)
    expected = []
    wall = highest = begin.astimezone(at).replace(tzinfo=None)
    for moment in minutes:
        before, wall = wall, moment.astimezone(at).replace(tzinfo=None)
        left_out = [before + timedelta(minutes=n) for n in range(1, int((wall - before) / timedelta(minutes=1)))]
        if schedule.every_hour:
            hit = shows(cron, wall)
        else:
            hit = any(shows(cron, time) for time in left_out) or (wall > highest and shows(cron, wall))
        highest = max(highest, wall)
        expected += [moment] if hit else []
    found = []
    for moment in schedule.after(begin):
        if moment > minutes[-1]:
            break
        found.append(moment)
    first_hour = begin + timedelta(hours=24)  # `begin` may lie in a second coming, of which `highest` knows nothing
    assert [m for m in found if m > first_hour] == [m for m in expected if m > first_hour]
    assert found == sorted(set(found))


@settings(max_examples=200, deadline=None)
@given(cron=FIELDS, zone=st.sampled_from(ZONES), start=STARTS, seconds=st.integers(0, 4 * 86400))
def test_the_next_time_is_the_same_from_wherever_one_looks(cron: str, zone: str, start: str, seconds: int) -> None:
    schedule = parse_schedule(cron, zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    look = begin + timedelta(seconds=seconds)
    later = (moment for moment in schedule.after(begin) if moment > look)
    assert schedule.next_after(look) == next(later, None)
