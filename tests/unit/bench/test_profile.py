"""Folded stacks, as py-spy writes them."""

from __future__ import annotations

from tests.bench.profile import as_text, shares

FOLDED = """\
<module> (main.py:3);work (loop.py:10);parse (json.py:1) 30
<module> (main.py:3);work (loop.py:12);parse (json.py:1) 10
<module> (main.py:3);work (loop.py:12) 20
<module> (main.py:3);EpollSelector.select (selectors.py:468) 500
Thread.run (threading.py:982);_worker (concurrent/futures/thread.py:81) 500
""".splitlines()


def test_a_function_counts_once_whatever_its_line_and_waiting_does_not() -> None:
    own, whole = shares(FOLDED)
    assert own == {"parse (json.py)": 40, "work (loop.py)": 20}
    assert whole == {"<module> (main.py)": 60, "work (loop.py)": 60, "parse (json.py)": 40}


def test_recursion_counts_once() -> None:
    _, whole = shares(["a (x.py:1);a (x.py:2);a (x.py:1) 5"])
    assert whole == {"a (x.py)": 5}


def test_what_is_in_all_samples_is_left_out() -> None:
    assert as_text(FOLDED).splitlines() == [
        " with callees   alone  of 60 samples",
        "        66.7%   66.7%  parse (json.py)",
    ]
    assert as_text([]) == "no samples"
