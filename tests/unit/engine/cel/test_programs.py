"""The traps of the CEL runtime, each seen in the runtime itself and then guarded against by the wrapper."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any

import pytest
from cel_expr_python import cel

from ossa.engine.cel.lengths import MAX_LIST, MAX_SPLIT
from ossa.engine.cel.programs import CompileError, EvalError, compile_program
from tests.unit.engine.world import reference

_RAW = cel.NewEnv(variables={"inputs": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})


def raw(text: str, **inputs: Any) -> Any:
    """What the runtime itself answers."""
    return _RAW.compile(text).eval(data={"inputs": inputs})


def value(text: str, **inputs: Any) -> object:
    return compile_program(text).evaluate({"inputs": inputs})


def test_a_missing_key_is_an_error_and_not_a_truthy_text() -> None:
    trap = raw("inputs.missing && true")
    assert trap.type() == cel.Type.ERROR
    assert bool(trap.plain_value())
    with pytest.raises(EvalError, match="missing"):
        value("inputs.missing && true")
    with pytest.raises(EvalError, match="inputs has no 'missing'; it has here"):
        value("inputs.missing", here=1)


def test_values_are_plain() -> None:
    assert not isinstance(raw("[inputs.a]", a=1).value()[0], int)
    assert value("[inputs.a, {'b': [true, null]}]", a=1) == [1, {"b": [True, None]}]


def test_a_number_of_more_than_64_bits_elsewhere_does_no_harm() -> None:
    assert raw("inputs.a + 1", a=1, huge=10**30).type() == cel.Type.ERROR
    assert value("inputs.a + 1", a=1, huge=10**30) == 2
    assert value("inputs.huge", huge=10**30) == 10**30
    with pytest.raises(EvalError, match="out of range"):
        value("inputs.huge > 1", huge=10**30)


def test_whole_numbers_and_fractions_do_not_mix_and_the_error_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="no matching overload"):
        raw("1.5 + 1")
    with pytest.raises(CompileError, match="at character 5"):
        value("1.5 + 1")
    with pytest.raises(EvalError, match=r"write double\(…\)"):
        value("inputs.a + inputs.b", a=1, b=1.5)
    assert value("double(inputs.a) + inputs.b", a=1, b=1.5) == 2.5


def test_more_than_ten_thousand_iterations_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="Iteration budget"):
        raw("inputs.l.all(a, inputs.l.all(b, true))", l=list(range(101)))
    with pytest.raises(EvalError, match="more than 10,000 times"):
        value("inputs.l.all(a, inputs.l.all(b, true))", l=list(range(101)))


def test_loops_over_long_lists_are_refused_because_map_is_quadratic() -> None:
    def took(size: int) -> float:
        start = time.perf_counter()
        raw("inputs.l.map(a, a)", l=list(range(size)))
        return time.perf_counter() - start

    # Eight times the items. The machine may do something else meanwhile, hardly each time.
    assert took(4000) > 16 * min(took(500) for _ in range(5))
    with pytest.raises(EvalError, match=f"at most {MAX_LIST} are taken"):
        value("inputs.l.map(a, a)", l=[0] * (MAX_LIST + 1))
    assert value("inputs.l.size()", l=[0] * (MAX_LIST + 1)) == MAX_LIST + 1
    with pytest.raises(EvalError, match="split the text in a task"):
        value("inputs.s.split(',').map(a, a)", s="," * (MAX_SPLIT + 1))
    with pytest.raises(CompileError, match="too many lists put together"):
        value("(inputs.l + inputs.l + inputs.l + inputs.l + inputs.l).map(a, a)", l=[])


def test_the_keys_of_a_map_come_in_no_order() -> None:
    letters = dict.fromkeys("abcdefghijklmnop", 1)
    orders = {tuple(raw("inputs.o.map(k, k)", o=letters).plain_value()) for _ in range(20)}
    assert len(orders) > 1
    with pytest.raises(EvalError, match="whose keys have no order"):
        value("inputs.o.map(k, k)", o=letters)
    assert value("inputs.o.all(k, k != '')", o=letters) is True
    assert list(value("{'b': 1, 'a': 2, 'd': 3, 'c': 4}")) == ["a", "b", "c", "d"]  # type: ignore[call-overload]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal there")
def test_nulls_take_no_references_of_none_away() -> None:
    """Of a new process it has a few thousand; without any it aborts."""
    nulls = "[" + ", ".join(["null"] * 90) + ", {'k': inputs.n}]"
    before = sys.getrefcount(None)
    for _ in range(10):
        raw(nulls, n=None).plain_value()
    lost = before - sys.getrefcount(None)
    for _ in range(lost):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
    assert lost >= 900
    before = sys.getrefcount(None)
    for _ in range(10):
        assert value(nulls, n=None) == [None] * 90 + [{"k": None}]
    assert abs(before - sys.getrefcount(None)) < 300
    assert value("inputs.a ? null : inputs.a", a=True) is None


def test_only_the_names_of_roots_are_known_when_it_is_compiled() -> None:
    assert compile_program("inputs.no.such.thing").references.whole == ("inputs", "no", "such", "thing")
    with pytest.raises(CompileError, match=r"undeclared reference to 'input.a'"):
        compile_program("input.a")


def test_evaluation_itself_may_raise() -> None:
    with pytest.raises(RuntimeError, match="duplicate key"):
        raw("{'a': 1, 'a': 2}")
    with pytest.raises(EvalError, match="duplicate key"):
        value("{'a': 1, 'a': 2}")


@pytest.mark.parametrize(
    "text",
    ["timestamp(0)", "duration('1s')", "b'abc'", "type(1)", "{1: 2}", "1.0 / 0.0", "0.0 / 0.0", "[[timestamp(0)]]"],
)
def test_what_json_does_not_know_is_an_error(text: str) -> None:
    with pytest.raises(EvalError, match="cannot be kept"):
        value(text)


def test_numbers_read_as_they_will_after_a_trip_through_the_api() -> None:
    for text, expected in {"3": 3, "3.0": 3, "7 / 2": 3, "7.0 / 2.0": 3.5, "1u": 1, "1e300": 1e300}.items():
        got = value(text)
        assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    "text",
    [
        "[inputs.s]" + ".map(x, x + x)" * 25,
        "[inputs.s].map(x, (x+x)+(x+x))" + ".map(x, (x+x)+(x+x))" * 12,
        "inputs.s" + ".replace('x', 'xxxxxxxxxxxxxxxxxxxxxxxxx')" * 10,
        "inputs.s.replace('x', inputs.s)",
        "inputs.l.map(x, inputs.l.map(y, inputs.l))",
    ],
)
def test_values_that_grow_by_powers_are_refused_before_they_are_made(text: str) -> None:
    with pytest.raises(CompileError, match="could grow"):
        compile_program(text)


@pytest.mark.parametrize(
    "text",
    [
        "inputs.l.map(x, {'id': x.id, 'threshold': inputs.threshold, 'name': x.name + '-' + inputs.suffix})",
        "inputs.a.filter(x, inputs.b.exists(y, y.id == x.id)).map(x, {'x': x, 'run': execution.name})",
        "inputs.csv.split(',').map(x, x.trim().upperAscii()).join(';')",
        "inputs.name.replace('-', '_').replace('.', '_')",
        "inputs.l.map(x, inputs.l.map(y, {'x': x, 'y': y, 'run': execution.name}))",
    ],
)
def test_honest_expressions_are_not_refused(text: str) -> None:
    compile_program(text)


@pytest.mark.parametrize("text", ["(" * 40 + "1" + ")" * 40, "1" + " + 1" * 40, "inputs" + ".a" * 40])
def test_deep_expressions_say_so(text: str) -> None:
    with pytest.raises(CompileError, match="at most 32 levels"):
        compile_program(text)


def test_long_and_empty_expressions_are_refused() -> None:
    with pytest.raises(CompileError, match="at most 4096 are taken"):
        compile_program("'" + "a" * 4096 + "'")
    with pytest.raises(CompileError, match="is empty"):
        compile_program("")


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("tasks.a.output.x", {"a"}),
        ("tasks['a-b'].output.x + tasks.c.output.y", {"a-b", "c"}),
        ("tasks.`a-b`.output.x", {"a-b"}),
        ("has(tasks.a.output.x) ? tasks.b.output : null", {"a", "b"}),
        ("inputs.l.exists(x, x == tasks.a.output.y)", {"a"}),
        ("inputs.l.map(tasks, tasks.nothing)", set()),
        ("[1].exists(x, true) && tasks.a.phase == 'Completed'", {"a"}),
        ("{'k': [tasks.a.output]}['k']", {"a"}),
        ("'tasks.a.output' + \"tasks['b']\"", set()),
        (".tasks.a.output.x", {"a"}),
        ("inputs.tasks.a", set()),
    ],
)
def test_references_come_from_the_syntax_tree(text: str, tasks: set[str]) -> None:
    assert compile_program(text).references.tasks == tasks


@pytest.mark.parametrize(
    "text", ["tasks[inputs.name].output", "tasks['a' + 'b']", "inputs.l.map(x, tasks[x])", "tasks[inputs.a.b].c.d"]
)
def test_a_computed_task_name_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match="cannot be computed"):
        compile_program(text)


@pytest.mark.parametrize(
    "text", ["size(tasks)", "tasks", "'a' in tasks", "tasks.exists(t, true)", "[tasks]", "tasks == {}"]
)
def test_tasks_as_a_whole_are_refused(text: str) -> None:
    with pytest.raises(CompileError, match="name the task"):
        compile_program(text)


@pytest.mark.parametrize("text", ["tasks.a-name", "tasks.a-name.output.x", "tasks.a-1", "1 + tasks.a-b-c.output"])
def test_a_hyphen_gets_a_hint(text: str) -> None:
    with pytest.raises(CompileError, match="a name with a hyphen is written"):
        compile_program(text)


def test_errors_name_the_character() -> None:
    with pytest.raises(CompileError, match=r"^at character 12: undeclared reference to 'foo'"):
        compile_program("inputs.a + foo")
    with pytest.raises(CompileError, match=r"^at line 2, character 3: "):
        compile_program("inputs.a +\n  foo")


@pytest.mark.parametrize("text", ["inputs.r.size()", "inputs.r.rows", "inputs.r == inputs.s", "inputs.r.map(x, x)"])
def test_an_expression_does_not_look_inside_an_artifact(text: str) -> None:
    with pytest.raises(EvalError, match="lies in the artifact service"):
        value(text, r=reference(), s=1)


def test_an_expression_passes_an_artifact_on_whole() -> None:
    assert value("inputs.r", r=reference()) == reference()
    assert value("{'k': [inputs.r]}", r=reference()) == {"k": [reference()]}
    assert value("inputs.yes ? inputs.r : null", r=reference(), yes=True) == reference()
    assert value("has(inputs.r) && inputs.r != null", r=reference()) is True


def test_paths_are_looked_up_as_the_runtime_would() -> None:
    bound = {"a": {"b": [1, {"c": None}]}, "s": "x"}
    assert value("inputs.a.b[1].c", **bound) is None
    assert value("inputs['a']['b'][0]", **bound) == 1
    for text in ("inputs.a.b[2]", "inputs.a.b['0']", "inputs.s.t", "inputs.a[0]", "inputs.a.b[-1]", "inputs.a.b.c"):
        assert raw(text, **bound).type() == cel.Type.ERROR
        with pytest.raises(EvalError):
            value(text, **bound)


def test_only_what_is_read_is_bound() -> None:
    program = compile_program("has(inputs.a.b) && inputs.a.b.c > 1 && has(inputs.z)")
    assert program._bind({"inputs": {"a": {"b": {"c": 2}, "x": 1}, "y": 1}}) == {"inputs": {"a": {"b": {"c": 2}}}}
