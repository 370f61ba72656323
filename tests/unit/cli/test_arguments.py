"""What is typed, and what becomes of it."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from ossa.cli.__main__ import main, seconds
from ossa.cli.download import file_names, references
from ossa.cli.outcome import Exit, Stop
from ossa.cli.run import parse_inputs
from ossa.cli.session import not_found_message

SCHEMA = {"properties": {"dataset": {"type": "string"}, "spoil": {"type": "integer"}}, "additionalProperties": False}


def reference(media_type: str) -> dict[str, Any]:
    return {"$artifact": "abc", "size": 1, "sha256": "0" * 64, "mediaType": media_type}


def test_inputs_have_the_type_that_the_workflow_gives_them() -> None:
    assert parse_inputs(["dataset=12", "spoil=12"], SCHEMA) == {"dataset": "12", "spoil": 12}
    assert parse_inputs(['a=[1, "x"]', "b=true", "c=plain text", "d=k=v", "e="], {}) == {
        "a": [1, "x"], "b": True, "c": "plain text", "d": "k=v", "e": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["dataset"], "write it as name=value"),
        (["=x"], "write it as name=value"),
        (["spoil=1", "spoil=2"], "given twice"),
        (["dataste=wine"], "has no such input. It has: dataset, spoil"),
    ],
)
def test_inputs_that_make_no_sense_are_usage_errors(pairs: list[str], words: str) -> None:
    with pytest.raises(Stop, match=words) as stop:
        parse_inputs(pairs, SCHEMA)
    assert stop.value.code == Exit.USAGE


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5)])
def test_lengths_of_time(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "5 m", "m"])
def test_lengths_of_time_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 90s, 5m or 1h30m"):
        seconds(text)


def test_files_are_named_by_output_and_media_type() -> None:
    report = {"json": "application/json", "markdown": "text/markdown; charset=utf-8", "plot": "image/png"}
    outputs = {
        "report": {key: reference(media_type) for key, media_type in report.items()},
        "summary": {"records": 178},
        "tables": [reference("text/csv"), reference("text/csv")],
        "model": reference("application/x-unheard-of"),
    }
    assert file_names(list(references(outputs))) == [
        "report.json", "report.md", "report.png", "tables-0.csv", "tables-1.csv", "model.bin",
    ]  # fmt: skip


def test_no_output_leads_out_of_the_folder() -> None:
    outputs = {"../../etc/passwd": reference("text/plain"), "..": reference("text/plain"), ".": reference("text/plain")}
    names = file_names(list(references(outputs)))
    assert len(set(names)) == 3
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_a_malformed_reference_is_named() -> None:
    with pytest.raises(Stop, match=r"outputs\.report\.plot is no well-formed reference"):
        list(references({"report": {"plot": {"$artifact": "abc"}}}))


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([("prod", "x"), ("default", "y")], "add -n prod"),
        ([("default", "y"), ("default", "z"), ("prod", "q")], "It has: y, z"),
        ([("default", f"e{n}") for n in range(12)], "and 2 more"),
        ([("prod", "q")], "there are some in: prod"),
        ([], "There are none in the cluster yet"),
    ],
)
def test_not_found_says_what_there_is(places: list[tuple[str, str]], words: str) -> None:
    message = not_found_message("Execution", "x", namespace="default", places=places)
    assert message.startswith("Execution 'x' was not found in namespace 'default'.")
    assert words in message


@pytest.mark.parametrize("arguments", [[], ["watch"], ["watch", "x", "--timeout", "soon"], ["fly", "x"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == Exit.USAGE
    assert "usage: ossa" in capsys.readouterr().err


def test_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "exit codes:" in capsys.readouterr().out
