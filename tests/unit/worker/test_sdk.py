"""The SDK as a process: input, handler, output, exit codes. Nothing here needs the artifact service."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.tasks import Pod

ECHO = """
    def run(task):
        print("printed")
        task.log.info("got %d", len(task.input))
        return {"got": dict(task.input), "key": task.identity.key}
"""


async def test_a_handler_gets_its_input_and_gives_its_output(tmp_path: Path) -> None:
    ended = await Pod(tmp_path, code=ECHO).run({"n": 1})
    assert ended.fields["got"] == {"n": 1}
    assert ended.fields["key"].endswith("/score/0/2")
    assert ended.stdout == "printed\n"
    line = json.loads(ended.stderr)
    assert line["message"] == "got 1"
    assert (line["level"], line["task"], line["attempt"]) == ("info", "score", 2)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("def run(task): return None", {}),
        ("async def run(task): return {'a': 1}", {"a": 1}),
        ("def run(task): return {'t': (1, 2), 'm': {1: 'x'}}", {"t": [1, 2], "m": {"1": "x"}}),
        ("from sibling import VALUE\ndef run(task): return {'v': VALUE}", {"v": "ü"}),
    ],
)
async def test_what_a_handler_may_give(tmp_path: Path, code: str, output: object) -> None:
    pod = Pod(tmp_path, code=code)
    (tmp_path / "agents" / "scorer" / "sibling.py").write_text("VALUE = 'ü'")
    assert (await pod.run()).fields == output


async def test_a_handler_may_be_a_module_that_is_installed(tmp_path: Path) -> None:
    package = tmp_path / "site" / "mine"
    package.mkdir(parents=True)
    (package / "tasks.py").write_text("def score(task): return {'from': __name__}")
    pod = Pod(tmp_path, code="")
    path = f"{pod.environ['PYTHONPATH']}:{tmp_path / 'site'}"
    assert (await pod.run(OSSA_HANDLER="mine.tasks:score", PYTHONPATH=path)).fields == {"from": "mine.tasks"}


@pytest.mark.parametrize(
    ("code", "last_line"),
    [
        ("def run(task): return [1]", "InvalidOutput: the handler returned list; return a dict"),
        ("def run(task): return {'a': [{'b': float('nan')}]}", "InvalidOutput: output.a[0].b is nan, which JSON"),
        (
            "import datetime\ndef run(task): return {'a': {'when': datetime.date(2026, 1, 1)}}",
            "InvalidOutput: output.a.when is datetime.date, which is no JSON; convert it",
        ),
        ("def run(task): return {'a': {(1, 2): 3}}", "InvalidOutput: output.a has the key (1, 2)"),
        ("def run(task): return {1: 3}", "InvalidOutput: the output's field 1 is int"),
        (
            "def run(task):\n    a = []\n    a.append(a)\n    return {'a': a}",
            "InvalidOutput: output.a is nested too deeply",
        ),
        ("def run(task): return {'a': '\\ud800'}", "InvalidOutput: output.a has characters that are no Unicode"),
        (
            "from ossa.worker import File\ndef run(task): return {'n': 1, 'p': File('no.png')}",
            "InvalidOutput: output.p: the file no.png cannot be read: No such file or directory",
        ),
        ("from ossa.worker import InvalidOutput\ndef run(task): raise InvalidOutput('mine')", "InvalidOutput: mine"),
    ],
)
async def test_an_invalid_output_names_the_field(tmp_path: Path, code: str, last_line: str) -> None:
    ended = await Pod(tmp_path, code=code).run()
    assert (ended.code, ended.output) == (76, "")
    assert ended.last_line.startswith(last_line)


@pytest.mark.parametrize(
    ("code", "last_line"),
    [
        ("def run(task): return {'n': 'x'}", "InvalidOutput: output.n: 'x' is not of type 'integer'"),
        ("def run(task): return {}", "InvalidOutput: output.n: is required, and missing"),
    ],
)
async def test_an_output_is_checked_against_its_schema(tmp_path: Path, code: str, last_line: str) -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}
    ended = await Pod(tmp_path, code=code).run(schemas={"outputSchema": schema})
    assert (ended.code, ended.output) == (76, "")
    assert ended.last_line == last_line


async def test_an_output_with_too_many_fields_says_so(tmp_path: Path) -> None:
    code = "def run(task): return {f'field-{n}': 'x' * 30 for n in range(200)}"
    ended = await Pod(tmp_path, code=code).run()
    assert (ended.code, ended.output) == (76, "")
    assert "give fewer top-level fields (it has 200)" in ended.last_line


@pytest.mark.parametrize(
    ("task_input", "last_line"),
    [
        ([1], "InvalidInput: the input is an array; a task takes a JSON object"),
        ({"n": "x"}, "InvalidInput: input.n: 'x' is not of type 'integer'"),
        ({"m": 1}, "InvalidInput: input.n: is required, and missing"),
        ({"n": {"$artifact": "x", "size": -1}}, "InvalidInput: input.n is no reference: size"),
    ],
)
async def test_an_invalid_input_names_the_field(tmp_path: Path, task_input: object, last_line: str) -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}
    ended = await Pod(tmp_path, code=ECHO).run(task_input, schemas={"inputSchema": schema})
    assert (ended.code, ended.output, ended.stdout) == (65, "", "")
    assert ended.last_line.startswith(last_line)


async def test_an_error_of_the_handler_leaves_its_traceback_last(tmp_path: Path) -> None:
    code = "def run(task):\n    print('before')\n    raise ValueError('no such dataset')"
    ended = await Pod(tmp_path, code=code).run()
    assert (ended.code, ended.output, ended.stdout) == (1, "", "before\n")
    assert 'handler.py", line 3, in run' in ended.stderr
    assert ended.last_line == "ValueError: no such dataset"


@pytest.mark.parametrize(("call", "code"), [("sys.exit(3)", 3), ("sys.exit()", 1), ("sys.exit('sorry')", 1)])
async def test_a_handler_that_exits_is_no_success(tmp_path: Path, call: str, code: int) -> None:
    ended = await Pod(tmp_path, code=f"import sys\ndef run(task): {call}").run()
    assert (ended.code, ended.output) == (code, "")


@pytest.mark.parametrize(
    ("environ", "last_line"),
    [
        ({"OSSA_INPUT": None}, "Error: OSSA_INPUT is not set"),
        ({"OSSA_TASK": "{}"}, "Error: OSSA_TASK is not a task's identity: namespace: Field required"),
        ({"OSSA_INPUT": "/nowhere"}, "Error: OSSA_INPUT (/nowhere): No such file"),
        ({"OSSA_HANDLER": "scorer"}, "Error: OSSA_HANDLER is 'scorer'; write it as module:function"),
        ({"OSSA_HANDLER": "scorer:go"}, "Error: OSSA_HANDLER is 'scorer:go', but"),
        ({"OSSA_HANDLER": "absent:run"}, "Error: OSSA_HANDLER names the module 'absent': it is neither at"),
    ],
)
async def test_a_broken_contract_names_the_variable(tmp_path: Path, environ: dict[str, Any], last_line: str) -> None:
    ended = await Pod(tmp_path, code=ECHO).run(**environ)
    assert ended.code == 1
    assert ended.last_line.startswith(last_line)


async def test_sigterm_ends_it_at_once_and_leaves_no_output(tmp_path: Path) -> None:
    code = """
        import time
        def run(task):
            print("started")
            time.sleep(60)
    """
    pod = Pod(tmp_path, code=code)
    process = await pod.start()
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 10)
    process.send_signal(signal.SIGTERM)
    ended = await pod.end(process)
    assert (ended.code, ended.output, ended.last_line) == (143, "", "stopped by SIGTERM")
