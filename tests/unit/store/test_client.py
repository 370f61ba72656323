"""The operator's client against the real service: what it stores for an Execution, and what it reads."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef
from ossa.store.access import OPERATOR
from ossa.store.client import ArtifactClient
from ossa.store.errors import BadRequest, Damaged, Forbidden, NotFound, TooLarge, Unauthenticated, Unavailable
from ossa.store.signing import Signer
from tests.unit.store.running import EXECUTION_UID, KEY, NAMESPACE, RECONCILER, Running, running

MIB = 1 << 20


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data", max_size=8 * MIB) as found:
        yield found


class Token:
    """The file of the client's token."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.becomes(RECONCILER + "\n")

    def becomes(self, text: str) -> None:
        self.path.write_text(text)

    def is_lost(self) -> None:
        self.path.unlink()


@pytest.fixture
def token(tmp_path: Path) -> Token:
    return Token(tmp_path / "token")


@pytest.fixture
async def client(served: Running, token: Token) -> AsyncIterator[ArtifactClient]:
    async with ArtifactClient(served.url + "/", token.path) as made:
        yield made


def reference(content: bytes, **changed: object) -> ArtifactRef:
    held = {"$artifact": "A" * 43, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return ArtifactRef.model_validate({**held, **changed})


@pytest.mark.parametrize("body", [b'{"a": 1}', b"", bytes(range(256)) * (24 * 1024)], ids=["small", "empty", "6MiB"])
async def test_what_is_stored_comes_back(served: Running, client: ArtifactClient, body: bytes) -> None:
    ref = await client.put(NAMESPACE, EXECUTION_UID, body)
    assert (ref.size, ref.media_type) == (len(body), "application/json")
    assert await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=8 * MIB) == body
    assert Signer(KEY).verify(ref, namespace=NAMESPACE, execution_uid=EXECUTION_UID, pod_uid=OPERATOR)
    again = await client.put(NAMESPACE, EXECUTION_UID, body, media_type="text/plain")
    assert (again.id == ref.id, again.media_type) == (False, "text/plain")
    assert len(served.objects()) == 4


async def test_a_pod_that_was_given_the_reference_reads_it(served: Running, client: ArtifactClient) -> None:
    ref = await client.put(NAMESPACE, EXECUTION_UID, b"[1]")
    given = served.cluster.add_pod("given", task_input={"items": ref.to_json()})
    other = served.cluster.add_pod("other")
    async with aiohttp.ClientSession() as http:
        for pod, status in ((given, 200), (other, 403)):
            async with http.get(
                f"{served.url}/v1/artifacts/{ref.id}", headers={"Authorization": f"Bearer {pod}"}
            ) as answer:
                assert answer.status == status


async def test_who_may_only_read_cannot_store(served: Running, client: ArtifactClient, token: Token) -> None:
    ref = await client.put(NAMESPACE, EXECUTION_UID, b"1")
    served.cluster.persons.update(jane=frozenset({NAMESPACE}), joe=frozenset())
    kept = served.objects()
    token.becomes("jane")
    assert await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1) == b"1"
    with pytest.raises(Forbidden, match="jane may not create executions/artifacts"):
        await client.put(NAMESPACE, EXECUTION_UID, b"2")
    token.becomes(served.cluster.add_pod("task"))
    with pytest.raises(Forbidden, match="may not create"):
        await client.put(NAMESPACE, EXECUTION_UID, b"2")
    token.becomes("joe")
    with pytest.raises(Forbidden, match="joe may not get executions/artifacts"):
        await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1)
    token.becomes("nobody")
    with pytest.raises(Unauthenticated, match="does not know this token"):
        await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1)
    token.is_lost()
    with pytest.raises(Unauthenticated, match=r"token.*cannot be read"):
        await client.put(NAMESPACE, EXECUTION_UID, b"2")
    assert served.objects() == kept


async def test_a_right_is_asked_for_once_a_minute_and_a_refusal_each_time(
    served: Running, client: ArtifactClient, token: Token
) -> None:
    for number in range(5):
        await client.put(NAMESPACE, EXECUTION_UID, str(number).encode())
    assert (served.cluster.reviews, served.cluster.access_reviews) == (1, 1)
    await client.put("elsewhere", EXECUTION_UID, b"1")
    assert served.cluster.access_reviews == 2
    served.cluster.persons["jane"] = frozenset()
    token.becomes("jane")
    ref = reference(b"1")
    for _ in range(2):
        with pytest.raises(Forbidden):
            await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1)
    assert served.cluster.access_reviews == 4
    served.cluster.persons["jane"] = frozenset({NAMESPACE})
    with pytest.raises(NotFound):
        await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1)


async def test_what_is_not_there_is_not_found(client: ArtifactClient) -> None:
    ref = await client.put(NAMESPACE, EXECUTION_UID, b"1")
    with pytest.raises(NotFound, match="there is no artifact"):
        await client.get(NAMESPACE, "another-execution", ref, max_size=1)
    with pytest.raises(NotFound):
        await client.get("elsewhere", EXECUTION_UID, ref, max_size=1)
    with pytest.raises(BadRequest, match="no ID of an artifact"):
        await client.get(NAMESPACE, EXECUTION_UID, reference(b"1", **{"$artifact": "nonsense"}), max_size=1)
    with pytest.raises(BadRequest, match="no namespace, or no UID"):
        await client.put(NAMESPACE, "_", b"1")


async def test_what_another_execution_wrote_is_read_where_it_was_taken_over(
    served: Running, client: ArtifactClient
) -> None:
    refs = [await client.put(NAMESPACE, EXECUTION_UID, str(number).encode()) for number in range(3)]
    served.cluster.executions[NAMESPACE] = frozenset({"heir", "stranger"})
    served.cluster.taken_over["heir"] = (EXECUTION_UID,)
    for number, ref in enumerate(refs):
        assert await client.get(NAMESPACE, "heir", ref, max_size=1) == str(number).encode()
    assert served.cluster.lists == 1
    with pytest.raises(NotFound):
        await client.get(NAMESPACE, "stranger", refs[0], max_size=1)
    served.cluster.taken_over["stranger"] = (EXECUTION_UID,)
    assert await client.get(NAMESPACE, "stranger", refs[0], max_size=1) == b"0"


async def test_what_is_not_as_its_reference_says_is_damaged(served: Running, client: ArtifactClient) -> None:
    ref = await client.put(NAMESPACE, EXECUTION_UID, b"12345")
    for changed in ({"size": 4}, {"size": 6}, {"sha256": "0" * 64}):
        with pytest.raises(Damaged, match="another size or digest"):
            await client.get(NAMESPACE, EXECUTION_UID, ref.model_copy(update=changed), max_size=10)
    (stored,) = (name for name in served.objects() if not name.endswith(".json"))
    (served.data / stored).write_bytes(b"54321")
    with pytest.raises(Damaged):
        await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=10)


async def test_too_large(served: Running, client: ArtifactClient) -> None:
    with pytest.raises(TooLarge, match="8388608 bytes, and this one has 9437184"):
        await client.put(NAMESPACE, EXECUTION_UID, b"x" * 9 * MIB)
    assert served.objects() == []
    ref = await client.put(NAMESPACE, EXECUTION_UID, b"12345")
    with pytest.raises(TooLarge, match="has 5 bytes, more than 4"):
        await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=4)


async def test_a_service_that_is_away_or_cannot_is_unavailable(tmp_path: Path, token: Token) -> None:
    async with running(tmp_path / "data") as served:
        port = served.port
        async with ArtifactClient(served.url, token.path) as client:
            served.cluster.down = True
            with pytest.raises(Unavailable, match=r"503: .*the API server does not answer"):
                await client.put(NAMESPACE, EXECUTION_UID, b"1")
            served.cluster.down = False
            ref = await client.put(NAMESPACE, EXECUTION_UID, b"1")
    async with ArtifactClient(f"http://127.0.0.1:{port}", token.path) as client:
        with pytest.raises(Unavailable, match="does not answer"):
            await client.put(NAMESPACE, EXECUTION_UID, b"1")
        with pytest.raises(Unavailable, match="does not answer"):
            await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1)
        async with running(tmp_path / "data", port=port):
            assert await client.get(NAMESPACE, EXECUTION_UID, ref, max_size=1) == b"1"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12"])
async def test_a_service_that_falls_silent_is_unavailable(token: Token, said: bytes) -> None:
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()  # until the client hangs up
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    timeout = aiohttp.ClientTimeout(total=0.3)
    async with server, ArtifactClient(url, token.path, timeout=timeout) as client:
        with pytest.raises(Unavailable, match="does not answer"):
            await client.get(NAMESPACE, EXECUTION_UID, reference(b"12345"), max_size=10)
        await asyncio.wait_for(hung_up.wait(), 5)


async def test_a_value_that_a_pod_was_given_opens_what_it_refers_to(served: Running, client: ArtifactClient) -> None:
    """Where the operator has stored it, and only what is in it."""
    rows = [await client.put(NAMESPACE, EXECUTION_UID, str(number).encode()) for number in range(3)]
    body = json.dumps([{"rows": ref.to_json()} for ref in rows[:2]]).encode()
    value = await client.put(NAMESPACE, EXECUTION_UID, body, media_type=VALUE_MEDIA_TYPE)
    plain = await client.put(NAMESPACE, EXECUTION_UID, body)
    given = served.cluster.add_pod("given", task_input={"all": value.to_json()})
    unmarked = served.cluster.add_pod("unmarked", task_input={"all": plain.to_json()})
    forger = served.cluster.add_pod("forger")
    async with aiohttp.ClientSession() as http:

        async def status(token: str, ref: ArtifactRef) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with http.get(f"{served.url}/v1/artifacts/{ref.id}", headers=headers) as answer:
                return answer.status

        assert [await status(given, ref) for ref in (value, *rows)] == [200, 200, 200, 403]
        assert [await status(unmarked, ref) for ref in (plain, *rows)] == [200, 403, 403, 403]
        # What a task has written opens nothing, whatever it is said to be.
        headers = {"Authorization": f"Bearer {forger}", "Content-Type": VALUE_MEDIA_TYPE}
        async with http.put(f"{served.url}/v1/artifacts", data=body, headers=headers) as answer:
            forged = ArtifactRef.model_validate(await answer.json())
        deceived = served.cluster.add_pod("deceived", task_input={"all": forged.to_json()})
        assert [await status(deceived, ref) for ref in (forged, *rows)] == [200, 403, 403, 403]
