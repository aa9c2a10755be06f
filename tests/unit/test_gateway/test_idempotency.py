"""Idempotency keys: one request, one bill, one answer, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.accounts import VirtualKey
from billing.desk import Desk
from billing.kept import Claim, Kept
from gateway.errors import (
    IdempotencyBusy,
    IdempotencyGone,
    IdempotencyReused,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.exchange import Caller, ClientHeaders, Exchange
from gateway.idempotency import (
    KEEP_BYTES,
    LIFETIME_MS,
    MEMORY_BYTES,
    STALE_MS,
    Replies,
    Reply,
    seal,
    unseal,
)
from gateway.relay import Send

SECRET = "weir-s"
NOW = 1_795_348_800_000
BODY = b'{"model": "m"}'
HEADERS = [(b"content-type", b"application/json"), (b"x-weir-request-id", b"R1")]


class Client:
    """What an ASGI server would have sent."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def __call__(self, message: Any) -> None:
        """Take one message."""
        self.messages.append(message)

    @property
    def status(self) -> int:
        """The status line."""
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers."""
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        """All of the body."""
        return b"".join(m.get("body", b"") for m in self.messages[1:])


class Bench:
    """Processes over one database, and work that counts how often it is done."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/weir.db"
        self.done = 0
        self.replies = self.process()

    def process(self, name: str | None = None) -> Replies:
        """A process, by default this one."""
        return Replies(Desk(self.url), lambda: NOW, name)

    def exchange(self, name: str = "k1", at_ms: int = NOW, secret: str = SECRET) -> Exchange:
        """A request with a key of both kinds."""
        headers = ClientHeaders(secret=secret, idempotency_key=name)
        key = VirtualKey("main", "a" * 64, ("organisation", "t", "t/main"), "t", None)
        return Exchange(f"R{self.done}", at_ms, 0.0, "chat", headers, Caller(key, None))

    def work(
        self, ex: Exchange, *pieces: bytes, cost: int = 5, status: int = 200
    ) -> Callable[[Send], Awaitable[None]]:
        """Work that settles at ``cost`` and answers with these pieces."""

        async def work(send: Send) -> None:
            self.done += 1
            ex.settled = SimpleNamespace(status=status, cost_nano=cost)  # type: ignore[assignment]  # all that is read of it
            headers = [*HEADERS, (b"content-length", b"7")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return work

    async def ask(self, raw: bytes = BODY, replies: Replies | None = None, **of: Any) -> Client:
        """One request of the usual kind."""
        client, ex = Client(), self.exchange(**of)
        work = self.work(ex, b'{"a":', b"1}")
        await (replies or self.replies).once(ex, raw, client, work)
        return client


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_the_same_key_and_body_get_the_first_result_again(bench: Bench) -> None:
    """Status, headers and body are the first's; the work is done once."""
    first, again = await bench.ask(), await bench.ask()
    assert bench.done == 1
    assert (again.status, again.body) == (first.status, first.body) == (200, b'{"a":1}')
    assert again.headers[b"x-weir-request-id"] == b"R1"
    assert again.headers[b"x-weir-replayed"] == b"true"
    assert b"x-weir-replayed" not in first.headers
    assert again.headers[b"content-length"] == b"7"


async def test_another_process_has_it_too(bench: Bench) -> None:
    """What one process kept, another one replays, and so does a restarted one."""
    first = await bench.ask()
    again = await bench.ask(replies=bench.process())
    assert (bench.done, again.body) == (1, first.body)


async def test_another_body_is_refused(bench: Bench) -> None:
    """A key stands for one request, in this process and in others."""
    await bench.ask()
    for replies in (bench.replies, bench.process()):
        with pytest.raises(IdempotencyReused, match="another body"):
            await bench.ask(b'{"model": "n"}', replies=replies)
    assert bench.done == 1


async def test_other_keys_and_callers_are_strangers(bench: Bench) -> None:
    """Another key is another request; the same key of another caller as well."""
    await bench.ask()
    await bench.ask(name="k2")
    stranger = bench.exchange()
    if stranger.caller is not None:
        stranger.caller = Caller(replace(stranger.caller.key, sha256="b" * 64), None)
    await bench.replies.once(stranger, BODY, Client(), bench.work(stranger))
    assert bench.done == 3


async def test_a_twin_in_flight_waits(bench: Bench) -> None:
    """While the first runs its twin is told to wait, here and in another process."""
    began, go_on = asyncio.Event(), asyncio.Event()
    ex = bench.exchange()

    async def slow(send: Send) -> None:
        began.set()
        await go_on.wait()
        await bench.work(ex, b"x")(send)

    elsewhere = bench.process("another-machine:1:x")
    first = asyncio.create_task(elsewhere.once(ex, BODY, Client(), slow))
    await began.wait()
    for replies in (elsewhere, bench.replies):
        with pytest.raises(IdempotencyBusy):
            await bench.ask(replies=replies)
        with pytest.raises(IdempotencyReused):
            await bench.ask(b"{}", replies=replies)
    go_on.set()
    await first
    assert (await bench.ask()).body == b"x"
    assert bench.done == 1


async def test_what_cost_nothing_is_tried_anew(bench: Bench) -> None:
    """A refusal or a failure before any bill leaves the key free."""
    for failure in (UpstreamFailed("down"), UpstreamFailed("still down")):
        ex = bench.exchange()

        async def fail(_: Send, failure: Exception = failure) -> None:
            raise failure

        with pytest.raises(UpstreamFailed):
            await bench.replies.once(ex, BODY, Client(), fail)
    refused = bench.exchange()
    await bench.replies.once(
        refused, BODY, Client(), bench.work(refused, b"no", cost=0, status=400)
    )
    assert (await bench.ask()).body == b'{"a":1}'
    assert bench.done == 2


async def test_a_failure_that_was_billed_is_the_result(bench: Bench) -> None:
    """A time-out that the provider may charge for is not sent a second time."""
    ex = bench.exchange()

    async def late(_: Send) -> None:
        bench.done += 1
        ex.settled = SimpleNamespace(status=504, cost_nano=7)  # type: ignore[assignment]  # all that is read of it
        raise UpstreamTimeout("no answer in time")

    with pytest.raises(UpstreamTimeout):
        await bench.replies.once(ex, BODY, Client(), late)
    for replies in (bench.replies, bench.process()):
        again = await bench.ask(replies=replies)
        assert again.status == 504
        assert b"no answer in time" in again.body
    assert bench.done == 1


async def test_an_answer_that_is_cut_off_is_not_replayed_as_whole(bench: Bench) -> None:
    """It was billed, so it is not made again; its repeat names the receipt."""
    ex = bench.exchange()

    async def cut(send: Send) -> None:
        bench.done += 1
        ex.settled = SimpleNamespace(status=200, cost_nano=7)  # type: ignore[assignment]  # all that is read of it
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await bench.replies.once(ex, BODY, Client(), cut)
    with pytest.raises(IdempotencyGone, match="/weir/receipts/R0"):
        await bench.ask()
    assert bench.done == 1


async def test_a_very_long_answer_is_delivered_and_not_kept(bench: Bench) -> None:
    """Memory and database are bounded; the client has its answer all the same."""
    client, ex = Client(), bench.exchange()
    await bench.replies.once(ex, BODY, client, bench.work(ex, b"x" * KEEP_BYTES, b"y"))
    assert len(client.body) == KEEP_BYTES + 1
    with pytest.raises(IdempotencyGone, match="too long"):
        await bench.ask()


async def test_memory_is_bounded(bench: Bench) -> None:
    """The oldest results leave the memory and are still found in the database."""
    size = MEMORY_BYTES // 32
    for n in range(34):
        ex = bench.exchange(name=f"k{n}")
        await bench.replies.once(ex, BODY, Client(), bench.work(ex, os.urandom(size)))
    assert bench.replies._bytes <= MEMORY_BYTES
    assert len(bench.replies._memory) == 32
    again = await bench.ask(name="k0")
    assert (bench.done, len(again.body)) == (34, size)


async def test_a_key_is_free_again_after_a_day(bench: Bench) -> None:
    """Past 24 hours the same key is a new request, also with another body."""
    await bench.ask()
    await bench.ask(at_ms=NOW + LIFETIME_MS - 1)
    assert bench.done == 1
    await bench.ask(b"{}", at_ms=NOW + LIFETIME_MS)
    assert bench.done == 2


@pytest.mark.parametrize(
    ("process", "age_ms", "gone"),
    [
        (f"{socket.gethostname()}:{os.getpid()}:earlier", 0, True),  # our number, another life
        (f"{socket.gethostname()}:{2**22 + 1}:x", 0, True),  # beyond any process number
        (f"{socket.gethostname()}:1:x", 0, False),
        ("another-machine:1:x", 0, False),
        ("another-machine:1:x", STALE_MS + 1, True),
    ],
    ids=["our number, another life", "no such number", "alive", "another machine", "stale"],
)
async def test_what_a_killed_process_left_is_not_made_again(
    bench: Bench, process: str, age_ms: int, gone: bool
) -> None:
    """A claim of a process that is no more answers 409 with its receipt; a living one, wait."""
    ex = bench.exchange(at_ms=NOW - age_ms)
    claim = replace(bench.replies._claim_of(ex, BODY), process=process, request_id="R-lost")
    assert Kept(Desk(bench.url)).claim(claim) is None
    with pytest.raises(IdempotencyGone if gone else IdempotencyBusy) as caught:
        await bench.ask()
    assert ("R-lost" in str(caught.value)) == gone
    assert bench.done == 0


async def test_expired_results_are_thrown_away(bench: Bench) -> None:
    """The table holds a day, not a history."""
    await bench.ask()
    kept = Kept(Desk(bench.url))
    assert kept.purge(NOW + LIFETIME_MS - 1) == 0
    assert kept.purge(NOW + LIFETIME_MS) == 1


async def test_the_database_holds_no_readable_answer(bench: Bench, tmp_path: Path) -> None:
    """An answer and the client's secret are nowhere in the file; another secret opens nothing."""
    ex = bench.exchange()
    await bench.replies.once(ex, BODY, Client(), bench.work(ex, b"a telling xylophone"))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"xylophone" not in stored
    assert b"weir-s" not in stored
    with pytest.raises(IdempotencyGone, match="cannot be read"):
        await bench.ask(secret="weir-other", replies=bench.process())


CLAIM = Claim("o", "n", b"", "r", "p", 0, 0)


@given(
    st.integers(100, 599),
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=50)), max_size=5),
    st.binary(max_size=2000),
    st.text(min_size=1, max_size=50),
)
def test_what_is_sealed_opens_with_the_same_secret_alone(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, secret: str
) -> None:
    """Any reply comes back byte for byte; with another secret, or changed, it does not open."""
    sealed = seal(Reply(status, headers, body), secret, CLAIM)
    assert unseal(sealed, secret, CLAIM, 0) == Reply(status, headers, body)
    with pytest.raises(IdempotencyGone):
        unseal(sealed, secret + "x", CLAIM, 0)
    with pytest.raises(IdempotencyGone):
        unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), secret, CLAIM, 0)
    with pytest.raises(IdempotencyGone):
        unseal(sealed, secret, replace(CLAIM, name="m"), 0)
