"""`ossa audit`: exit codes, what it says, and what it can be held to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from ossa.audit import spool
from ossa.cli.__main__ import main
from ossa.cli.outcome import Exit
from ossa.store.trailarchive import TrailArchive
from tests.unit.audit.running import record_many, writing
from tests.unit.audit.trails import Written, chain_of, entry_of, public_pem, signer_of


@pytest.fixture
def keys(tmp_path: Path) -> str:
    file = tmp_path / "keys.pem"
    file.write_text(public_pem(signer_of(2).public) + public_pem(signer_of().public))
    return str(file)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    put(folder, chain_of(6))
    return folder


def put(folder: Path, written: Written) -> None:
    asyncio.run(TrailArchive.open(folder.as_uri()).put(written.links, written.heads))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["audit", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_proven_archive(store: Path, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", "--store", store.as_uri(), "--keys", keys)
    assert code == Exit.OK
    assert out.startswith("archive: 1 chains, 6 links, since 2026-03-01T12:00:01Z: all proven")


def test_an_object_that_is_gone_is_missed_by_what_was_known(
    store: Path, keys: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("verify", "--store", store.as_uri(), "--keys", keys)
    _, out, _ = run(capsys, *arguments, "-o", "json")
    last = tmp_path / "last.json"
    last.write_text(out)
    assert run(capsys, *arguments, "--known", str(last))[0] == Exit.OK
    next(store.rglob("*.gz")).unlink()
    put(store, chain_of(2, writer="gateway-1"))
    assert run(capsys, *arguments)[0] == Exit.OK  # nothing that is left knows of it
    code, out, _ = run(capsys, *arguments, "--known", str(last))
    assert code == Exit.FAILED
    assert "missing" in out
    assert "1-6" in out


def test_heads_are_known_from_the_log(
    store: Path, keys: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    lines = [
        {"message": "the audit trail has come to", "head": chain_of(3, writer="gateway-7").heads[0].text},
        {"a": 1},
    ]
    log.write_text("\n".join(["not JSON", *map(json.dumps, lines)]))
    code, out, _ = run(capsys, "verify", "--store", store.as_uri(), "--keys", keys, "--known", str(log))
    assert code == Exit.FAILED
    assert "gateway-7" in out


def test_without_room_for_what_was_read_it_says_so(
    store: Path, keys: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_SCHEMA", f"{spool._SCHEMA} PRAGMA max_page_count = 12;")
    put(store, chain_of(1500, writer="gateway-1"))
    code, _, error = run(capsys, "verify", "--store", store.as_uri(), "--keys", keys)
    assert (code, "$TMPDIR" in error) == (Exit.CLUSTER, True)


def test_no_trail_at_all_proves_nothing(tmp_path: Path, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, error = run(capsys, "verify", "--store", empty.as_uri(), "--keys", keys)
    assert code == Exit.FAILED
    assert "nothing is proven" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--keys", "nothing.pem", "--store", "file:///tmp"), "cannot be read"),
        (("--store", "file:///tmp"), "--keys FILE"),
        (("--keys", "x"), "--store URL"),
        (("--keys", "KEYS", "--store", "nothing://x"), "cannot be opened"),
        (("--keys", "KEYS", "--records", "mysql://x"), "postgresql://"),
        (("--keys", "KEYS", "--store", "file:///tmp", "--known", "nothing.json"), "holds no heads"),
    ],
)
def test_what_makes_no_sense(
    arguments: tuple[str, ...], said: str, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, "verify", *(keys if word == "KEYS" else word for word in arguments))
    assert code == Exit.USAGE
    assert said in error


def test_records_that_are_away(keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "verify", "--keys", keys, "--records", "postgresql://u:secret@127.0.0.1:1/x")
    assert code == Exit.CLUSTER
    assert "secret" not in error


def test_a_row_whose_columns_lie_is_found(records_url: str, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written_to(records_url))
    arguments = ("verify", "--records", records_url, "--keys", keys, "-o", "json")
    code, out, _ = run(capsys, *arguments)
    assert (code, json.loads(out)["proven"]) == (Exit.OK, True)
    asyncio.run(execute(records_url, "UPDATE audit SET \"user\" = 'eve' WHERE seq = 3"))
    code, out, _ = run(capsys, *arguments)
    assert code == Exit.FAILED
    (finding,) = json.loads(out)["places"]["records"]["findings"]
    assert (finding["kind"], finding["first"], "column user" in finding["text"]) == ("altered", 3, True)


def test_a_head_that_was_spoiled_is_found(records_url: str, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written_to(records_url))
    asyncio.run(execute(records_url, "UPDATE audit_heads SET body = '{}'"))
    code, out, _ = run(capsys, "verify", "--records", records_url, "--keys", keys)
    assert code == Exit.FAILED
    assert "forged" in out
    assert "unsigned" in out


def test_entries_are_shown_by_what_is_asked(records_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written_to(records_url))
    code, out, _ = run(capsys, "show", "--records", records_url, "--user", "ossa:eve", "-o", "json")
    assert code == Exit.OK
    assert [json.loads(line)["entry"]["id"] for line in out.splitlines()] == ["request-77"]
    _, out, _ = run(capsys, "show", "--records", records_url, "--resource", "executions", "--limit", "2")
    assert len(out.splitlines()) == 3
    _, out, error = run(capsys, "show", "--records", records_url, "--since", "2999-01-01")
    assert (out, "no such entries" in error) == ("", True)


async def written_to(url: str) -> None:
    async with writing(url, None) as trail:
        await record_many(trail, 1, 5)
        await trail.record(entry_of(77, user="ossa:eve"))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"ALTER TABLE audit DISABLE TRIGGER ALL; {statement}")
    await connection.close()
