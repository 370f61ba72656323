"""Local users: passwords, floods of sign-ins, and that nobody is locked out."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ossa.gateway.problems import Problem
from ossa.gateway.ratelimit import Limit
from ossa.gateway.signin.login import BadBootstrap, LoginLimits, add_first_user
from ossa.gateway.signin.passwords import Passwords
from ossa.gateway.signin.sessions import SignedIn
from tests.unit.gateway.signin.replicas import NO_LIMITS, PASSWORD, UNLIMITED, Replica, Replicas

NEVER_AGAIN = 1 / 3600


async def refusal(replica: Replica, name: str, password: str, *, address: str = "192.0.2.1") -> tuple[int, str]:
    with pytest.raises(Problem) as refused:
        await replica.sign_in(name, password, address=address)
    return int(refused.value.status), refused.value.detail


async def test_a_user_signs_in_as_kubernetes_knows_them(replicas: Replicas) -> None:
    replica = await replicas()
    await replica.add_user(groups=("team", "auditors"))
    session = (await replica.sign_in()).session
    assert (session.user_name, session.groups, session.method) == (
        "ossa:alice",
        ("ossa:team", "ossa:auditors"),
        "password",
    )


async def test_what_is_wrong_is_not_told(replicas: Replicas) -> None:
    replica = await replicas()
    await replica.add_user()
    await replica.add_user("bob")
    await replica.accounts.change_user("bob", disabled=True)
    wrong = await refusal(replica, "alice", "wrong")
    assert wrong == (401, "the name or the password is wrong")
    for name, password in (
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
        ("'; DROP TABLE users; --", "x"),
        ("Alice", PASSWORD),
    ):
        assert await refusal(replica, name, password) == wrong


async def test_unknown_and_disabled_users_take_as_long_as_others(replicas: Replicas) -> None:
    replica = await replicas()
    await replica.add_user()
    await replica.add_user("bob")
    await replica.accounts.change_user("bob", disabled=True)

    async def seconds(name: str) -> float:
        began = time.perf_counter()
        await refusal(replica, name, "wrong")
        return time.perf_counter() - began

    taken: dict[str, list[float]] = {"alice": [], "nobody": [], "bob": []}
    for _ in range(15):
        for name, times in taken.items():
            times.append(await seconds(name))
    least = {name: statistics.quantiles(times, n=4)[0] for name, times in taken.items()}
    assert max(least.values()) < 1.5 * min(least.values()), least


async def test_a_flood_of_sign_ins_leaves_the_others_served(replicas: Replicas) -> None:
    """Without limits: 200 at once. Some are told to come again, and the loop never stands still."""
    replica = await replicas(passwords=Passwords(threads=2, waiting=16))
    flood = [asyncio.create_task(refusal(replica, f"user{number}", "wrong")) for number in range(200)]
    longest, last = 0.0, time.monotonic()
    while not all(task.done() for task in flood):
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    answers = [status for status, _ in await asyncio.gather(*flood)]
    assert set(answers) == {401, 503}
    assert answers.count(401) >= 18
    assert longest < 1.5  # one after the other in the loop they take five seconds
    await replica.add_user()
    assert (await replica.sign_in()).session.user_name == "ossa:alice"


async def test_who_gives_up_still_holds_the_place_that_the_thread_needs() -> None:
    passwords = Passwords(threads=1, waiting=0)
    try:
        task = asyncio.create_task(passwords.verify(None, "x"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(Problem, match="too many"):
            await passwords.verify(None, "x")
        await asyncio.sleep(0.5)
        assert not await passwords.verify(None, "x")
    finally:
        passwords.close()


async def test_an_address_that_guesses_is_held_up_before_anything_is_hashed(replicas: Replicas) -> None:
    limits = LoginLimits(address=Limit(NEVER_AGAIN, 3), account=UNLIMITED, known=UNLIMITED, refresh=UNLIMITED)
    replica = await replicas(limits=limits)
    statuses = [(await refusal(replica, f"user{number}", "wrong"))[0] for number in range(6)]
    assert statuses == [401, 401, 401, 429, 429, 429]
    assert (await refusal(replica, "alice", "wrong", address="192.0.2.2"))[0] == 401
    replica.passwords.close()  # hashing raises from here on
    for _ in range(20):
        assert (await refusal(replica, "alice", "wrong"))[0] == 429


async def test_an_account_that_is_guessed_from_everywhere_stays_open_where_its_user_is_known(
    replicas: Replicas,
) -> None:
    limits = LoginLimits(address=UNLIMITED, account=Limit(NEVER_AGAIN, 5), known=Limit(1, 5), refresh=UNLIMITED)
    replica, other = await replicas(limits=limits), await replicas(limits=limits)
    await replica.add_user()
    await replica.sign_in(address="198.51.100.7")
    guesses = [
        (await refusal(each, "alice", "wrong", address=f"192.0.2.{number}"))[0]
        for number, each in enumerate([replica, other] * 5)
    ]
    assert guesses == [401] * 4 + [429] * 6
    assert (await other.sign_in(address="198.51.100.7")).session.user_name == "ossa:alice"
    # From elsewhere, or another name, it goes on as before.
    await replica.add_user("bob")
    assert (await replica.sign_in("bob", address="192.0.2.1")).session.user_name == "ossa:bob"


async def test_a_held_up_account_is_open_again_by_itself(replicas: Replicas) -> None:
    limits = LoginLimits(address=UNLIMITED, account=Limit(2, 1), known=UNLIMITED, refresh=UNLIMITED)
    replica = await replicas(limits=limits)
    await replica.add_user()
    await refusal(replica, "alice", "wrong")
    assert (await refusal(replica, "alice", PASSWORD))[0] == 429
    await asyncio.sleep(0.6)
    await replica.sign_in()


async def test_a_password_under_old_parameters_is_hashed_anew(replicas: Replicas) -> None:
    replica = await replicas()
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await replica.accounts.add_user("alice", weak, groups=[], created_by="test")
    first = await replica.sign_in()
    user = await replica.accounts.user("alice")
    assert user is not None
    assert user.password_hash != weak
    assert not replica.passwords.outdated(user.password_hash)
    await replica.sign_in()
    await replica.sessions.refresh(first.refresh_token)  # no session was ended
    assert PASSWORD not in repr(user)
    assert user.password_hash not in repr(user)


async def test_changing_ones_password_needs_the_old_one_and_ends_the_sessions(replicas: Replicas) -> None:
    replica = await replicas()
    await replica.add_user()
    pair = await replica.sign_in()
    with pytest.raises(Problem, match="is wrong"):
        await replica.local.prove("alice", "wrong", address="192.0.2.1")
    proved = await replica.local.prove("alice", PASSWORD, address="192.0.2.1")
    await replica.local.change_password(proved, "another password")
    with pytest.raises(Problem):
        await replica.sessions.refresh(pair.refresh_token)
    assert (await refusal(replica, "alice", PASSWORD))[0] == 401
    await replica.sign_in(password="another password")


async def test_a_sign_in_that_races_with_being_disabled_gives_no_session(replicas: Replicas) -> None:
    replica = await replicas()
    await replica.add_user()
    proved = await replica.local.prove("alice", PASSWORD, address="192.0.2.1")
    await replica.accounts.change_user("alice", disabled=True)
    late = SignedIn(user="ossa:alice", groups=(), method="password", address="192.0.2.1", client="", local_user=proved)
    with pytest.raises(Problem, match="changed just now"):
        await replica.sessions.begin(late)


async def test_the_first_user_is_made_once_by_whichever_replica(replicas: Replicas, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a first password\n")
    several = [await replicas() for _ in range(3)]
    made = await asyncio.gather(*(add_first_user(each.accounts, each.passwords, file) for each in several))
    assert sorted(made) == [False, False, True]
    session = (await several[0].sign_in("admin", "a first password")).session
    assert session.groups == ("ossa:admins",)
    await several[0].add_user()
    await several[0].accounts.delete_user("admin")
    assert not await add_first_user(several[1].accounts, several[1].passwords, file)


@pytest.mark.parametrize("text", ["", "short\n", None])
async def test_a_first_password_that_is_none_stops_the_process(
    replicas: Replicas, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "password"
    if text is not None:
        file.write_text(text)
    replica = await replicas(limits=NO_LIMITS)
    with pytest.raises(BadBootstrap, match=str(file)):
        await add_first_user(replica.accounts, replica.passwords, file)
