"""What an expression may go over: reckoned before it runs, and so that all that is let through is quick."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossa.engine.cel.ast import Node, read_tree
from ossa.engine.cel.bounds import Sizes
from ossa.engine.cel.lengths import ITEM, measure
from ossa.engine.cel.programs import WORKFLOW, EvalError, Program, compile_program
from ossa.engine.cel.work import MAX_WORK, Work, work_of

_MB = 10**6
_TEN_THOUSAND = ["a"] * 100
_LINES = [f"{number} " + "y" * 1000 for number in range(1000)]
_TASKS = [
    {
        "name": f"task-{number}",
        "dependsOn": [f"task-{number - 1}"],
        "agent": {"owner": "data-team", "image": "registry.example.org/team/agent@sha256:" + "a" * 64},
        "input": {"text": "x" * 2000},
        "ancestors": [f"task-{other}" for other in range(number)],
    }
    for number in range(100)
]


def value(text: str, **inputs: Any) -> object:
    return compile_program(text).evaluate({"inputs": inputs})


def tree(text: str) -> Node:
    return read_tree(WORKFLOW.compile(text).serialize()).root


def reckoned(text: str, **inputs: Any) -> int:
    data = {"inputs": inputs}
    return Work(tree(text)).reckon(data, measure(data))


@pytest.mark.parametrize(
    "text",
    [
        "inputs.l.all(x, inputs.l.exists(y, inputs.t.contains(y + 'zzz')))",
        "inputs.l.map(x, inputs.l.map(y, inputs.t.replace('a', 'b').size()))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t.lowerAscii() != inputs.t.upperAscii()))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t.indexOf('zz') < 0))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t.substring(9) != ''))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t.charAt(9) != ''))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t.size() > 0))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t + x != ''))",
        "inputs.l.all(x, inputs.l.all(y, inputs.t == inputs.u))",
        "inputs.l.all(x, inputs.l.all(y, '%s'.format([inputs.t]) != ''))",
        "inputs.l.all(x, inputs.l.all(y, inputs.many.join(',') != ''))",
        "inputs.l.all(x, inputs.l.all(y, inputs.many == inputs.others))",
        "inputs.l.all(x, inputs.l.all(y, inputs.map == inputs.maps))",
        "inputs.l.all(x, inputs.l.all(y, inputs.map in [inputs.maps, inputs.maps]))",
        "inputs.l.all(x, !inputs.t.matches('(a|b)*a(a|b){9}c'))",
        "inputs.l.all(x, ''.matches('[a-z]{1000}') || ''.matches('.{900}'))",
        "inputs.l.all(x, x.matches(inputs.t))",
        "inputs.l.map(x, inputs.t)",
        "inputs.l.map(x, [x, inputs.t]).filter(y, y[1].contains(y[0] + 'z'))",
        "[inputs.t].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x)",
        "inputs.t.contains(inputs.half)",
        "inputs.t.matches('(a|b)*c{90}')",
        r"inputs.t.matches('\\pL')",
    ],
)
def test_what_would_take_too_long_is_refused_at_once(text: str) -> None:
    many = [f"item {number}" for number in range(1000)]
    maps = {name: name for name in many}
    reads: dict[str, object] = {"t": "a" * _MB, "u": "a" * _MB, "half": "a" * 400_000 + "b", "l": _TEN_THOUSAND}
    reads |= {"many": many, "others": list(many), "map": maps, "maps": dict(maps)}
    started = time.thread_time()
    with pytest.raises(EvalError, match=r"it could go over [\d,]+ million characters.*; at most 100 million are taken"):
        value(text, **{name: held for name, held in reads.items() if f"inputs.{name}" in text})
    assert time.thread_time() - started < 0.5


def test_the_bound_is_exact() -> None:
    """The text, what is searched for, the text again for each 200 characters of that, and each node."""
    needle = "b" * (50_000 - ITEM)

    def work(length: int) -> int:
        return (ITEM + length) + 50_000 + (ITEM + length) * 50_000 // 200 + 7 * ITEM

    fits = next(length for length in range(398_000, 399_000) if work(length + 1) > MAX_WORK)
    assert work(fits) <= MAX_WORK
    assert reckoned("inputs.t.contains(inputs.n)", t="a" * fits, n=needle) == work(fits)
    assert value("inputs.t.contains(inputs.n)", t="a" * fits, n=needle) is False
    with pytest.raises(EvalError, match="could go over 100 million"):
        value("inputs.t.contains(inputs.n)", t="a" * (fits + 1), n=needle)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("inputs.lines.filter(l, l.contains('x')).size() == 0", {"lines": _LINES}),
        ("inputs.lines.filter(l, l.contains(inputs.word)).size() == 0", {"lines": _LINES, "word": "not in it"}),
        ("inputs.lines.filter(l, l.matches('ERROR|WARN')).size() == 0", {"lines": _LINES}),
        ("inputs.lines.map(l, l.lowerAscii().trim()).size() == 1000", {"lines": _LINES}),
        ("inputs.lines.map(l, l.replace('y', 'z')).size() == 1000", {"lines": _LINES}),
        ("inputs.lines.map(l, '%s/%s'.format([l, inputs.s])).size() == 1000", {"lines": _LINES, "s": "s"}),
        ("!inputs.words.exists(w, inputs.t.contains(w))", {"words": ["password", "token"] * 10, "t": "x" * 100_000}),
        ("!inputs.t.matches('(?i)password|secret|token')", {"t": "x" * _MB}),
        ("!inputs.t.contains('password')", {"t": "x" * 16 * _MB}),
        ("inputs.tasks.all(t, t.name.startsWith('task-'))", {"tasks": _TASKS}),
        ("inputs.tasks.all(t, t.agent.image.matches('^.+@sha256:[0-9a-f]{64}$'))", {"tasks": _TASKS}),
        ("inputs.tasks.all(t, !has(t.other) && t.agent['image'].contains('agent'))", {"tasks": _TASKS}),
        (
            "inputs.tasks.filter(t, t.agent.owner != '').all(t, t.agent.image.matches('^.+@sha256:[0-9a-f]{64}$'))",
            {"tasks": _TASKS},
        ),
        (
            "inputs.tasks.all(t, inputs.allowed.split(',').exists(p, t.agent.image.matches('^' + p.trim())))",
            {"tasks": _TASKS, "allowed": r"ghcr\.io/.*, registry\.example\.org/[a-z]{4}/.*"},
        ),
        (
            "inputs.tasks.all(t, inputs.tasks.filter(u, u.agent.owner == t.name).size() <= 3)",
            {"tasks": _TASKS[:95]},
        ),
        (
            "inputs.tasks.all(t, t.dependsOn.all(d, !inputs.tasks.exists(u, u.name == d && u.agent.owner == '')))",
            {"tasks": _TASKS[:70]},
        ),
        (
            "inputs.tasks.all(t, t.ancestors.all(a, a in inputs.names))",
            {"tasks": _TASKS, "names": [task["name"] for task in _TASKS]},
        ),
        (
            "inputs.tasks.all(t, t.agent.owner in inputs.owners)",
            {"tasks": _TASKS, "owners": ["x"] * 999 + ["data-team"]},
        ),
        ("inputs.l.map(x, inputs.l.map(y, {'x': x, 'y': y})).size() == 95", {"l": list(range(95))}),
        ("inputs.csv.split(',').map(x, x.trim().upperAscii()).join(';') != ''", {"csv": "abc," * 1000}),
    ],
)
def test_ordinary_rules_are_let_through(text: str, reads: dict[str, Any]) -> None:
    assert value(text, **reads) is True


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (
            "inputs.l.all(x, !inputs.t.contains('aaaaaaaaaaaaaaaaaaaaaaaab'))",
            {"t": "a" * 800_000, "l": list(range(100))},
        ),
        ("!inputs.t.contains(inputs.n)", {"t": "a" * 390_000, "n": "a" * 49_000 + "b"}),
        ("inputs.l.all(x, inputs.t.replace('a', 'b') != '')", {"t": "a" * 80_000, "l": list(range(100))}),
        ("inputs.l.all(x, strings.quote(inputs.t) != '')", {"t": "a" * 300_000, "l": list(range(100))}),
        ("inputs.l.all(x, inputs.m == inputs.n)", {"l": list(range(95))}),
        ("!inputs.t.matches('(a.{300}|b.{300})c')", {"t": "ab" * 15_000}),
        (r"inputs.l.all(x, !''.matches('\\PL{3}'))", {"l": list(range(100))}),
    ],
)
def test_what_is_let_through_at_the_bound_is_quick(text: str, reads: dict[str, Any]) -> None:
    """The dearest of each kind, with as much as is taken: half a second, and here room for a slow machine."""
    if "inputs.m" in text:
        reads = reads | {name: {f"key {number}": number for number in range(20_000)} for name in ("m", "n")}
    assert MAX_WORK / 4 < reckoned(text, **reads) <= MAX_WORK
    started = time.thread_time()
    assert value(text, **reads) is True
    assert time.thread_time() - started < 2


def test_only_what_may_be_dear_is_looked_at() -> None:
    def looked_at(text: str) -> bool:
        return work_of(tree(text), loops=compile_program(text).references.loops) is not None

    assert not looked_at("inputs.name.startsWith('a') || inputs.name in ['a', 'b']")
    assert looked_at("inputs.l.all(x, x)")
    assert looked_at("inputs.s.contains(inputs.t)")
    assert looked_at("inputs.s.matches('^[a-z]+$')")


def test_little_is_not_reckoned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compile_program("inputs.l.all(x, x.contains('a_'))")
    assert program.evaluate({"inputs": {"l": ["a_b"] * 10}}) is True
    monkeypatch.setattr(Work, "reckon", None)
    assert program.evaluate({"inputs": {"l": ["a_c"] * 10}}) is True


_SHAPES = [
    "inputs.l.all(x, inputs.l.all(y, x.contains(y)))",
    "inputs.l.map(x, inputs.l.filter(y, y == x)).size()",
    "inputs.l.map(x, {'a': x, 'b': inputs.t}).filter(y, y.a in inputs.l).map(z, z.b + z.a)",
    "inputs.t.split(',').map(x, x.trim()).join(inputs.t)",
    "inputs.m.all(k, inputs.m[k] == inputs.t)",
    "inputs.l.all(x, inputs.t.matches(x))",
    "(inputs.l + [inputs.t]).map(x, x.replace(inputs.t, 'ab')).size() > 0 ? inputs.l[0] : inputs.t",
]
_TEXT = st.text("abä,\\{}", max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_SHAPES), st.lists(_TEXT, max_size=30), _TEXT, st.dictionaries(_TEXT, _TEXT, max_size=9))
def test_what_fits_however_it_is_spread_fits_as_it_is(text: str, items: list[str], t: str, m: dict[str, str]) -> None:
    """Of one size anything is reckoned as no more than the worst of that size, so that the short cut hides nothing."""
    data = {"inputs": {"l": items, "t": t, "m": m}}
    work = Work(tree(text))
    size = measure(data)
    assert Sizes().of(data) == size
    assert work.reckon(data, size) <= work.reckon(None, size)


def test_a_program_with_nothing_to_check_still_runs() -> None:
    program = compile_program("inputs.a + 1")
    assert isinstance(program, Program)
    assert program.evaluate({"inputs": {"a": 1}}) == 2
